"""Any frame at all: every row is accounted for, every body is JSON and says what the plain-Python rules say."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster import Collection, Event, Person
from cio_dagster.prepare.attributes import CONTROLS, IDENTIFYING
from cio_dagster.prepare.columns import is_internal, is_pattern
from tests.plans import Planned, planned
from tests.prepare import reference
from tests.prepare.reference import Rules

TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "null", '"', "\\", "\x00\x1f\x7f", "\u2028", "{}", "^.*$", "x" * 1_001, "é" * 500]
)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
# Within these years the zone databases of Python and Polars need no extrapolation.
TIMES = st.datetimes(datetime(1950, 1, 1), datetime(2036, 12, 31)) | st.datetimes(
    datetime(2024, 3, 31), datetime(2024, 3, 31, 4)
)


def millis(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1_000 * 1_000)


LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    pl.String(): TEXT,
    pl.Categorical(): TEXT,
    pl.Enum(["a", '"', "null", ""]): st.sampled_from(["a", '"', "null", ""]),
    pl.Boolean(): st.booleans(),
    pl.Int8(): st.integers(-128, 127),
    pl.UInt32(): st.integers(0, 2**32 - 1),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(2**53 - 2, 2**53 + 2),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Int128(): st.integers(-(2**127), 2**127 - 1),
    pl.Float32(): st.floats(width=32),
    pl.Float64(): st.floats() | st.floats(-1e6, 1e6),
    pl.Decimal(38, 4): st.decimals(-(10**20), 10**20, places=4),
    pl.Decimal(38, 0): st.decimals(-(10**20), 10**20, places=0),
    pl.Date(): st.dates(date(1, 1, 1), date(9999, 12, 31)),
    pl.Datetime("us"): TIMES,
    pl.Datetime("ms"): TIMES.map(millis),
    pl.Datetime("ns"): TIMES,
    pl.Datetime("us", "America/New_York"): st.datetimes(datetime(1970, 1, 1), datetime(2036, 1, 1)),
    pl.Time(): st.times(),
    pl.Duration("us"): st.timedeltas(timedelta(-(10**5)), timedelta(10**5)),
    pl.Binary(): st.binary(max_size=5),
    pl.Null(): st.none(),
}


def nested(dtype: Any, depth: int) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    """A dtype made of others, and its values."""
    inner = typed_values(depth - 1)
    names = st.lists(st.sampled_from(["a", "b", "^.*$", "*", "", 'q"', "\n"]), min_size=0, max_size=3, unique=True)
    lists = inner.map(lambda each: (pl.List(each[0]), st.lists(st.none() | each[1], max_size=3)))
    arrays = inner.map(lambda each: (pl.Array(each[0], 2), st.lists(st.none() | each[1], min_size=2, max_size=2)))

    def fields(chosen: list[str]) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
        parts = st.tuples(*(inner for _ in chosen))
        return parts.map(
            lambda each: (
                pl.Struct({name: part[0] for name, part in zip(chosen, each, strict=True)}),
                st.fixed_dictionaries({name: st.none() | part[1] for name, part in zip(chosen, each, strict=True)}),
            )
        )

    return lists | arrays | names.flatmap(fields)


def typed_values(depth: int) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    leaves = st.sampled_from(list(LEAVES.items()))
    return leaves if depth == 0 else leaves | nested(None, depth)


KEYS = st.sampled_from(
    [
        (pl.String(), st.sampled_from(["a", "b", "c", " a", "", " ", "x" * 151, "é" * 75, "\x00", '"']) | st.text(max_size=4)),
        (pl.Int64(), st.integers(-3, 3)),
        (pl.Float64(), st.floats(-3, 3) | st.sampled_from([1.0, 2.0, -0.0, float("nan"), float("inf"), 2.0**53, 2.0**53 + 2])),
        (pl.Decimal(20, 2), st.decimals(-3, 3, places=2) | st.sampled_from([Decimal(1), Decimal(2)])),
    ]
)
NAMES = st.text(min_size=1, max_size=8).filter(
    lambda name: (
        "." not in name
        and "\x00" not in name
        and not is_internal(name)
        and not is_pattern(name)
        and name not in (*IDENTIFYING, *CONTROLS)
    )
)


@st.composite
def frames(draw: st.DrawFn, depth: int, key: str) -> pl.DataFrame:
    """A frame with a key column and up to four others, up to ten rows."""
    height = draw(st.integers(0, 10))
    names = draw(st.lists(NAMES, max_size=4, unique_by=str.casefold))
    columns = [(key, *draw(KEYS)), *((name, *draw(typed_values(depth))) for name in names)]
    columns = draw(st.permutations(columns))
    return pl.DataFrame(
        [
            series(name, dtype, draw(st.lists(st.none() | values, min_size=height, max_size=height)))
            for name, dtype, values in columns
        ]
    )


def series(name: str, dtype: Any, values: list[Any]) -> pl.Series:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        naive = pl.Series(name, values, dtype=pl.Datetime(dtype.time_unit), strict=False)
        return naive.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
    return pl.Series(name, values, dtype=dtype)


def agree(plan: Planned, expected: list[reference.Row], attributes: str) -> None:
    """The plan sends and rejects what the reference says."""
    reasons = plan.reasons()
    assert set(reasons) == {place for place, row in enumerate(expected) if row.reasons}
    for place, found in reasons.items():
        assert found in expected[place].reasons
    for place, key, body in plan.operations.select("_row", "_key", "_body").iter_rows():
        assert key == expected[place].key
        sent = json.loads(body, parse_constant=pytest.fail)
        assert expected[place].attributes == (sent[attributes] if attributes else sent)
    assert plan.counts.source == len(expected)
    assert len(plan.operations) + len(reasons) == len(expected)


LAX = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@LAX
@given(frames(0, "id"), st.sampled_from(ZONES), st.booleans(), st.booleans())
def test_people(frame: pl.DataFrame, zone: str, iso: bool, clear: bool) -> None:
    spec = Person(naive_timezone=zone, dates="iso" if iso else "unix", nulls="clear" if clear else "omit")
    expected = reference.rows(frame, "id", Rules(iso, zone), limit=150, value_bytes=1_000, clear=clear)
    plan = planned(frame, spec)
    agree(plan, expected, "attributes")
    for body, key in zip(plan.bodies(), plan.operations["_key"], strict=True):
        assert {name: body[name] for name in ("type", "action", "identifiers")} == {
            "type": "person",
            "action": "identify",
            "identifiers": {"id": key},
        }
    again = planned(frame, spec, snapshot=plan.snapshot(None, spec))
    assert len(again.operations) == 0, "an unchanged table has nothing to send"
    assert again.reasons() == plan.reasons()


@LAX
@given(frames(2, "row"), st.sampled_from(ZONES), st.booleans())
def test_events_of_any_nesting(frame: pl.DataFrame, zone: str, iso: bool) -> None:
    spec = Event(row_id="row", column="person", name="e", naive_timezone=zone, dates="iso" if iso else "unix")
    expected = reference.rows(frame, "row", Rules(iso, zone), limit=None, value_bytes=None, clear=False)
    agree(planned(frame.with_columns(person=pl.lit("p")), spec), expected, "attributes")


@LAX
@given(frames(1, "key"), st.booleans())
def test_rows_of_collections(frame: pl.DataFrame, iso: bool) -> None:
    rows = frame.drop("key")
    spec = Collection(name="c", dates="iso" if iso else "unix")
    # A key that is always there and always another one: collections have none.
    keyed = rows.with_columns(pl.int_range(pl.len()).alias("a key"))
    expected = reference.rows(keyed, "a key", Rules(iso), limit=None, value_bytes=None, clear=False)
    plan = planned(rows, spec)
    assert set(plan.reasons()) == {place for place, row in enumerate(expected) if row.reasons}
    assert plan.bodies() == [row.attributes for row in expected if not row.reasons], "in the source's order"
    again = planned(rows, spec, snapshot=plan.snapshot(None, spec))
    assert again.bodies() == []
