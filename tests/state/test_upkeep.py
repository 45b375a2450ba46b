"""Upkeep of the tables, and what the outcomes say of runs that a guard stopped."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from cio_dagster import places
from cio_dagster import state as state_room
from cio_dagster.errors import GuardError, RequestRefused, Unavailable
from cio_dagster.specs import Collection, Event, Person
from cio_dagster.state import AssetState
from cio_dagster.sync import RunOptions
from tests.engine import Engine

EVENT = Event(row_id="id", column="id", name="seen", start="all")
MIRROR = Person(behavior="mirror", delete_people=True)


def rows(count: int, plan: str = "free") -> list[dict[str, Any]]:
    return [{"id": f"p{n:03}", "plan": plan} for n in range(count)]


def table(engine: Engine, name: str) -> DeltaTable:
    return DeltaTable(str(engine.state().folder / name))


def test_small_files_are_joined_and_old_ones_removed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_room, "COMPACT_EVERY", 4)
    monkeypatch.setattr(state_room, "VACUUM_EVERY", 4)
    monkeypatch.setattr(state_room, "HISTORY_HOURS", 0)
    for count in range(1, 4):
        engine.sync(EVENT, rows(count))
    assert len(table(engine, "snapshot").file_uris()) == len(table(engine, "outcomes").file_uris()) == 3
    engine.sync(EVENT, rows(4))
    for name, written in (("snapshot", 4), ("outcomes", 4 + 3)):
        found = table(engine, name)
        assert len(found.file_uris()) == 1
        assert len(list((engine.state().folder / name).glob("*.parquet"))) == 1
        assert pl.scan_delta(found).select(pl.len()).collect().item() == written
    # Sequence and transactions go on as before.
    assert engine.sync(EVENT, rows(4)).requests == 0
    assert engine.sync(EVENT, rows(6)).sent == 2
    assert len(engine.sandbox.get("events")) == 6
    modes = {path.stat().st_mode & 0o777 for path in engine.state().folder.rglob("*") if path.is_file()}
    assert modes <= {0o600, 0o644}


def test_a_month_of_history_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_room, "COMPACT_EVERY", 1)
    monkeypatch.setattr(state_room, "VACUUM_EVERY", 1)
    for count in range(1, 4):
        engine.sync(MIRROR, rows(count))
    versions = [DeltaTable(str(engine.state().folder / "snapshot"), version=version) for version in range(3)]
    assert sorted({pl.scan_delta(each).select(pl.len()).collect().item() for each in versions}) == [1, 2, 3]


@pytest.mark.parametrize("step", ["compact", "vacuum", "flush"])
def test_a_crash_in_upkeep_does_no_harm(engine: Engine, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    monkeypatch.setattr(state_room, "COMPACT_EVERY", 2)
    monkeypatch.setattr(state_room, "VACUUM_EVERY", 2)
    engine.sync(EVENT, rows(2))
    with monkeypatch.context() as patched:
        if step == "compact":
            patched.setattr("deltalake.table.TableOptimizer.compact", crash)
        elif step == "vacuum":
            patched.setattr(DeltaTable, "vacuum", crash)
        else:
            tend = AssetState.tend

            def tending(self: AssetState, sequence: int) -> None:
                patched.setattr(places, "sync", crash)
                tend(self, sequence)

            patched.setattr(AssetState, "tend", tending)
        with pytest.raises(Crash):
            engine.sync(EVENT, rows(4))
    for _ in range(3):
        report = engine.sync(EVENT, rows(4))
        assert (report.recovered, report.requests) == (0, 0)
    assert engine.sync(EVENT, rows(5)).sent == 1
    snapshot = engine.state().snapshot()
    assert snapshot is not None
    assert sorted(snapshot.select("_key").collect()["_key"]) == [row["id"] for row in rows(5)]
    assert len(engine.sandbox.get("events")) == 5


def test_a_run_that_a_guard_stops_is_accounted_for(engine: Engine) -> None:
    engine.sync(MIRROR, rows(40))
    sequence = engine.state().next_sequence()
    for _ in range(2):
        with pytest.raises(GuardError):
            engine.sync(MIRROR, rows(5))
    assert engine.state().next_sequence() == sequence
    assert not engine.state().plan_folder.exists()
    stopped = engine.outcomes(outcome="stopped")
    assert sorted(each["run_id"] for each in stopped) == engine.last[-2:]
    for line in stopped:
        assert (line["operation"], line["reason"], line["rows"]) == ("none", "max_delete", 5)
        assert "35 of 40 rows would be removed" in line["message"]
    # A dry run is none.
    engine.sync(MIRROR, rows(5), options=RunOptions(dry_run=True))
    assert len(engine.outcomes(outcome="stopped")) == 2
    assert engine.sync(MIRROR, rows(5), options=RunOptions(allow_deletes=True)).removed == 35


def test_the_first_run_stopped(engine: Engine) -> None:
    big = Collection(name="c")
    source = [{"text": f"{n:05}" + "x" * 9_000} for n in range(1_200)]
    with pytest.raises(GuardError):
        engine.sync(big, source)
    assert [each["rows"] for each in engine.outcomes(outcome="stopped")] == [1_200]
    assert engine.sync(big, source[:3]).created == 3


def test_refused_removals_are_no_rejected_rows_of_the_source(engine: Engine) -> None:
    engine.sync(MIRROR, rows(10))
    refusal = {"errors": [{"batch_index": n, "reason": "invalid", "field": "", "message": "no"} for n in range(3)]}
    engine.sandbox.faults([{"path": "/api/v2/batch", "status": 207, "body": refusal}])
    report = engine.sync(MIRROR, rows(7))
    assert (report.refused, report.refused_removals) == (3, 3)
    assert not report.too_many_rejected(0)
    assert not report.too_many_rejected(0.01)
    report = engine.sync(MIRROR, [*rows(7), {"id": "", "plan": "free"}])
    assert report.too_many_rejected(0)
    assert not report.too_many_rejected(1)


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 400}, {"status": 404}, {"status": 503, "apply": True}, {"drop_answer": True}],
    ids=str,
)
def test_an_empty_collection_that_could_not_be_made_is_made_by_the_next_run(engine: Engine, fault: dict[str, Any]) -> None:
    spec, empty = Collection(name="c"), pl.DataFrame(schema={"a": pl.String})
    engine.sandbox.faults([{"path": "/v1/collections", "method": "POST", **fault}])
    report = engine.sync(spec, empty, attempts=2)
    may_be_there = fault.get("apply") or fault.get("drop_answer")
    if report.error is None:
        assert may_be_there, "found after it was made without an answer"
    else:
        assert isinstance(report.error, (RequestRefused, Unavailable))
    engine.sandbox.faults([])
    assert engine.sync(spec, empty).error is None
    assert [each["data"] for each in engine.sandbox.get("collections")] == [[]]
    assert engine.sync(spec, empty).requests == 0


def test_a_collection_whose_replacement_is_unclear_is_replaced_again(engine: Engine) -> None:
    """The new rows were taken and the answer lost; then the source has the old rows again, as the snapshot does."""
    spec, old, new = Collection(name="c"), [{"a": "1"}, {"a": "2"}], [{"a": "1"}, {"a": "3"}]
    engine.sync(spec, old)
    engine.sandbox.faults([{"path": "/v1/collections", "method": "PUT", "status": 503, "apply": True}])
    assert engine.sync(spec, new, attempts=2).error is not None
    engine.sandbox.faults([])
    assert engine.sync(spec, old).error is None
    [collection] = engine.sandbox.get("collections")
    assert collection["data"] == old
    assert engine.sync(spec, old).requests == 0
