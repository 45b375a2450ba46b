"""ULIDs of events: valid, the same everywhere and for ever."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from cio_dagster import Event
from cio_dagster.prepare.fields import LATEST_SECOND
from tests.plans import ready


def ulids(rows: list[tuple[str, str, int]]) -> list[str]:
    """ULIDs of events: name, row id, Unix seconds."""
    frame = pl.DataFrame(rows, schema={"n": pl.String, "row": pl.String, "t": pl.Int64}, orient="row").with_columns(
        id=pl.lit("1")
    )
    found = ready(frame, Event(row_id="row", name_column="n", timestamp="t"), "_ulid")
    return [each for each in found if each is not None]


def expected(name: str, row: str, seconds: int) -> str:
    """The algorithm anew: 48 bits of milliseconds, 80 of SHA-256 over the name as JSON, a line feed and the row id."""
    digest = hashlib.sha256(f"{json.dumps(name, ensure_ascii=False)}\n{row}".encode()).digest()
    return str(ULID((seconds * 1_000).to_bytes(6, "big") + digest[:10]))


# Never change these: an event that was sent under one ULID would be sent again under another.
GOLDEN = [
    (("Order placed", "1", 0), "00000000002772Z4YMY85JR7QT"),
    (("Order placed", "1", 1_700_000_000), "01HF7YAT002772Z4YMY85JR7QT"),
    (("Order placed", "2", 1_700_000_000), "01HF7YAT00HAE7KRYF46QAJRSD"),
    (("Order shipped", "1", 1_700_000_000), "01HF7YAT008AXA2CEPEWYT0GV1"),
    (('Café "quoted" \\ \t\x01\x7f\u2028 😀 /', "ünï\ncode", 1_700_000_000), "01HF7YAT00YJ98RCKTHSYZW3D2"),
    (("x", "9" * 300, LATEST_SECOND), "76EZ91ZP0RTWFRQB68GZV4XN0A"),
]


@pytest.mark.parametrize(("event", "ulid"), GOLDEN)
def test_ulids_never_change(event: tuple[str, str, int], ulid: str) -> None:
    assert ulids([event]) == [ulid]
    assert expected(*event) == ulid


EVENTS = st.tuples(
    st.text(min_size=1, max_size=20).map(str.strip).filter(lambda each: 0 < len(each.encode()) <= 100),
    st.text(min_size=1, max_size=40).filter(lambda each: each.strip()),
    st.integers(0, LATEST_SECOND),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(EVENTS, min_size=1, max_size=20))
def test_ulids_are_the_time_and_the_hash(events: list[tuple[str, str, int]]) -> None:
    found = ulids(events)
    assert found == [expected(*each) for each in events]
    for each, (_, _, seconds) in zip(found, events, strict=True):
        assert ULID.from_str(each).datetime.timestamp() == seconds if seconds < 32_503_680_000 else True


def test_the_name_may_be_the_same_for_all() -> None:
    frame = pl.DataFrame({"row": ["1"], "id": ["1"], "t": [datetime(2023, 11, 14, 22, 13, 20)]})
    constant = ready(frame, Event(row_id="row", name="Order placed", timestamp="t"), "_ulid")
    column = ready(frame.with_columns(n=pl.lit(" Order placed ")), Event(row_id="row", name_column="n", timestamp="t"), "_ulid")
    assert constant == column == [GOLDEN[1][1]]


def test_without_times_the_time_part_is_zero() -> None:
    frame = pl.DataFrame({"row": [1], "id": ["1"]})
    (found,) = ready(frame, Event(row_id="row", name="Order placed"), "_ulid")
    assert found == GOLDEN[0][1]
    assert ULID.from_str(found or "").datetime == datetime(1970, 1, 1, tzinfo=timezone.utc)


def test_ulids_do_not_depend_on_the_person_or_the_attributes() -> None:
    frame = pl.DataFrame({"row": [1, 1], "id": ["1", "2"], "a": [1, 2]})
    assert len(set(ready(frame, Event(row_id="row", name="e"), "_ulid"))) == 1
