"""Crashes: at every step between the plan and its end, and of a real process by kill -9."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cio_dagster import commit as commit_room
from cio_dagster import sync as sync_room
from cio_dagster.commit import commit
from cio_dagster.errors import StateError
from cio_dagster.specs import AnySpec, Event, Person
from cio_dagster.state import AssetState
from tests.engine import SITE, TRACK_KEY, Engine

MIRROR = Person(behavior="mirror", delete_people=True, max_delete=1000)
EVENT = Event(row_id="id", column="id", name="seen", start="all")


class Crash(BaseException):
    """A power cut, as far as a test can have one in its own process."""


def rows(*numbers: int, plan: str = "free") -> list[dict[str, Any]]:
    return [{"id": f"p{n:03}", "plan": plan} for n in numbers]


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool) -> None:
    """Crash once, before or after a function has done its work."""
    real = getattr(owner, name)

    def crashing(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs) if after else None
        raise Crash(name, result)

    monkeypatch.setattr(owner, name, crashing)


STEPS = [
    (sync_room.guards, "check", False),
    (sync_room.delivery, "deliver", False),
    (sync_room.delivery, "deliver", True),
    (AssetState, "write_snapshot", False),
    (AssetState, "write_snapshot", True),
    (AssetState, "write_outcomes", False),
    (AssetState, "write_outcomes", True),
    (AssetState, "close_plan", False),
    (AssetState, "save_info", False),
    (AssetState, "discard_plan", False),
    (AssetState, "close_plan", True),
    (AssetState, "save_report", False),
]


@pytest.mark.parametrize("spec", [MIRROR, EVENT], ids=["mirror", "event"])
@pytest.mark.parametrize(("owner", "name", "after"), STEPS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_crash_at_any_step_counts_each_row_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, spec: AnySpec, owner: Any, name: str, after: bool
) -> None:
    engine.sync(spec, rows(1, 2, 3))
    changed = [*rows(2, plan="pro"), *rows(3, 4, 5)]
    with monkeypatch.context() as patched:
        crash_at(patched, owner, name, after=after)
        if name in ("save_info", "discard_plan"):
            # These also run before the plan is made: crash inside close_plan only.
            patched.undo()
            close = AssetState.close_plan

            def closing(self: AssetState, *args: Any) -> None:
                crash_at(patched, AssetState, name, after=after)
                close(self, *args)

            patched.setattr(AssetState, "close_plan", closing)
        with pytest.raises(Crash):
            engine.sync(spec, changed)
    report = engine.sync(spec, changed)
    assert report.error is None
    assert engine.sync(spec, changed).requests == 0

    snapshot = engine.state().snapshot()
    assert snapshot is not None
    keys = sorted(snapshot.select("_key").collect()["_key"])
    accepted = Counter((each["operation"], each["key"]) for each in engine.outcomes(outcome="accepted"))
    if spec is MIRROR:
        people = {each["id"]: each["attributes"]["plan"] for each in engine.sandbox.get("people")}
        assert people == {"p002": "pro", "p003": "free", "p004": "free", "p005": "free"}
        assert keys == sorted(people)
        assert accepted[("delete", "p001")] == 1
        assert accepted[("update", "p002")] == 1
    else:
        assert keys == [f"p{n:03}" for n in range(1, 6)]
        assert len(engine.sandbox.get("events")) == 5
    assert all(count == 1 for count in accepted.values())
    assert not engine.state().plan_folder.exists()


def kept_plan(engine: Engine, monkeypatch: pytest.MonkeyPatch, spec: AnySpec, source: list[dict[str, Any]]) -> None:
    """A delivered plan that nothing has committed."""
    with monkeypatch.context() as patched:
        crash_at(patched, sync_room, "commit", after=False)
        with pytest.raises(Crash):
            engine.sync(spec, source, batch_bytes=1_000)
    assert (engine.state().plan_folder / "answers.jsonl").exists()


def test_a_commit_made_twice_counts_once(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept_plan(engine, monkeypatch, EVENT, rows(*range(30)))
    state, saved = engine.state(), tmp_path / "saved"
    shutil.copytree(state.plan_folder, saved)
    plan = state.plan()
    assert plan is not None
    first = commit(state, plan, EVENT).counted
    for _ in range(2):
        shutil.copytree(saved, state.plan_folder)
        again = state.plan()
        assert again is not None
        assert commit(state, again, EVENT).counted.equals(first)
    snapshot = state.snapshot()
    assert snapshot is not None
    assert len(snapshot.collect()) == 30
    assert sum(each["rows"] for each in engine.outcomes()) == 30
    # A plan that was committed is not counted as recovered.
    shutil.copytree(saved, state.plan_folder)
    report = engine.sync(EVENT, rows(*range(30)))
    assert (report.recovered, report.sent) == (0, 0)


def test_without_answers_nothing_is_proved(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_plan(engine, monkeypatch, EVENT, rows(*range(30)))
    (engine.state().plan_folder / "answers.jsonl").unlink()
    report = engine.sync(EVENT, rows(*range(30)))
    assert (report.recovered, report.sent) == (0, 30)
    assert len(engine.sandbox.get("events")) == 30
    assert Counter(each["outcome"] for each in engine.outcomes()) == {"pending": 30, "accepted": 30}


@pytest.mark.parametrize("cut", ["half the lines", "inside a line", "zeros at the end"])
def test_a_part_of_the_answers_proves_a_part(engine: Engine, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    kept_plan(engine, monkeypatch, EVENT, rows(*range(60)))
    path = engine.state().plan_folder / "answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    if cut == "half the lines":
        path.write_bytes(b"".join(lines[: len(lines) // 2]))
    elif cut == "inside a line":
        path.write_bytes(b"".join(lines)[:-20])
    else:
        path.write_bytes(b"".join(lines[:-1]) + b"\0" * 512)
    report = engine.sync(EVENT, rows(*range(60)))
    assert 0 < report.recovered < 60
    assert report.recovered + report.sent == 60
    assert len(engine.sandbox.get("events")) == 60


def test_a_plan_without_a_manifest_is_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_plan(engine, monkeypatch, EVENT, rows(1, 2))
    (engine.state().plan_folder / "plan.json").unlink()
    report = engine.sync(EVENT, rows(1, 2))
    assert (report.recovered, report.sent) == (0, 2)
    assert len(engine.sandbox.get("events")) == 2


def test_a_crash_while_planning_leaves_nothing_behind(engine: Engine) -> None:
    def fail(*_: Any, **__: Any) -> pl.Series:
        raise RuntimeError("the warehouse went away")

    frame = pl.LazyFrame({"id": ["a"]}).with_columns(pl.col("id").map_batches(fail, return_dtype=pl.String))
    with pytest.raises((RuntimeError, pl.exceptions.ComputeError), match="went away"):
        engine.sync(EVENT, frame)
    assert engine.requests(writes=True) == []
    assert engine.sync(EVENT, rows(1)).sent == 1


def test_a_full_disk_in_commit_is_recovered_from(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:

        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr(AssetState, "write_snapshot", full)
        for _ in range(2):
            with pytest.raises(StateError, match=r"disk of .* is full .*No space"):
                engine.sync(EVENT, rows(1, 2))
    report = engine.sync(EVENT, rows(1, 2, 3))
    assert (report.recovered, report.sent) == (2, 1)
    assert commit_room.commit is commit


RUN = """
import importlib.util, json, sys, types
from pathlib import Path

# The rooms without the package's face, which imports Dagster: that takes longer than all else here.
package = types.ModuleType("cio_dagster")
package.__path__ = list(importlib.util.find_spec("cio_dagster").submodule_search_locations)
sys.modules["cio_dagster"] = package

import polars as pl
from pydantic import SecretStr
from cio_dagster.deliver import Connection
from cio_dagster.specs import read_spec
from cio_dagster.state import AssetState
from cio_dagster.sync import sync

url, root, site, key, run = sys.argv[1:]
connection = Connection(site, SecretStr(key), SecretStr("a"), track_url=url, app_url=url, batch_bytes=600, concurrency=4,
                        requests_per_second=10_000, burst=10_000, app_requests_per_second=1000, longest_backoff=0.02)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    frame = pl.DataFrame(job["rows"]).lazy()
    sync(frame, read_spec(job["spec"]), AssetState(Path(root), "workspace", job["asset"]), connection, run_id=run)
    print("done", flush=True)
"""


def start(engine: Engine, run: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, engine.sandbox.url, str(engine.root), SITE, TRACK_KEY, run]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def give(process: subprocess.Popen[str], spec: AnySpec, asset: str, source: list[dict[str, Any]]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"spec": spec.model_dump(mode="json"), "asset": asset, "rows": source}) + "\n")
    process.stdin.flush()


def close(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()


def test_terminated_in_the_middle_it_stops_at_once(engine: Engine) -> None:
    """SIGINT, as Ctrl-C sends it: the process ends in a moment though requests hang."""
    engine.sandbox.faults([{"path": "/api/v2/batch", "delay": 3.0, "after": 2}])
    process = start(engine, "interrupted")
    give(process, EVENT, "asset", rows(*range(60)))
    while not engine.requests("/api/v2/batch"):
        time.sleep(0.02)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=2.5) != 0
    assert time.monotonic() - begun < 2
    close(process)
    engine.sandbox.faults([])
    report = engine.sync(EVENT, rows(*range(60)))
    assert report.recovered > 0
    assert report.recovered + report.sent == 60
    assert len(engine.sandbox.get("events")) == 60
    time.sleep(1.5)
