"""What a power cut may do to the file that was written last: cut it, or leave it empty. Then a run recovers, or says what is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cio_dagster import sync as sync_room
from cio_dagster.errors import StateError
from cio_dagster.specs import Person
from cio_dagster.state import AssetState
from tests.engine import Engine

SPEC = Person(behavior="mirror", delete_people=True, max_delete=1000)
FIRST = [{"id": f"p{n}", "plan": "free"} for n in range(20)]
SECOND = [{"id": f"p{n}", "plan": "pro" if n % 2 else "free"} for n in range(5, 25)]
THIRD = [{"id": f"p{n}", "plan": "pro"} for n in range(10, 30)]


class Crash(BaseException):
    pass


def cuts(path: Path) -> list[int]:
    """Some lengths that a file may be left with; of a log also whole lines."""
    content = path.read_bytes()
    lines = [place + 1 for place, byte in enumerate(content[:-1]) if byte == 10] if path.suffix != ".parquet" else []
    return sorted({0, 1, len(content) // 2, len(content) - 1, *lines[:2], *lines[-2:]})


def last(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))


def in_customer_io(engine: Engine) -> dict[str, Any]:
    return {each["id"]: each["attributes"]["plan"] for each in engine.sandbox.get("people")}


def put(engine: Engine, rows: list[dict[str, Any]]) -> None:
    """Have just these people in the sandbox."""
    wanted = {row["id"] for row in rows}
    gone = [each["id"] for each in engine.sandbox.get("people") if each["id"] not in wanted]
    identify = [{"action": "identify", "identifiers": {"id": r["id"]}, "attributes": {"plan": r["plan"]}} for r in rows]
    operations = identify + [{"action": "delete", "identifiers": {"id": each}} for each in gone]
    engine.batch(*({"type": "person", **each} for each in operations))


def check(engine: Engine, path: Path, length: int, before: list[dict[str, Any]]) -> bool:
    """Cut a file and run: what follows is right, or an error that names the file or its table. Returns whether it was right."""
    content = path.read_bytes()
    path.write_bytes(content[:length])
    put(engine, before)
    sent = len(engine.requests("/api/v2/batch"))
    said, report = None, None
    try:
        report = engine.sync(SPEC, THIRD)
    except StateError as error:
        said = str(error)
    if report is None:
        assert len(engine.requests("/api/v2/batch")) == sent, "nothing is sent on damaged state"
        assert said is not None
        assert any(part in said for part in (str(path), str(path.parent), str(path.parent.parent))), said
        return False
    assert report.error is None
    assert in_customer_io(engine) == {row["id"]: row["plan"] for row in THIRD}
    snapshot = engine.state().snapshot()
    assert snapshot is not None
    held = {row["_key"]: json.loads(row["plan"]) for row in snapshot.select("_key", "plan").collect().to_dicts()}
    assert held == in_customer_io(engine)
    return True


def each_cut(engine: Engine, tmp_path: Path, path: Path, before: list[dict[str, Any]]) -> dict[int, bool]:
    """Every cut of a file, each on a state of its own."""
    saved, found = tmp_path / "saved", {}
    shutil.copytree(engine.root, saved)
    for length in cuts(path):
        shutil.rmtree(engine.root)
        shutil.copytree(saved, engine.root)
        found[length] = check(engine, path, length, before)
    return found


COMMITTED: dict[str, Callable[[Path], Path]] = {
    "state.json": lambda folder: folder / "state.json",
    "dtypes.parquet": lambda folder: folder / "dtypes.parquet",
    "spec.json": lambda folder: folder / "spec.json",
    "report.json": lambda folder: folder / "report.json",
    "snapshot log": lambda folder: last(folder, "snapshot/_delta_log/*.json"),
    "snapshot data": lambda folder: last(folder, "snapshot/*.parquet"),
    "outcomes log": lambda folder: last(folder, "outcomes/_delta_log/*.json"),
    "outcomes data": lambda folder: last(folder, "outcomes/*.parquet"),
}


@pytest.mark.parametrize("name", COMMITTED)
def test_after_a_run(engine: Engine, tmp_path: Path, name: str) -> None:
    engine.sync(SPEC, FIRST)
    engine.sync(SPEC, SECOND)
    right = each_cut(engine, tmp_path, COMMITTED[name](engine.state().folder), SECOND)
    assert set(right.values()) == {name == "spec.json"}, right


@pytest.mark.parametrize(
    ("name", "recovers"),
    [
        ("operations-0-00000.parquet", False),
        ("rejected-0.parquet", False),
        ("dtypes.parquet", False),
        ("plan.json", False),
        ("answers.jsonl", True),
    ],
)
def test_of_a_plan_that_was_delivered(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, recovers: bool
) -> None:
    """Sent, all or a part of it, and not committed. The source goes back to what it was, where it can."""
    engine.sync(SPEC, FIRST)
    with monkeypatch.context() as patched:

        def crash(*_: Any, **__: Any) -> None:
            raise Crash

        patched.setattr(sync_room, "commit", crash)
        with pytest.raises(Crash):
            engine.sync(SPEC, SECOND, batch_bytes=600)
    right = each_cut(engine, tmp_path, engine.state().plan_folder / name, SECOND)
    assert set(right.values()) == {recovers}, right


@pytest.mark.parametrize("at", ["write_unsettled", "write_outcomes", "close_plan"])
@pytest.mark.parametrize("name", ["snapshot log", "snapshot data", "unsettled.parquet"])
def test_in_the_middle_of_a_commit(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: str) -> None:
    engine.sync(SPEC, FIRST)
    engine.sandbox.faults([{"path": "/api/v2/batch", "status": 500, "apply": True, "after": 1}])
    with monkeypatch.context() as patched:

        def crash(*_: Any, **__: Any) -> None:
            raise Crash

        patched.setattr(AssetState, at, crash)
        with pytest.raises(Crash):
            engine.sync(SPEC, SECOND, batch_bytes=600, attempts=2)
    engine.sandbox.faults([])
    folder = engine.state().folder
    path = folder / "unsettled.parquet" if name == "unsettled.parquet" else COMMITTED[name](folder)
    if path.exists():
        each_cut(engine, tmp_path, path, SECOND)
    else:
        assert at == "write_unsettled"


def test_the_sequence_goes_beyond_what_the_tables_know(engine: Engine) -> None:
    """An older state.json: were its sequence used again, the tables would take the next commit for one that was made."""
    engine.sync(SPEC, FIRST)
    old = (engine.state().folder / "state.json").read_bytes()
    engine.sync(SPEC, SECOND)
    (engine.state().folder / "state.json").write_bytes(old)
    engine.sync(SPEC, THIRD)
    assert engine.sync(SPEC, THIRD).requests == 0
    assert in_customer_io(engine) == {row["id"]: row["plan"] for row in THIRD}
