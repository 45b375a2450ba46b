"""The lock of a state in an object store: one writer, whichever machine it is on."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake.exceptions import DeltaError

from cio_dagster import lock as lock_room
from cio_dagster import places, tables
from cio_dagster.answers import AnswerLog
from cio_dagster.errors import LockedError, StateError, StateUnavailable
from cio_dagster.lock import NOTE, Held, lock
from cio_dagster.places import StoreError, StorePath
from cio_dagster.plan import Counts, Plan
from cio_dagster.specs import Person
from cio_dagster.state import AssetState
from cio_dagster.sync import begin
from tests.engine import Engine
from tests.store.conftest import machine

ROWS = [{"id": "a", "n": 1}]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEASE", 3.0), ("RENEWED", 0.2), ("MARGIN", 0.5)):
        monkeypatch.setattr(lock_room, name, seconds)


def test_the_holder_is_named_while_it_lives(root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_room, "_now", lambda: "2026-01-31T12:00:00+00:00")  # A clock that stands still.
    with lock(root, "run-1", "people") as held:
        begun = time.monotonic()
        with (
            pytest.raises(LockedError, match="people is being written by another run") as caught,
            lock(root, "run-2", "people"),
        ):
            pass
        assert time.monotonic() - begun < 3
        assert json.loads(caught.value.holder)["run"] == "run-1"
        held()
    assert places.read(root / NOTE) is None
    with lock(root, "run-3", "people"):
        assert json.loads((root / NOTE).read_bytes())["run"] == "run-3"


def test_a_dead_holder_is_followed_when_its_lease_ends(root: StorePath) -> None:
    (root / NOTE).put(b'{"run": "dead"}')
    begun = time.monotonic()
    with lock(root, "run-2", "people"):
        assert time.monotonic() - begun >= 3
        assert json.loads((root / NOTE).read_bytes())["run"] == "run-2"


def test_of_many_one_takes_over(root: StorePath) -> None:
    (root / NOTE).put(b'{"run": "dead"}')
    inside, most, taken = [0], [0], []

    def attempt(run: int) -> None:
        try:
            with lock(root, f"run-{run}", "people"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(1)
                inside[0] -= 1
                taken.append(run)
        except LockedError:
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(attempt, range(6)))
    assert most == [1]
    assert taken


def test_a_holder_that_was_cut_off_stops(root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock(root, "run-1", "people") as held:
        (root / NOTE).put(b'{"run": "other"}')
        time.sleep(1)
        with pytest.raises(StateUnavailable, match="another run has taken it"):
            held()
    assert json.loads((root / NOTE).read_bytes()) == {"run": "other"}, "what is another's is not removed"

    def gone(*_: object, **__: object) -> None:
        raise StoreError("connection refused")

    with lock(root / "b", "run-1", "people") as held, monkeypatch.context() as patched:
        patched.setattr(StorePath, "put_if", gone)
        held()
        time.sleep(2.7)
        with pytest.raises(StateUnavailable, match="connection refused"):
            held()


def test_a_lost_answer_of_the_store_is_no_lost_lock(root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is tried again meets itself."""
    put = StorePath.put_if

    def twice(self: StorePath, content: bytes, mode: object) -> object:
        put(self, content, mode)
        return put(self, content, mode)

    monkeypatch.setattr(StorePath, "put_if", twice)
    with lock(root, "run-1", "people") as held:
        written = iter(range(9))

        def lost(self: StorePath, content: bytes, mode: object) -> object:
            version = put(self, content, mode)
            if next(written) == 1:
                raise StoreError("timeout")
            return version

        monkeypatch.setattr(StorePath, "put_if", lost)
        time.sleep(1)
        held()
        assert next(written) > 2


def test_what_is_no_lease_is_taken_over_too(root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_room, "LEASE", 0.3)
    (root / NOTE).put(b"\xff{")
    with lock(root, "run-2", "people"):
        assert json.loads((root / NOTE).read_bytes())["run"] == "run-2"


def test_runs_of_one_machine_do_not_share_its_working_folder(remote: Engine) -> None:
    with remote.state().lock("run-1"):
        (
            remote.root / "workspace" / "asset" / "whole" / NOTE
        ).unlink()  # As when the store's was over while this one was suspended.
        with pytest.raises(LockedError, match="run-1"):
            remote.sync(Person(), ROWS)


def test_a_holder_that_was_suspended_spoils_nothing_of_the_next(
    remote: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes up before it sends, when another machine has a plan under way."""
    state, rows = remote.state(), pl.LazyFrame({"id": ["old"], "n": [1]})
    with begin(rows, Person(), state, remote.connection(), run_id="suspended") as run, monkeypatch.context() as patched:
        (remote.root / "workspace" / "asset" / "whole" / NOTE).unlink()
        machine(tmp_path / "second", patched)
        patched.setattr("cio_dagster.sync.commit", _lost)
        with pytest.raises(ZeroDivisionError):
            remote.sync(Person(), ROWS)
        patched.undo()
        theirs = places.sizes(remote.root)
        with pytest.raises(StateUnavailable, match="is lost"):
            _wait(run.held)
        with pytest.raises(StateUnavailable, match="is lost"):
            run.finish()
        run.drop(StateUnavailable())
    assert places.sizes(remote.root) == theirs
    assert [each["id"] for each in remote.sandbox.get("people")] == ["a"]
    assert remote.sync(Person(), ROWS).recovered == 1


def _wait(held: Held) -> None:
    for _ in range(100):
        held()
        time.sleep(0.1)


def _lost(*_: object, **__: object) -> None:
    raise ZeroDivisionError


def test_of_plans_that_are_published_at_once_one_is_sent(remote: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where each takes its lock for good."""
    state, publish = remote.state(), AssetState.publish

    def second(self: AssetState, plan: Plan) -> Plan:
        publish(self, plan)
        return publish(self, plan)

    monkeypatch.setattr(AssetState, "publish", second)
    with pytest.raises(StateUnavailable, match="another run has put its plan"):
        remote.sync(Person(), ROWS)
    assert remote.requests("/batch") == []
    assert state.plan_under_way() is not None


def test_a_sync_that_lost_its_lock_commits_nothing(remote: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    place, append = remote.state().folder, AnswerLog.append
    assert isinstance(place, StorePath)

    def stolen(self: AnswerLog, *args: Any) -> None:
        append(self, *args)
        (place / NOTE).put(b'{"run": "other"}')

    remote.sandbox.faults([{"delay": 0.5, "path": "/api/v2/batch"}])
    rows = [{"id": str(n), "n": 1} for n in range(60)]
    with monkeypatch.context() as patched:
        patched.setattr(AnswerLog, "append", stolen)
        with pytest.raises(StateUnavailable, match="another run has taken it"):
            remote.sync(Person(), rows, batch_bytes=700, concurrency=1)
    remote.sandbox.faults([])
    assert remote.state().snapshot() is None
    (place / NOTE).unlink()
    report = remote.sync(Person(), rows)
    assert 0 < report.recovered < 60
    assert report.recovered + report.created == 60


def test_two_runs_at_once_are_one_after_the_other(remote: Engine) -> None:
    remote.sandbox.faults([{"delay": 0.5, "path": "/api/v2/batch"}])
    held: list[str] = []

    def run(_: int) -> int:
        try:
            return remote.sync(Person(), ROWS).created
        except LockedError as error:
            held.append(error.holder)
            return 0

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(run, range(3))) == 1
    assert len(held) == 2
    assert len(remote.requests("/batch")) == 1


def test_of_writers_of_one_version_one_wins(remote: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even without a lock, a table's version is written once."""
    remote.sync(Person(), ROWS)
    state = remote.state()
    spec = Person().model_dump(mode="json")
    versions = state.open_tables().versions
    together, real = threading.Barrier(4), tables._add_file

    def at_once(*args: Any) -> Any:
        together.wait()
        return real(*args)

    monkeypatch.setattr(tables, "_add_file", at_once)

    def write(number: int) -> str:
        plan = Plan(state.plan_folder, f"run-{number}", 2, "2026-01-31T12:00:00+00:00", Counts(), spec=spec, versions=versions)
        row = pl.LazyFrame({"_key": [str(number)], "_person": [str(number)], "n": ["1"]})
        try:
            state.write_snapshot([row], plan, append=False)
        except (DeltaError, StateError) as error:
            return type(error).__name__
        return "written"

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(write, range(4)))
    rows = state.snapshot()
    assert rows is not None
    assert len(rows.collect()) == 1
    assert state.open_tables().versions["snapshot"] == versions["snapshot"] + 1
    assert sorted(said) == ["CommitFailedError"] * 3 + ["written"]
