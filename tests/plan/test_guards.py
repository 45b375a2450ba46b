"""What stops a plan before anything is sent, and how it is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Device, ManualSegment, Object, Person, Relationship
from cio_dagster.errors import GuardError
from cio_dagster.guards import check, exceeds
from cio_dagster.plan import Plan
from tests.plans import plan_of, planned


def members(*ids: int | None) -> pl.DataFrame:
    return pl.DataFrame({"id": ids}, schema={"id": pl.Int64})


def mirror(**settings: Any) -> ManualSegment:
    return ManualSegment(name="vip", behavior="mirror", **settings)


def plan_after(before: pl.DataFrame, after: pl.DataFrame, spec: Any, folder: Path) -> Plan:
    return plan_of(after, spec, folder, snapshot=planned(before, spec).snapshot(None, spec))


def stopped(plan: Plan, spec: Any) -> GuardError:
    with pytest.raises(GuardError) as error:
        check(plan, spec, allow_deletes=False)
    return error.value


def test_an_empty_source_removes_nothing(tmp_path: Path) -> None:
    spec = mirror(max_delete=1.0)
    plan = plan_after(members(*range(1_500)), members(), spec, tmp_path)
    error = stopped(plan, spec)
    assert (error.guard, error.planned, error.known) == ("empty_source", 1_500, 1_500)
    assert str(error).startswith(
        "Nothing was sent: the source is empty, but Customer.io holds 1,500 rows from it, and 1,500 would be"
    )
    assert "`allow_deletes: true`" in str(error)
    check(plan, spec, allow_deletes=True)


def test_a_source_of_which_all_is_rejected_removes_nothing(tmp_path: Path) -> None:
    spec = mirror(max_delete=1.0)
    plan = plan_after(members(1, 2, 3), members(None, None), spec, tmp_path)
    error = stopped(plan, spec)
    assert (error.guard, error.planned, error.known) == ("empty_source", 3, 3)
    assert "has 2 rows, all of them rejected" in str(error)
    check(plan, spec, allow_deletes=True)


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
        check(plan_after(members(*range(50)), members(), spec, tmp_path), spec, allow_deletes=False)


def test_a_first_run_from_an_empty_source(tmp_path: Path) -> None:
    for spec in (mirror(), Collection(name="c")):
        check(plan_of(members(), spec, tmp_path), spec, allow_deletes=False)


def test_a_source_that_stays_empty(tmp_path: Path) -> None:
    spec = mirror()
    check(plan_after(members(), members(), spec, tmp_path), spec, allow_deletes=False)


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
        check(plan, spec, allow_deletes=False)
        return
    error = stopped(plan, spec)
    limit = "20% and 10 rows (the default; set max_delete to change it)" if max_delete is None else f"max_delete={max_delete}"
    assert f"{gone:,} of {known:,} rows would be removed, more than {limit}." in str(error)
    assert "`allow_deletes: true`" in str(error)
    assert (error.guard, error.planned, error.known) == ("max_delete", gone, known)
    check(plan, spec, allow_deletes=True)


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
    check(plan, spec, allow_deletes=False)


def test_a_collection_shrinks_as_it_likes(tmp_path: Path) -> None:
    spec = Collection(name="c")
    check(plan_after(members(*range(100)), members(1), spec, tmp_path), spec, allow_deletes=False)


@pytest.mark.parametrize("over", [False, True])
def test_a_collection_has_at_most_10_megabytes(over: bool, tmp_path: Path) -> None:
    spec = Collection(name="c")
    row = 9_999  # And a comma: 1,000 of them are two brackets less a comma short of the limit.
    values = ["x" * (row - len('{"v":""}'))] * 999 + ["x" * (row - len('{"v":""}') - 1 + over)]
    plan = plan_of(pl.DataFrame({"v": values}), spec, tmp_path)
    size = len("[" + ",".join(plan.operations().collect()["_body"]) + "]")
    assert size == 10_000_000 + over
    if not over:
        check(plan, spec, allow_deletes=False)
        return
    for allowed in (False, True):
        with pytest.raises(GuardError, match="10,000,001 bytes as JSON; the limit is 10,000,000") as error:
            check(plan, spec, allow_deletes=allowed)
        assert (error.value.guard, error.value.planned) == ("collection_size", 1_000)


def test_thresholds() -> None:
    assert exceeds(2, 10, 1)
    assert not exceeds(2, 10, 1.0), "1 is a row, 1.0 is all of them"
    assert not exceeds(0, 0, 0)
    assert not exceeds(0, 0, 0.0)
    assert exceeds(11, 11, None)
    assert not exceeds(10, 10, None)
