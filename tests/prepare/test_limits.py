"""Customer.io's published limits: what is just within them is sent, what is one over is rejected."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Device, Event, Object, Person, Relationship
from tests.plans import planned

KEYED: list[Any] = [Person(), Object(object_type_id=1, column="id"), Relationship(object_type_id=1, object_column="o")]


def frame(values: list[Any], dtype: Any = None) -> pl.DataFrame:
    return pl.DataFrame({"id": [str(each) for each in range(len(values))], "v": pl.Series(values, dtype=dtype)})


def keyed(rows: pl.DataFrame, spec: Any) -> pl.DataFrame:
    return rows.with_columns(o=pl.lit("1")) if isinstance(spec, Relationship) else rows


@pytest.mark.parametrize("spec", KEYED, ids=lambda each: each.object)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["x" * 1_000, "x" * 1_001], pl.String),
        (["é" * 500, "é" * 500 + "x"], pl.String),
        (['"' * 1_000, '"' * 1_001], pl.String),
        (["\n" * 1_000, "\n" * 1_001], pl.String),
        (["x" * 1_000, "x" * 1_001], pl.Categorical),
        (["é" * 500, "é" * 501], pl.Enum(["é" * 500, "é" * 501])),
        ([["x" * 996], ["x" * 997]], pl.List(pl.String)),
        ([{"a": "x" * 992}, {"a": "x" * 993}], pl.Struct({"a": pl.String})),
        ([[1] * 498 + [10], [1] * 498 + [100]], pl.List(pl.Int64)),
    ],
)
def test_a_value_has_at_most_1000_bytes(values: list[Any], dtype: Any, spec: Any) -> None:
    plan = planned(keyed(frame(values, dtype), spec), spec)
    assert plan.reasons() == {1: "value_too_long"}
    assert plan.counts.create == 1


def test_values_of_events_and_devices_have_no_limit_of_their_own() -> None:
    rows = frame(["x" * 5_000]).with_columns(row=pl.lit(1), token=pl.lit("t"), platform=pl.lit("ios"))
    assert planned(rows.drop("token", "platform"), Event(row_id="row", name="e")).counts.send == 1
    assert planned(rows.drop("row"), Device()).counts.create == 1


def test_a_nested_value_is_measured_whole() -> None:
    rows = pl.DataFrame({"id": ["1", "2"], "a": ["x" * 490] * 2, "b": ["y" * 495, "y" * 496]})
    assert len('{"c":"","d":""}') + 490 + 495 == 1_000
    assert planned(rows, Person(attributes={"n.c": "a", "n.d": "b"})).reasons() == {1: "value_too_long"}


@pytest.mark.parametrize("spec", KEYED, ids=lambda each: each.object)
def test_a_row_has_at_most_300_attributes(spec: Any) -> None:
    rows = pl.DataFrame({"id": ["1", "2", "3"]} | {f"a{each}": [1, 1, None] for each in range(301)})
    rows = rows.with_columns(a0=pl.Series([None, 1, 1]))
    plan = planned(keyed(rows, spec), spec)
    assert plan.reasons() == {1: "too_many_attributes"}
    assert plan.rejected["_reject"][0]["message"] == "the row has 301 attributes; the limit is 300"
    clear = spec.model_copy(update={"nulls": "clear"})
    assert planned(keyed(rows, spec), clear).reasons() == dict.fromkeys(range(3), "too_many_attributes"), "null is sent too"


def test_wide_frames() -> None:
    wide = pl.DataFrame({"row": [1, 2], "id": ["1", "2"]} | {f"a{each}": [each, None] for each in range(1_500)})
    bodies = planned(wide, Event(row_id="row", name="e")).bodies()
    assert [each["attributes"] for each in bodies] == [{f"a{each}": each for each in range(1_500)}, {}]


def test_the_name_of_an_event_has_at_most_100_bytes() -> None:
    rows = pl.DataFrame({"row": range(4), "id": ["1"] * 4, "n": ["x" * 100, "x" * 101, "é" * 50, " " + "é" * 50 + "x "]})
    plan = planned(rows, Event(row_id="row", name_column="n", attributes={}))
    assert plan.reasons() == {1: "name_too_long", 3: "name_too_long"}
    assert {reject["message"] for reject in plan.rejected["_reject"]} == {
        "'n' is 101 bytes; the limit of an event's name is 100"
    }


@pytest.mark.parametrize("limit", [400, 32_000])
def test_an_operation_has_at_most_so_many_bytes(limit: int) -> None:
    spec = Event(row_id="row", name="e")
    rows = pl.DataFrame({"row": [1, 2], "id": ["1", "1"], "v": ["", ""]})
    empty = planned(rows, spec).operations["_body"].str.len_bytes()[0]
    room = limit - empty
    rows = rows.with_columns(v=pl.Series(["x" * room, "é" + "x" * (room - 1)]))
    plan = planned(rows, spec, operation_bytes=limit)
    assert plan.operations["_body"].str.len_bytes().to_list() == [limit]
    assert plan.reasons() == {1: "operation_too_large"}
    assert plan.rejected["_reject"][0]["message"] == f"the operation is {limit + 1} bytes as JSON; the limit is {limit}"
    assert plan.counts.send == 1


def test_a_removal_is_never_too_large() -> None:
    spec = Person(behavior="mirror", delete_people=True)
    snapshot = planned(pl.DataFrame({"id": ["x" * 150]}), spec).snapshot(None, spec)
    plan = planned(pl.DataFrame({"id": ["y"]}), spec, snapshot=snapshot, operation_bytes=120)
    assert (plan.counts.delete, plan.counts.create, plan.counts.rejected) == (1, 1, 0)


def test_an_update_that_is_too_large_leaves_the_snapshot_alone() -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror")
    first = planned(frame(["x"]), spec)
    snapshot = first.snapshot(None, spec)
    plan = planned(frame(["y" * 500]), spec, snapshot=snapshot, operation_bytes=300)
    assert plan.reasons() == {0: "operation_too_large"}
    assert len(plan.operations) == 0, "and is not gone"


def test_an_event_that_is_a_request_of_its_own_may_have_100000_bytes() -> None:
    spec = Event(row_id="row", name="e", key="anonymous_id")
    rows = pl.DataFrame({"row": [1, 2], "anonymous_id": ["1", "1"], "v": ["x" * 90_000, "x" * 100_000]})
    assert planned(rows, spec).reasons() == {1: "operation_too_large"}


def test_a_row_of_a_collection_has_at_most_10000_bytes() -> None:
    room = 10_000 - len('{"v":""}')
    rows = pl.DataFrame({"v": ["x" * room, "x" * (room + 1), "é" * (room // 2), '"' * (room // 2 + 1)]})
    plan = planned(rows, Collection(name="c"))
    assert plan.reasons() == {1: "row_too_long", 3: "row_too_long"}
    assert plan.counts.create == 2
