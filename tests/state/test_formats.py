"""What a newer version wrote is refused by name; the spec and the private modes of all that is written."""

from __future__ import annotations

import json
import os
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from cio_dagster.errors import StateError
from cio_dagster.specs import Object, Person
from cio_dagster.state import DESCRIPTION, FORMAT
from tests.engine import Engine

ROWS = [{"id": "a", "plan": "free"}, {"id": "b", "plan": "pro"}]


def test_each_file_says_its_format(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.sync(Person(), ROWS)
    folder = engine.state().folder
    assert json.loads((folder / "state.json").read_text())["format"] == FORMAT
    for name in ("snapshot", "outcomes"):
        assert DeltaTable(str(folder / name)).metadata().description == DESCRIPTION == "cio_dagster format 1"
    interrupt(engine, monkeypatch)
    assert json.loads((engine.state().plan_folder / "plan.json").read_text())["format"] == 2


def interrupt(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cio_dagster.sync.delivery.deliver", crash)
        with pytest.raises(KeyboardInterrupt):
            engine.sync(Person(), [{"id": "c", "plan": "new"}])


def test_a_newer_snapshot_is_refused(engine: Engine) -> None:
    engine.sync(Person(), ROWS)
    log = engine.state().folder / "snapshot" / "_delta_log" / "00000000000000000000.json"
    log.write_text(log.read_text().replace(DESCRIPTION, "cio_dagster format 2"))
    refused(engine, "snapshot has format 2; this version of cio_dagster reads format 1")


def test_a_newer_plan_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.sync(Person(), ROWS)
    interrupt(engine, monkeypatch)
    path = engine.state().plan_folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3, "more": [1]}))
    refused(engine, "plan.json has format 3; this version of cio_dagster reads format 2")
    assert path.exists()


def refused(engine: Engine, words: str) -> None:
    before = len(engine.requests(writes=True))
    with pytest.raises(StateError, match=words):
        engine.sync(Person(), [])
    with pytest.raises(StateError, match=words):
        engine.sync(Person(), [{"id": "a", "plan": "x"}])
    assert len(engine.requests(writes=True)) == before


def test_the_spec_is_kept(engine: Engine) -> None:
    assert engine.state().spec() is None
    for spec in (
        Object(object_type_id=1, column="id"),
        Object(object_type_id=1, column="id", behavior="mirror", nulls="clear"),
    ):
        engine.sync(spec, ROWS)
        assert engine.state().spec() == spec
    (engine.state().folder / "spec.json").write_text("{}")
    with pytest.raises(StateError, match=r"spec\.json cannot be read"):
        engine.state().spec()
    # It is for people and `cio-state`; a sync has its own.
    assert engine.sync(Object(object_type_id=1, column="id"), ROWS).planned.unchanged == 2
    assert engine.state().spec() == Object(object_type_id=1, column="id")


@pytest.mark.parametrize("mask", [0, 0o022])
def test_every_file_is_its_owners(engine: Engine, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    old = os.umask(mask)
    try:
        engine.sync(Person(), ROWS, partition="p")
        for _ in range(2):
            engine.sync(Person(), pl.DataFrame({"id": ["a"], "plan": ["new"], "more": [1]}), partition="p")
        interrupt(engine, monkeypatch)
    finally:
        os.umask(old)
    modes: dict[str, Any] = {str(path): path.stat().st_mode & 0o777 for path in engine.root.rglob("*") if path.is_file()}
    folders = [engine.root, *(path for path in engine.root.rglob("*") if path.is_dir())]
    assert any("plan/operations-" in path for path in modes)
    lock = {path for path in modes if path.endswith("/lock")}  # Empty.
    assert {path: mode for path, mode in modes.items() if mode != 0o600 and path not in lock} == {}
    assert {str(path): path.stat().st_mode & 0o777 for path in folders if path.stat().st_mode & 0o777 != 0o700} == {}
