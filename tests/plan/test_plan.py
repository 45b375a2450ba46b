"""A plan on disk: whole or none, the same when read back, and made of one reading of the source."""

from __future__ import annotations

import json
import random
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.io.plugins import register_io_source

from cio_dagster import Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.errors import SpecError
from cio_dagster.plan import DTYPES, FORMAT, MANIFEST, OPERATIONS, REJECTED, Counts, Plan, read_manifest
from cio_dagster.specs import AnySpec, read_spec
from tests.plans import NOW, plan_of, planned

FRAME = pl.DataFrame({"id": ["1", "2", None], "a": [1, 2, 3]})

EVERY: list[tuple[AnySpec, pl.DataFrame]] = [
    (Person(), FRAME),
    (Device(), FRAME.with_columns(token=pl.lit("t"), platform=pl.lit("ios"))),
    (Event(row_id="id", column="who", name="e"), FRAME.with_columns(who=pl.lit("p"))),
    (Collection(name="c"), FRAME),
    (ManualSegment(name="vip"), FRAME),
    (Object(object_type_id=1, column="id"), FRAME),
    (Relationship(object_type_id=1, object_column="o"), FRAME.with_columns(o=pl.lit("o"))),
]


def read_plan(folder: Path) -> Plan | None:
    """The plan in a folder; a folder without a manifest has none."""
    path = folder / MANIFEST
    return read_manifest(path.read_text(), folder) if path.exists() else None


@pytest.fixture(params=EVERY, ids=lambda each: each[0].object)
def each(request: pytest.FixtureRequest) -> tuple[AnySpec, pl.DataFrame]:
    found: tuple[AnySpec, pl.DataFrame] = request.param
    return found


def test_a_plan_is_read_back_as_it_was_made(each: tuple[AnySpec, pl.DataFrame], tmp_path: Path) -> None:
    spec, frame = each
    plan = plan_of(frame, spec, tmp_path, sequence=7)
    found = read_plan(plan.folder)
    assert found == plan
    assert found is not None
    assert (found.sequence, found.run_id, found.format, found.made_at) == (7, "run", FORMAT, NOW.isoformat())
    assert read_spec(found.spec) == spec
    assert found.baseline() is None
    assert found.operations().collect().equals(plan.operations().collect())


def test_the_files_of_a_plan(tmp_path: Path) -> None:
    plan = plan_of(FRAME, Person(), tmp_path)
    files = {OPERATIONS, REJECTED, DTYPES, MANIFEST}
    assert all(any(path.match(pattern) for pattern in files) for path in plan.folder.iterdir())
    assert all(list(plan.folder.glob(pattern)) for pattern in files)
    assert stat.S_IMODE(plan.folder.stat().st_mode) == 0o700
    operations = plan.operations().collect()
    assert operations["_position"].to_list() == [0, 1]
    assert operations.schema == {
        "_position": pl.UInt32,
        "_row": pl.UInt32,
        "_key": pl.String,
        "_person": pl.String,
        "a": pl.String,
        "_operation": pl.String,
        "_changes": pl.String,
        "_body": pl.String,
    }
    rejected = plan.rejected().collect()
    assert rejected["_row"].to_list() == [2]
    assert rejected.schema == {
        "_row": pl.UInt32,
        "_key": pl.String,
        "_reject": pl.Struct({"reason": pl.String, "field": pl.String, "message": pl.String}),
    }
    assert pl.read_parquet_schema(plan.folder / DTYPES) == {"a": pl.Int64}


def test_a_baseline_that_was_read_is_kept(tmp_path: Path) -> None:
    spec = ManualSegment(name="vip", behavior="mirror", baseline="customerio")
    plan = plan_of(FRAME, spec, tmp_path, baseline=pl.DataFrame({"_key": ["9"], "_person": ["9"]}))
    baseline = plan.baseline()
    assert baseline is not None
    assert baseline.collect().to_dicts() == [{"_key": "9", "_person": "9"}]


def test_a_folder_without_its_manifest_is_no_plan(tmp_path: Path) -> None:
    assert read_plan(tmp_path / "nowhere") is None
    plan = plan_of(FRAME, Person(), tmp_path)
    (plan.folder / MANIFEST).unlink()
    assert read_plan(plan.folder) is None


class Crash(Exception):
    """The process ends here."""


def test_a_plan_that_was_not_finished_is_none(tmp_path: Path) -> None:
    plan_of(FRAME, Person(), tmp_path)

    def crash(frame: pl.DataFrame) -> pl.DataFrame:
        raise Crash

    broken = FRAME.lazy().map_batches(crash, schema=FRAME.schema)
    with pytest.raises(Crash):
        plan_of(broken, Person(), tmp_path)
    assert read_plan(tmp_path / "plan") is None, "nor is the one before it left"
    assert plan_of(FRAME, Person(), tmp_path).counts.create == 2, "and the next plan takes its place"


def test_a_schema_that_cannot_be_sent_leaves_no_plan(tmp_path: Path) -> None:
    plan_of(FRAME, Person(), tmp_path)
    with pytest.raises(SpecError):
        plan_of(FRAME.drop("id"), Person(), tmp_path)
    assert read_plan(tmp_path / "plan") is None


@pytest.mark.parametrize("rows", [0, 1])
def test_the_smallest_tables(each: tuple[AnySpec, pl.DataFrame], rows: int) -> None:
    spec, frame = each
    plan = planned(frame.head(rows), spec)
    assert (plan.counts.source, len(plan.operations), plan.counts.rejected) == (rows, rows, 0)
    again = planned(frame.head(rows), spec, snapshot=plan.snapshot(None, spec))
    assert again.counts.unchanged == rows
    assert len(again.operations) == 0


def test_tables_of_which_every_row_is_rejected(each: tuple[AnySpec, pl.DataFrame]) -> None:
    spec, frame = each
    plan = planned(frame.with_columns(a=pl.lit(float("nan")), id=pl.lit(None, dtype=pl.String)), spec)
    # A collection's rows have no key to miss, but NaN has no JSON; a member of a segment has nothing but its key.
    assert (plan.counts.source, plan.counts.rejected, len(plan.operations)) == (3, 3, 0)


def test_tables_without_types() -> None:
    assert planned(pl.DataFrame(schema={"id": pl.Null, "a": pl.Null}), Person()).counts == Counts()
    assert planned(pl.DataFrame({"id": [None], "a": [None]}), Person()).reasons() == {0: "missing_key"}


def test_tables_with_a_key_alone() -> None:
    plan = planned(FRAME.select("id"), Person())
    assert [body["attributes"] for body in plan.bodies()] == [{}, {}]
    assert planned(FRAME.select("id"), Person(), snapshot=plan.snapshot(None, Person())).counts.unchanged == 2
    assert planned(FRAME, Person(attributes={})).bodies() == plan.bodies()


def test_the_types_of_dtypes_are_those_that_parquet_has(tmp_path: Path) -> None:
    empty = pl.DataFrame(
        schema={
            "id": pl.String,
            "s": pl.Struct({}),
            "l": pl.List(pl.Struct({})),
            "n": pl.Null,
            "i": pl.UInt128,
            "e": pl.Enum(["a"]),
        }
    )
    plan = plan_of(empty, Person(), tmp_path)
    assert pl.read_parquet_schema(plan.folder / DTYPES) == {
        "s": pl.String,
        "l": pl.String,
        "n": pl.String,
        "i": pl.UInt128,
        "e": pl.String,
    }


def test_the_order_of_sending() -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror")
    first = planned(FRAME, spec)
    frame = pl.DataFrame({"id": ["3", "2"], "a": [1, 20]})
    plan = planned(frame, spec, snapshot=first.snapshot(None, spec))
    assert plan.operations["_operation"].to_list() == ["delete", "create", "update"]


def test_a_source_is_read_once() -> None:
    """A source that gives other rows each time, and takes predicates: what is rejected and what is sent come from the same reading."""
    reads = 0

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        nonlocal reads
        reads += 1
        values = [float("nan") if random.random() < 0.5 else 1.0 for _ in range(1_000)]
        frame = pl.DataFrame({"id": range(1_000), "v": values})
        frame = frame if columns is None else frame.select(columns)
        yield frame if predicate is None else frame.filter(predicate)

    for spec in (Person(), Person(keep_newest_by="v"), Collection(name="c"), Event(row_id="id", column="id", name="e")):
        reads = 0
        source = register_io_source(read, schema={"id": pl.Int64, "v": pl.Float64})
        plan = planned(source, spec)
        assert reads == 1
        assert plan.counts.source == 1_000
        assert set(plan.rejected["_row"]) | set(plan.operations["_row"]) == set(range(1_000))


@pytest.mark.parametrize("seed", range(3))
def test_a_random_source_is_read_once(seed: int) -> None:
    shuffled = pl.LazyFrame({"id": range(500)}).with_columns(v=pl.int_range(pl.len()).shuffle())
    bad = shuffled.with_columns(v=pl.when(pl.col("v") < 200).then(float("nan")).otherwise(pl.col("v").cast(pl.Float64)))
    plan = planned(bad, Person())
    assert (plan.counts.rejected, plan.counts.create) == (200, 300)


def test_a_collection_that_changes() -> None:
    spec = Collection(name="c")
    first = planned(pl.DataFrame({"a": [1, 2, 2]}), spec)
    assert first.operations["_operation"].to_list() == ["create"] * 3
    snapshot = first.snapshot(None, spec)
    assert planned(pl.DataFrame({"a": [2, 1, 2]}), spec, snapshot=snapshot).bodies() == [], "the order alone is no change"
    plan = planned(pl.DataFrame({"a": [3, 2, 1]}), spec, snapshot=snapshot)
    assert plan.operations["_operation"].to_list() == ["delete", "create", "keep", "keep"]
    assert plan.operations["_body"].to_list() == [None, '{"a":3}', '{"a":2}', '{"a":1}']
    assert (plan.counts.delete, plan.counts.create, plan.counts.keep) == (1, 1, 2)
    emptied = planned(pl.DataFrame({"a": [1]}).clear(), spec, snapshot=snapshot)
    assert emptied.operations["_operation"].to_list() == ["delete"] * 3


def test_a_large_collection_keeps_its_order() -> None:
    frame = pl.DataFrame({"a": range(50_000)}).sample(fraction=1, shuffle=True, seed=1)
    plan = planned(frame, Collection(name="c"))
    assert [body["a"] for body in plan.bodies()] == frame["a"].to_list()


def events(*times: datetime | None) -> pl.DataFrame:
    rows = {"row": range(len(times)), "id": ["p"] * len(times), "t": times}
    return pl.DataFrame(rows, schema={"row": pl.Int64, "id": pl.String, "t": pl.Datetime("us", "UTC")})


TIMED = Event(row_id="row", name="e", timestamp="t")


def test_events_from_before_the_start_are_left_out() -> None:
    start = NOW - timedelta(days=1)
    frame = events(start - timedelta(seconds=1), start, start + timedelta(seconds=1))
    plan = planned(frame, TIMED, start=start)
    assert plan.operations["_operation"].to_list() == ["left_out", "send", "send"]
    assert plan.operations["_body"][0] is None
    assert (plan.counts.left_out, plan.counts.send) == (1, 2)
    ledger = plan.snapshot(None, TIMED)
    assert planned(frame, TIMED, snapshot=ledger, start=None).counts.unchanged == 3, "and never sent later"


def test_events_without_times_are_history_on_a_first_run_only() -> None:
    spec = Event(row_id="row", name="e")
    frame = events(NOW, NOW).drop("t")
    first = planned(frame.head(1), spec, start=NOW)
    assert first.keys("left_out") == {"0"}
    second = planned(frame, spec, snapshot=first.snapshot(None, spec), start=NOW)
    assert second.keys("send") == {"1"}
    assert planned(frame, spec, start=None).counts.send == 2


def test_left_out_events_come_first() -> None:
    times = [NOW - timedelta(hours=each % 3) for each in range(2_000)]
    plan = planned(events(*times), TIMED, start=NOW - timedelta(minutes=90))
    operations = plan.operations["_operation"]
    assert operations.to_list() == sorted(operations.to_list()), "left_out before send: deliver counts on it"


def test_old_and_future_events_are_counted() -> None:
    window = timedelta(hours=72)
    frame = events(NOW - window - timedelta(seconds=1), NOW - window, NOW, NOW + timedelta(seconds=1), NOW + timedelta(days=9))
    counts = planned(frame, TIMED).counts
    assert (counts.send, counts.old_events, counts.future_events) == (5, 1, 2)
    late = planned(frame, TIMED, start=NOW).counts
    assert (late.left_out, late.send, late.old_events, late.future_events) == (2, 3, 0, 2), "only of those that are sent"
    untimed = planned(frame.drop("t"), Event(row_id="row", name="e")).counts
    assert (untimed.old_events, untimed.future_events) == (0, 0)


def test_the_manifest_is_json_that_another_program_can_read(tmp_path: Path) -> None:
    plan = plan_of(FRAME, Person(), tmp_path)
    manifest: dict[str, Any] = json.loads((plan.folder / MANIFEST).read_text())
    assert manifest["counts"]["create"] == 2
    assert manifest["spec"]["object"] == "person"
    made_for = {
        "run_id",
        "sequence",
        "made_at",
        "spec",
        "replaces",
        "versions",
        "read",
        "limit",
        "chosen",
        "unknown_keys",
        "files",
    }
    assert set(manifest) == {"format", "counts"} | made_for
    assert isinstance(plan, Plan)
