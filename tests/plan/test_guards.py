"""What stops a plan before anything is sent, and how it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.errors import GuardError
from cio_dagster.guards import Limit, check, warnings
from cio_dagster.plan import Plan
from tests.plans import plan_of, planned


def members(*ids: int | None) -> pl.DataFrame:
    return pl.DataFrame({"id": ids}, schema={"id": pl.Int64})


def mirror(**settings: Any) -> ManualSegment:
    return ManualSegment(name="vip", behavior="mirror", **settings)


def plan_after(before: pl.DataFrame, after: pl.DataFrame, spec: Any, folder: Path) -> Plan:
    return plan_of(after, spec, folder, snapshot=planned(before, spec).snapshot(None, spec))


def stopped(plan: Plan, spec: Any, **options: bool) -> GuardError:
    [error] = check(plan, spec, **options)
    return error


def allowed(plan: Plan, spec: Any, **options: bool) -> None:
    assert check(plan, spec, **options) == []


def test_an_empty_source_removes_nothing(tmp_path: Path) -> None:
    spec = mirror(max_delete=1.0)
    plan = plan_after(members(*range(1_500)), members(), spec, tmp_path)
    error = stopped(plan, spec)
    assert (error.guard, error.planned, error.known) == ("empty_source", 1_500, 1_500)
    assert str(error).startswith(
        "Nothing was sent: the source is empty, but Customer.io holds 1,500 rows from it, and 1,500 would be"
    )
    assert "`allow_deletes: true`" in str(error)
    allowed(plan, spec, allow_deletes=True)


def test_a_source_of_which_all_is_rejected_removes_nothing(tmp_path: Path) -> None:
    spec = mirror(max_delete=1.0)
    plan = plan_after(members(1, 2, 3), members(None, None), spec, tmp_path)
    error = stopped(plan, spec)
    assert (error.guard, error.planned, error.known) == ("empty_source", 3, 3)
    assert "has 2 rows, all of them rejected" in str(error)
    allowed(plan, spec, allow_deletes=True)


@pytest.mark.parametrize(
    "spec",
    [
        Person(behavior="mirror", delete_people=True),
        Object(object_type_id=1, column="id", behavior="mirror"),
        Collection(name="c"),
    ],
    ids=lambda each: each.object,
)
def test_every_kind_of_mirror_is_guarded(spec: Any, tmp_path: Path) -> None:
    assert stopped(plan_after(members(1), members(), spec, tmp_path), spec).guard == "empty_source"


def test_devices_and_relationships_are_guarded(tmp_path: Path) -> None:
    rows = members(*range(20)).with_columns(token=pl.lit("t"), platform=pl.lit("ios"), object_id=pl.lit("o"))
    for spec in (Device(behavior="mirror"), Relationship(object_type_id=1, behavior="mirror")):
        assert stopped(plan_after(rows, rows.head(5), spec, tmp_path), spec).guard == "max_delete"


def test_what_removes_nothing_is_not_guarded(tmp_path: Path) -> None:
    for spec in (ManualSegment(name="vip"), Person()):
        allowed(plan_after(members(*range(50)), members(), spec, tmp_path), spec)


def test_a_first_run_from_an_empty_source(tmp_path: Path) -> None:
    for spec in (mirror(), Collection(name="c")):
        allowed(plan_of(members(), spec, tmp_path), spec)


def test_a_source_that_stays_empty(tmp_path: Path) -> None:
    spec = mirror()
    allowed(plan_after(members(), members(), spec, tmp_path), spec)


@pytest.mark.parametrize(
    ("known", "gone", "max_delete", "stops"),
    [
        (100, 20, None, False),
        (100, 21, None, True),
        (30, 10, None, False),
        (30, 11, None, True),
        (10, 9, None, False),
        (100, 5, 5, False),
        (100, 6, 5, True),
        (100, 1, 0, True),
        (100, 50, 0.5, False),
        (100, 51, 0.5, True),
        (100, 1, 0.0, True),
        (100, 2, 1, True),
        (100, 99, 1.0, False),
    ],
)
def test_a_mirror_removes_no_more_than_it_may(known: int, gone: int, max_delete: Any, stops: bool, tmp_path: Path) -> None:
    spec = mirror(max_delete=max_delete)
    plan = plan_after(members(*range(known)), members(*range(gone, known)), spec, tmp_path)
    assert plan.counts.delete == gone
    if not stops:
        allowed(plan, spec)
        return
    error = stopped(plan, spec)
    limit = "20% and 10 rows (the default; set max_delete to change it)" if max_delete is None else f"max_delete={max_delete}"
    assert f"{gone:,} of {known:,} rows would be removed, more than {limit}." in str(error)
    assert "`allow_deletes: true`" in str(error)
    assert (error.guard, error.planned, error.known) == ("max_delete", gone, known)
    allowed(plan, spec, allow_deletes=True)


def test_what_others_put_into_a_segment_counts_too(tmp_path: Path) -> None:
    spec = mirror(baseline="customerio")
    theirs = pl.DataFrame({"_key": [str(each) for each in range(100)]}).with_columns(_person="_key")
    plan = plan_of(members(1), spec, tmp_path, baseline=theirs)
    assert (stopped(plan, spec).planned, stopped(plan, spec).known) == (99, 100)


def test_rejected_rows_do_not_count_as_removed(tmp_path: Path) -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror")
    rows = members(*range(20)).with_columns(v=pl.lit(1.0))
    bad = rows.with_columns(v=pl.when(pl.col("id") > 0).then(float("nan")).otherwise(1.0))
    plan = plan_after(rows, bad, spec, tmp_path)
    assert (plan.counts.delete, plan.counts.rejected) == (0, 19)
    allowed(plan, spec)


@pytest.mark.parametrize(
    ("known", "left", "max_delete", "stops"),
    [
        (100, 80, None, False),
        (100, 79, None, True),
        (10, 1, None, False),
        (100, 95, 5, False),
        (100, 94, 5, True),
        (9, 10, 0, False),
    ],
)
def test_a_collection_loses_no_more_rows_than_it_may(
    known: int, left: int, max_delete: Any, stops: bool, tmp_path: Path
) -> None:
    spec = Collection(name="c", max_delete=max_delete)
    after = members(*range(left)).with_columns(price=2)
    plan = plan_after(members(*range(known)).with_columns(price=1), after, spec, tmp_path)
    assert plan.counts.delete == known, "every row has another content, and what counts is how many there are"
    if not stops:
        allowed(plan, spec)
        return
    error = stopped(plan, spec)
    assert (error.guard, error.planned, error.known, error.option) == ("max_delete", known - left, known, "allow_deletes")
    allowed(plan, spec, allow_deletes=True)


@pytest.mark.parametrize("over", [False, True])
def test_a_collection_has_at_most_10_megabytes(over: bool, tmp_path: Path) -> None:
    spec = Collection(name="c")
    row = 9_999  # And a comma: 1,000 of them are two brackets less a comma short of the limit.
    values = ["x" * (row - len('{"v":""}'))] * 999 + ["x" * (row - len('{"v":""}') - 1 + over)]
    plan = plan_of(pl.DataFrame({"v": values}), spec, tmp_path)
    size = len("[" + ",".join(plan.operations().collect()["_body"]) + "]")
    assert size == 10_000_000 + over
    if not over:
        allowed(plan, spec)
        return
    error = stopped(plan, spec, allow_deletes=True, allow_changes=True)
    assert "10,000,001 bytes as JSON; the limit is 10,000,000" in str(error)
    assert (error.guard, error.would, error.planned, error.option) == ("collection_size", "send", 1_000, None)


@pytest.mark.parametrize(
    ("known", "new", "limit", "stops"),
    [
        (100, 50, None, False),
        (100, 10, 10, False),
        (100, 11, 10, True),
        (100, 10, 0.1, False),
        (100, 11, 0.1, True),
        (0, 11, 10, True),
        (0, 1_000, 0.1, False),
        (100, 1, 0, True),
    ],
)
def test_no_more_new_people_than_allowed(known: int, new: int, limit: Any, stops: bool, tmp_path: Path) -> None:
    spec = Person(max_new_people=limit)
    plan = plan_after(members(*range(known)), members(*range(known + new)), spec, tmp_path)
    if not stops:
        allowed(plan, spec)
        return
    error = stopped(plan, spec)
    assert f"{new:,} people would be created beside the {known:,} known ones, more than max_new_people={limit}." in str(error)
    assert "`allow_changes: true`" in str(error)
    found = (error.guard, error.would, error.planned, error.known, error.option)
    assert found == ("max_new_people", "create", new, known, "allow_changes")
    assert stopped(plan, spec, allow_deletes=True).guard == "max_new_people", "the other option is about other things"
    allowed(plan, spec, allow_changes=True)


def test_an_update_of_unknown_people_makes_none(tmp_path: Path) -> None:
    spec = Person(behavior="update_only", max_new_people=1)
    allowed(plan_of(members(*range(20)), spec, tmp_path), spec)


def test_each_guard_is_lifted_by_its_own_option(tmp_path: Path) -> None:
    spec = Person(behavior="mirror", delete_people=True, max_new_people=5, max_delete=5)
    plan = plan_after(members(*range(20)), members(*range(10, 30)), spec, tmp_path)
    assert [each.guard for each in check(plan, spec)] == ["max_delete", "max_new_people"]
    assert [each.guard for each in check(plan, spec, allow_deletes=True)] == ["max_new_people"]
    assert [each.guard for each in check(plan, spec, allow_changes=True)] == ["max_delete"]
    allowed(plan, spec, allow_deletes=True, allow_changes=True)


def people(rows: int, **columns: Any) -> pl.DataFrame:
    return members(*range(rows)).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


@pytest.mark.parametrize(
    ("changed", "limit", "stops"),
    [(100, 1.0, False), (50, 0.5, False), (51, 0.5, True), (10, 10, False), (11, 10, True), (2, 0, True)],
)
def test_no_more_changed_rows_than_allowed(changed: int, limit: Any, stops: bool, tmp_path: Path) -> None:
    spec = Person(max_changed=limit)
    after = people(100, b="x").with_columns(
        a=pl.when(pl.col("id") < changed).then(2).otherwise(1), b=pl.when(pl.col("id") == 0).then(pl.lit("y")).otherwise("b")
    )
    plan = plan_after(people(100, a=1, b="x"), after, spec, tmp_path)
    if not stops:
        allowed(plan, spec)
        return
    error = stopped(plan, spec)
    assert f"{changed} of 100 rows have changed, more than max_changed={limit}; most of all 'a' (in {changed})" in str(error)
    assert "`allow_changes: true`" in str(error)
    assert (error.guard, error.would, error.planned, error.known) == ("max_changed", "change", changed, 100)
    assert error.attributes == {"a": changed, "b": 1}
    allowed(plan, spec, allow_changes=True)


@pytest.mark.parametrize(
    "spec",
    [
        Device(max_changed=5),
        Object(object_type_id=1, column="id", max_changed=5),
        Relationship(object_type_id=1, max_changed=5),
    ],
    ids=lambda each: each.object,
)
def test_all_that_has_lasting_attributes_is_guarded_from_changes(spec: Any, tmp_path: Path) -> None:
    rows = people(20, token="t", platform="ios", object_id="o", a=1)
    assert stopped(plan_after(rows, rows.with_columns(a=2), spec, tmp_path), spec).attributes == {"a": 20}


def test_rows_that_are_only_sent_again_have_not_changed(tmp_path: Path) -> None:
    spec = Person(max_changed=5, max_new_people=5)
    rows = people(20, a=1)
    plan = plan_of(rows, spec, tmp_path, snapshot=planned(rows, spec).snapshot(None, spec), full_resync=True)
    assert plan.counts.update == 20
    allowed(plan, spec)


def test_attributes_are_counted_by_their_own_name(tmp_path: Path) -> None:
    """Whatever is in names and values."""
    spec = Person(max_changed=0)
    before = people(3, **{'q"uo\te': "x", "other": 'q"uo\te":{"from":', "é": None, "from": "x"})
    after = before.with_columns(**{'q"uo\te': pl.lit("y"), "é": pl.when(pl.col("id") > 0).then(1)})
    error = stopped(plan_after(before, after, spec, tmp_path), spec)
    assert error.attributes == {'q"uo\te': 3, "é": 2}


def test_the_five_that_changed_most_are_named(tmp_path: Path) -> None:
    spec = Person(max_changed=0)
    before = people(9, **dict.fromkeys("abcdefg", 0))
    after = before.with_columns(
        pl.when(pl.col("id") > place).then(1).otherwise(0).alias(name) for place, name in enumerate("abcdefg")
    )
    assert stopped(plan_after(before, after, spec, tmp_path), spec).attributes == {"a": 8, "b": 7, "c": 6, "d": 5, "e": 4}


@pytest.mark.parametrize(
    ("known", "changed", "warns"), [(2_002, 1_001, False), (2_002, 1_002, True), (1_000, 1_000, False), (1_001, 1_001, True)]
)
def test_a_change_of_most_rows_is_warned_about(known: int, changed: int, warns: bool, tmp_path: Path) -> None:
    after = people(known).with_columns(a=pl.when(pl.col("id") < changed).then(2).otherwise(1))
    plan = plan_after(people(known, a=1), after, Person(), tmp_path)
    allowed(plan, Person())
    found = warnings(plan, Person(), None)
    assert len(found) == warns
    assert warnings(plan, Person(max_changed=1.0), None) == [], "who sets a limit wants no other"
    if warns:
        assert f"{changed:,} of {known:,} rows have changed, most of all 'a' (in {changed:,})" in found[0]


@pytest.mark.parametrize(
    ("spec", "before", "now", "warns"),
    [
        (Person(), 100, 50, False),
        (Person(), 100, 49, True),
        (Person(), 20, 10, False),
        (Person(), 10, 1, False),
        (Person(), 100, 0, False),
        (Person(), 100, 200, False),
        (ManualSegment(name="vip"), 100, 49, True),
        (mirror(max_delete=1.0), 100, 49, False),
        (Collection(name="c"), 100, 49, False),
        (Event(row_id="id", column="id", name="e"), 100, 49, False),
    ],
)
def test_a_shrunken_source_is_warned_about_where_nothing_is_removed(
    spec: Any, before: int, now: int, warns: bool, tmp_path: Path
) -> None:
    """What removes rows has max_delete, and sources of events are often windows. An empty source has words of its own."""
    plan = plan_of(members(*range(now)), spec, tmp_path)
    found = warnings(plan, spec, {"planned": {"source": before}})
    assert len(found) == warns
    if warns:
        assert f"The source has {now} rows, {before - now} fewer than the {before} of the last run." in found[0]


def test_thresholds() -> None:
    assert Limit("", 1).most(10) == 1
    assert Limit("", 1.0).most(10) == 10, "1 is a row, 1.0 is all of them"
    assert Limit("", 0.2, 10).most(20) == 10
