"""What differs between a table and what Customer.io holds, and what is sent of it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from cio_dagster import Device, ManualSegment, Object, Person, Relationship
from tests.plans import Planned, planned

FIRST = pl.DataFrame({"id": ["1", "2", "3"], "a": [1, 2, 3], "b": ["x", None, "z"]})


def after(frame: pl.DataFrame, spec: Any) -> pl.DataFrame:
    return planned(frame, spec).snapshot(None, spec)


def again(frame: pl.DataFrame, spec: Any = None, first: pl.DataFrame = FIRST, **options: Any) -> Planned:
    spec = spec or Person()
    return planned(frame, spec, snapshot=after(first, spec), **options)


def sent(plan: Planned) -> dict[str, Any]:
    return {body["identifiers"]["id"]: body["attributes"] for body in plan.bodies()}


def test_an_unchanged_table_has_nothing_to_send() -> None:
    for frame in (FIRST, FIRST.reverse(), FIRST.select("b", "id", "a")):
        plan = again(frame)
        assert len(plan.operations) == 0
        assert plan.counts.unchanged == 3


def test_only_what_changed_is_sent() -> None:
    plan = again(FIRST.with_columns(a=pl.Series([1, 20, 3])))
    assert sent(plan) == {"2": {"a": 20}}
    assert plan.keys("update") == {"2"}
    assert json.loads(plan.operations["_changes"][0]) == {"a": {"from": 2, "to": 20}}
    assert plan.counts.unchanged == 2


def test_new_rows_are_sent_whole() -> None:
    plan = again(pl.concat([FIRST, pl.DataFrame({"id": ["4"], "a": [4], "b": ["w"]})]))
    assert sent(plan) == {"4": {"a": 4, "b": "w"}}
    assert plan.keys("create") == {"4"}
    assert plan.operations["_changes"].to_list() == [None]


def test_null_leaves_what_is_there_or_clears_it() -> None:
    frame = FIRST.with_columns(b=pl.Series([None, "y", "z"], dtype=pl.String))
    assert sent(again(frame)) == {"2": {"b": "y"}}
    plan = again(frame, Person(nulls="clear"))
    assert sent(plan) == {"1": {"b": None}, "2": {"b": "y"}}
    spec = Person(nulls="clear")
    cleared = plan.snapshot(after(FIRST, spec), spec)
    assert planned(frame, spec, snapshot=cleared).bodies() == [], "what was cleared is not cleared again"
    assert sent(planned(FIRST, spec, snapshot=cleared)) == {"1": {"b": "x"}, "2": {"b": None}}


def test_a_value_that_returns_after_null_is_not_sent_again() -> None:
    nothing = FIRST.with_columns(b=pl.lit(None, dtype=pl.String))
    plan = again(nothing.with_columns(a=pl.col("a") + 1))
    snapshot = plan.snapshot(after(FIRST, Person()), Person())
    assert sent(planned(FIRST.with_columns(a=pl.col("a") + 1), Person(), snapshot=snapshot)) == {}, "Customer.io has it still"


def test_a_changed_row_may_be_sent_whole() -> None:
    frame = FIRST.with_columns(a=pl.Series([10, 2, 30]), b=pl.Series([None, None, "z"], dtype=pl.String))
    plan = again(frame, Person(send="all"))
    assert sent(plan) == {"1": {"a": 10}, "3": {"a": 30, "b": "z"}}, "null is nothing to send, whatever it was before"
    assert plan.counts.unchanged == 1
    assert sent(again(frame, Person(send="all", nulls="clear"))) == {"1": {"a": 10, "b": None}, "3": {"a": 30, "b": "z"}}


def test_a_full_resync_sends_every_row_whole() -> None:
    plan = again(FIRST.with_columns(a=pl.Series([1, 20, 3])), full_resync=True)
    assert sent(plan) == {"1": {"a": 1, "b": "x"}, "2": {"a": 20}, "3": {"a": 3, "b": "z"}}
    assert plan.counts.update == 3
    changes = dict(plan.operations.select("_key", "_changes").iter_rows())
    assert json.loads(changes["2"]) == {"a": {"from": 2, "to": 20}}
    assert json.loads(changes["1"]) == {}
    snapshot = plan.snapshot(after(FIRST, Person()), Person())
    assert planned(FIRST.with_columns(a=pl.Series([1, 20, 3])), Person(), snapshot=snapshot).bodies() == []


def test_a_full_resync_without_attributes() -> None:
    members = pl.DataFrame({"id": ["1", "2"]})
    plan = again(members, ManualSegment(name="vip"), members, full_resync=True)
    assert sorted(plan.bodies()) == ["1", "2"]


def test_new_columns_are_sent_alone() -> None:
    plan = again(FIRST.with_columns(c=pl.Series([True, None, False])))
    assert sent(plan) == {"1": {"c": True}, "3": {"c": False}}
    assert json.loads(plan.operations.filter(pl.col("_key") == "1")["_changes"][0]) == {"c": {"from": None, "to": True}}


def test_dropped_columns_change_nothing() -> None:
    assert again(FIRST.drop("b")).bodies() == []
    assert again(FIRST.select("id")).bodies() == []


def test_renamed_columns_are_new_ones() -> None:
    assert sent(again(FIRST.rename({"b": "c"}))) == {"1": {"c": "x"}, "3": {"c": "z"}}
    assert again(FIRST.rename({"b": "c"}), Person(attributes={"a": "a", "b": "c"}), FIRST.with_columns(c="b")).bodies() == []


def test_renames_that_swap_columns() -> None:
    rows = pl.DataFrame({"id": ["1"], "a": ["x"], "b": ["y"]})
    first, swapped = Person(attributes={"a": "a", "b": "b"}), Person(attributes={"a": "b", "b": "a"})
    plan = planned(rows, swapped, snapshot=after(rows, first))
    assert sent(plan) == {"1": {"a": "y", "b": "x"}}


@pytest.mark.parametrize(
    ("dtype", "same"), [(pl.Int32, True), (pl.UInt64, True), (pl.Decimal(10, 2), True), (pl.Float64, False), (pl.String, False)]
)
def test_another_type_differs_only_if_its_json_does(dtype: Any, same: bool) -> None:
    plan = again(FIRST.with_columns(pl.col("a").cast(dtype)))
    assert (plan.counts.unchanged == 3) == same


def test_keys_keep_their_rows_whatever_their_type() -> None:
    first = pl.DataFrame({"id": [1, 2], "a": [1, 2]})
    for dtype in (pl.String, pl.Float64, pl.Decimal(10, 2), pl.UInt8):
        assert again(first.with_columns(pl.col("id").cast(dtype)), Person(), first).counts.unchanged == 2


def test_emails_that_differ_by_case_are_the_same_person() -> None:
    first = pl.DataFrame({"email": ["A@b"], "a": [1]})
    plan = again(pl.DataFrame({"email": ["a@B "], "a": [2]}), Person(key="email"), first)
    assert (plan.counts.update, plan.counts.create) == (1, 0)
    assert plan.bodies()[0]["identifiers"] == {"email": "a@B"}


MIRRORS: list[Any] = [
    Person(behavior="mirror", delete_people=True),
    Device(behavior="mirror"),
    ManualSegment(name="vip", behavior="mirror"),
    Object(object_type_id=1, column="id", behavior="mirror"),
    Relationship(object_type_id=1, object_column="token", behavior="mirror"),
]


def rows(*ids: str | None, **columns: Any) -> pl.DataFrame:
    one = pl.lit("t")
    frame = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    return frame.with_columns(token=one, platform=pl.lit("ios"), **columns)


@pytest.mark.parametrize("spec", MIRRORS, ids=lambda each: each.object)
def test_a_mirror_removes_what_is_gone(spec: Any) -> None:
    plan = again(rows("2", "3"), spec, rows("1", "2"))
    assert (plan.counts.delete, plan.counts.create, plan.counts.unchanged, plan.counts.known) == (1, 1, 1, 2)
    assert plan.operations["_operation"].to_list() == ["delete", "create"], "removals first"
    snapshot = plan.snapshot(after(rows("1", "2"), spec), spec)
    assert planned(rows("2", "3"), spec, snapshot=snapshot).bodies() == []
    assert sorted(snapshot["_key"]) == sorted(after(rows("2", "3"), spec)["_key"])


def test_how_each_is_removed() -> None:
    expected: list[Any] = [
        {"type": "person", "identifiers": {"id": "1"}, "action": "delete"},
        {"type": "person", "identifiers": {"id": "1"}, "action": "delete_device", "device": {"token": "t"}},
        "1",
        {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "1"}, "action": "delete"},
        {
            "type": "person",
            "identifiers": {"id": "1"},
            "action": "delete_relationships",
            "cio_relationships": [{"identifiers": {"object_type_id": "1", "object_id": "t"}}],
        },
    ]
    for spec, body in zip(MIRRORS, expected, strict=True):
        assert again(rows("2"), spec, rows("1", "2")).bodies("delete") == [body]


@pytest.mark.parametrize("spec", MIRRORS, ids=lambda each: each.object)
def test_others_remove_nothing(spec: Any) -> None:
    kept = spec.model_copy(update={"behavior": "update_or_create"})
    plan = again(rows("2"), kept, rows("1", "2"))
    assert plan.bodies() == []
    assert (plan.counts.delete, plan.counts.known) == (0, 2)


def test_rejected_rows_are_not_gone() -> None:
    spec = Person(behavior="mirror", delete_people=True)
    first = rows("1", "2", "3", score=pl.lit(1.0))
    plan = again(rows("1", "2", "2", score=pl.Series([float("nan"), 1.0, 1.0])), spec, first)
    assert plan.keys("delete") == {"3"}
    assert plan.counts.rejected == 3


def test_the_source_decides_nothing_about_keys_it_cannot_name() -> None:
    spec = Person(behavior="mirror", delete_people=True)
    plan = again(rows(None, "2"), spec, rows("1", "2"))
    assert plan.keys("delete") == {"1"}, "a row without a key keeps nobody"


def test_snapshots_may_have_more_and_other_columns() -> None:
    snapshot = (
        after(FIRST, Person())
        .with_columns(_accepted_at=pl.lit(0), z=pl.lit('"old"'))
        .drop("b")
        .select("z", "a", "_person", "_key", "_accepted_at")
    )
    plan = planned(FIRST, Person(), snapshot=snapshot)
    assert sent(plan) == {"1": {"b": "x"}, "3": {"b": "z"}}
    assert "z" not in plan.operations.columns


def test_a_device_is_always_sent_with_its_platform_and_last_use() -> None:
    first = pl.DataFrame({"token": ["t"], "id": ["1"], "platform": ["ios"], "seen": [5], "v": ["1"], "w": ["1"]})
    plan = again(first.with_columns(v=pl.lit("2"), seen=pl.lit(None, dtype=pl.Int64)), Device(last_used="seen"), first)
    assert plan.bodies()[0]["device"] == {"token": "t", "platform": "ios", "last_used": 5, "attributes": {"v": "2"}}


def test_update_only_says_so() -> None:
    (body,) = planned(FIRST.head(1), Person(behavior="update_only")).bodies()
    assert body["attributes"] == {"_update": True, "a": 1, "b": "x"}


@pytest.mark.parametrize("full_resync", [False, True])
def test_a_baseline_read_from_customerio(full_resync: bool) -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror", baseline="customerio")
    frame = pl.DataFrame({"id": ["ours", "lost", "new"], "a": [1, 1, 1]})
    snapshot = after(pl.DataFrame({"id": ["ours", "lost", "left"], "a": [1, 1, 1]}), spec)
    now = pl.DataFrame({"_key": ["ours", "left", "theirs"], "_object": ["ours", "left", "theirs"]})
    plan = planned(frame, spec, snapshot=snapshot, baseline=now, full_resync=full_resync)
    assert plan.keys("create") == {"lost", "new"}, "what others removed is made again"
    assert plan.keys("delete") == {"left", "theirs"}
    assert plan.keys("update") == ({"ours"} if full_resync else set())
    assert plan.counts.known == 3


def test_an_object_that_others_made_is_sent_whole() -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror", baseline="customerio")
    now = pl.DataFrame({"_key": ["1"], "_object": ["1"]})
    plan = planned(pl.DataFrame({"id": ["1"], "a": [1]}), spec, baseline=now)
    assert plan.keys("update") == {"1"}
    assert plan.bodies()[0]["attributes"] == {"a": 1}


def test_an_empty_baseline() -> None:
    spec = ManualSegment(name="vip", behavior="mirror", baseline="customerio")
    now = pl.DataFrame(schema={"_key": pl.String, "_person": pl.String})
    members = pl.DataFrame({"id": ["1"]})
    assert planned(members, spec, baseline=now).bodies() == ["1"]
    assert planned(members, spec, baseline=now, snapshot=after(members, spec)).bodies() == ["1"]
