"""Rows of a source that share a key."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Event, Person, Relationship
from tests.plans import Planned, planned

REJECT, NEWEST = "duplicate_key", "duplicate_key_not_newest"


def kept(plan: Planned) -> list[int]:
    return sorted(plan.operations["_row"])


def test_all_are_rejected_if_nothing_is_said() -> None:
    plan = planned(pl.DataFrame({"id": [1, 2, 1, 3, 1, None, None]}), Person())
    assert kept(plan) == [1, 3]
    assert plan.reasons() == {0: REJECT, 2: REJECT, 4: REJECT, 5: "missing_key", 6: "missing_key"}
    messages = {reject["message"] for reject in plan.rejected["_reject"] if reject["reason"] == REJECT}
    assert messages == {"3 rows of the source have this key; each key may have one"}


def test_identifiers_are_compared_as_they_are_sent() -> None:
    assert planned(pl.DataFrame({"id": [1.0, 2.0]}), Person()).counts.create == 2
    assert planned(pl.DataFrame({"id": ["A", "a", " a"]}), Person()).counts.create == 3, "ids have case"
    assert planned(pl.DataFrame({"email": ["A@b", " a@B "]}), Person(key="email")).reasons() == {0: REJECT, 1: REJECT}
    assert planned(pl.DataFrame({"cio_id": ["cio_x", "x"]}), Person(key="cio_id")).reasons() == {0: REJECT, 1: REJECT}


def test_a_twin_that_is_rejected_for_another_reason_counts() -> None:
    plan = planned(pl.DataFrame({"id": [1, 1, 2], "score": [float("nan"), 1.0, 2.0]}), Person())
    assert plan.reasons() == {0: "not_a_number", 1: REJECT}, "which of the two is meant is not known"
    assert kept(plan) == [2]


@pytest.mark.parametrize(
    ("at", "winner"),
    [
        ([1, 3, 2], 1),
        ([None, 3, 2], 1),
        ([None, None, 2], 2),
        ([None, None, None], None),
        ([3, 3, 2], None),
        ([3, 2, 2], 0),
        ([1.0, float("nan"), 2.0], 2),
        (["a", "c", "b"], 1),
        ([date(2026, 1, 1), date(2025, 1, 1), date(2026, 1, 2)], 2),
        ([True, False, False], 0),
    ],
)
def test_the_newest_is_kept(at: list[Any], winner: int | None) -> None:
    plan = planned(pl.DataFrame({"id": [1, 1, 1], "at": at}, strict=False), Person(keep_newest_by="at"))
    expected = {row: NEWEST for row in range(3) if row != winner}
    if winner is not None and isinstance(at[0], float):
        expected[1] = "not_a_number"
    assert plan.reasons() == expected
    assert kept(plan) == ([] if winner is None else [winner])


def test_a_lone_row_needs_no_date() -> None:
    plan = planned(pl.DataFrame({"id": [1, 2, 2], "at": [None, 1, 2]}), Person(keep_newest_by="at"))
    assert kept(plan) == [0, 2]


def test_a_newest_row_that_is_rejected_takes_no_older_one_instead() -> None:
    plan = planned(
        pl.DataFrame({"id": [1, 1], "at": [2, 1], "score": [float("nan"), 1.0]}),
        Person(keep_newest_by="at", attributes={"s": "score"}),
    )
    assert plan.reasons() == {0: "not_a_number", 1: NEWEST}


def test_the_column_that_decides_is_sent_too() -> None:
    plan = planned(pl.DataFrame({"id": [1], "at": [5]}), Person(keep_newest_by="at"))
    assert plan.bodies()[0]["attributes"] == {"at": 5}


def test_keys_of_several_parts() -> None:
    frame = pl.DataFrame({"object_id": [1, 1, 2, 2], "id": ["a", "b", "a", "a"]})
    assert planned(frame, Relationship(object_type_id=1)).reasons() == {2: REJECT, 3: REJECT}


def test_events_are_told_apart_by_their_row() -> None:
    frame = pl.DataFrame({"row": [1, 2, 2], "id": ["a", "a", "b"]})
    assert planned(frame, Event(row_id="row", name="e")).reasons() == {1: REJECT, 2: REJECT}


def test_rows_of_a_collection_may_repeat() -> None:
    assert planned(pl.DataFrame({"a": [1, 1, 1]}), Collection(name="c")).counts.create == 3


def test_many_rows_of_one_key() -> None:
    plan = planned(pl.DataFrame({"id": [1] * 20_000 + [2], "at": [*range(20_000), 0]}), Person(keep_newest_by="at"))
    assert kept(plan) == [19_999, 20_000]
    assert plan.counts.rejected == 19_999
