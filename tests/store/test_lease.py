"""The lock of a state in an object store: one writer, whichever machine it is on."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
from deltalake.exceptions import DeltaError

from cio_dagster import lock as lock_room
from cio_dagster import tables
from cio_dagster.answers import AnswerLog
from cio_dagster.errors import LockedError, StateError
from cio_dagster.lock import NOTE, lock
from cio_dagster.places import StorePath
from cio_dagster.plan import Counts, Plan
from cio_dagster.specs import Person
from tests.engine import Engine

ROWS = [{"id": "a", "n": 1}]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEASE", 3.0), ("RENEWED", 0.2), ("MARGIN", 0.5)):
        monkeypatch.setattr(lock_room, name, seconds)


def test_the_holder_is_named_while_it_lives(root: StorePath) -> None:
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
    assert not (root / NOTE).exists()
    with lock(root, "run-3", "people"):
        assert json.loads((root / NOTE).read_text())["run"] == "run-3"


def test_a_dead_holder_is_followed_when_its_lease_ends(root: StorePath) -> None:
    (root / NOTE).put(b'{"run": "dead"}')
    begun = time.monotonic()
    with lock(root, "run-2", "people"):
        assert time.monotonic() - begun >= 3
        assert json.loads((root / NOTE).read_text())["run"] == "run-2"


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
        with pytest.raises(StateError, match="another run has taken it"):
            held()
    assert json.loads((root / NOTE).read_text()) == {"run": "other"}, "what is another's is not removed"

    def gone(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    with lock(root / "b", "run-1", "people") as held, monkeypatch.context() as patched:
        patched.setattr(StorePath, "put", gone)
        held()
        time.sleep(2.7)
        with pytest.raises(StateError, match="could not be renewed"):
            held()


def test_a_lost_answer_of_the_store_is_no_lost_lock(root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is tried again meets itself."""
    put = StorePath.put

    def twice(self: StorePath, content: bytes, mode: object = "overwrite") -> object:
        put(self, content, mode)
        return put(self, content, mode)

    monkeypatch.setattr(StorePath, "put", twice)
    with lock(root, "run-1", "people") as held:
        time.sleep(1)
        held()


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
        with pytest.raises(StateError, match="another run has taken it"):
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
    versions = state.versions()
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
    assert state.versions()["snapshot"] == versions["snapshot"] + 1
    assert sorted(said) == ["CommitFailedError"] * 3 + ["written"]
