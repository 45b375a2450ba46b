"""The state store: one writer, names, identity, damage, privacy, and values read back."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cio_dagster.errors import LockedError, StateError
from cio_dagster.specs import Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.state import AssetState, outcomes, state_root
from cio_dagster.sync import RunOptions
from tests.engine import Engine

PERSON = Person()
ROWS = [{"id": "a", "plan": "free"}, {"id": "b", "plan": "pro"}]

HOLDER = """
import sys, time
from pathlib import Path
from cio_dagster.state import AssetState
with AssetState(Path(sys.argv[1]), "workspace", "asset").lock("their-run"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_writer_is_told_who_the_first_is_and_a_dead_one_holds_nothing(engine: Engine) -> None:
    with holder(engine.root) as process:
        with pytest.raises(LockedError) as raised:
            engine.sync(PERSON, ROWS)
        assert "their-run" in raised.value.holder
        assert str(process.pid) in str(raised.value)
        assert "since" in raised.value.holder
        assert engine.requests() == []
        # Another partition, and another asset, are not held.
        assert engine.sync(PERSON, ROWS, partition="2026-01-01").created == 2
        assert engine.sync(PERSON, ROWS, asset="other").created == 2
        process.kill()
        process.wait()
        assert engine.sync(PERSON, ROWS).created == 2
    assert not (engine.state().folder / "lock.json").exists()


def test_the_lock_is_held_inside_a_process_too(engine: Engine) -> None:
    with engine.state().lock("one"), pytest.raises((LockedError, RuntimeError)):
        engine.state().lock("two").__enter__()
    with engine.state().lock("three"):
        pass


def test_a_failed_run_leaves_no_lock(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), engine.state().lock("one"):
        raise ZeroDivisionError
    assert not (engine.state().folder / "lock.json").exists()
    assert engine.sync(PERSON, ROWS).created == 2


NAMES = [
    "a|b",
    "../x",
    "..",
    ".",
    "with spaces",
    "späße/日本",
    "%2e%2e",
    "~",
    "a~b",
    "CON",
    "x" * 300,
    "ü" * 100,
    "*?[a]",
    "2026-01-01T00:00:00+01:00",
    "'\"$`",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_one_folder_of_its_own(engine: Engine, name: str) -> None:
    report = engine.sync(PERSON, ROWS, asset=name, partition=name)
    assert report.created == 2
    assert engine.sync(PERSON, ROWS, asset=name, partition=name).planned.unchanged == 2
    folder = engine.state(name, name).folder
    assert folder.resolve().is_relative_to(engine.root.resolve())
    assert len(folder.relative_to(engine.root).parts) == 3
    [row] = {(each["asset"], each["partition"]) for each in outcomes(engine.root, asset=name).collect().to_dicts()}
    assert row == (name, name)


def test_names_do_not_meet() -> None:
    root = Path("/state")
    names = [*NAMES, "x" * 301, "", "~7E", "whole", "partition=whole"]
    folders = {AssetState(root, "w", name, partition).folder for name in names for partition in [None, *names]}
    assert len(folders) == len(names) * (len(names) + 1)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("https://x/y", "cannot be at https"),
        ("s3://bucket", "s3://bucket/prefix"),
        ("gs://", "gs://bucket/prefix"),
        ("az://key:secret@container/state", "credentials are the environment's"),
        ("s3://bucket/a b", "choose another"),
        ("/a%20b", "choose another"),
    ],
)
def test_a_place_where_no_state_can_be_is_said(state: str, said: str) -> None:
    with pytest.raises(StateError, match=said) as caught:
        state_root(state)
    assert "secret" not in str(caught.value)


def test_a_root_with_odd_characters_is_said(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="choose another"):
        state_root(str(tmp_path / "50% more"))
    assert state_root(f"file://{tmp_path}") == tmp_path
    assert state_root("~/state") == Path.home() / "state"


def test_another_workspace_is_refused(engine: Engine) -> None:
    engine.sync(PERSON, ROWS)
    engine.sandbox.settings(environment_id=7)
    before = len(engine.requests(writes=True))
    with pytest.raises(StateError, match="state of workspace 1, but the credentials belong to workspace 7"):
        engine.sync(PERSON, ROWS[:1])
    assert len(engine.requests(writes=True)) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Person(), Person(key="email", column="id")),
        (Person(), Object(object_type_id=1, column="id")),
        (Object(object_type_id=1, column="id"), Object(object_type_id=2, column="id")),
        (ManualSegment(name="a"), ManualSegment(name="b")),
        (Collection(name="a"), Collection(name="b")),
    ],
)
def test_another_kind_of_sync_is_refused(engine: Engine, first: Any, second: Any) -> None:
    engine.sync(first, ROWS)
    before = len(engine.requests(writes=True))
    with pytest.raises(StateError, match="the spec now says"):
        engine.sync(second, ROWS)
    assert len(engine.requests(writes=True)) == before


def test_another_behaviour_or_mapping_is_the_same_sync(engine: Engine) -> None:
    engine.sync(PERSON, ROWS)
    assert engine.sync(Person(behavior="mirror", delete_people=True), ROWS).planned.unchanged == 2
    assert engine.sync(Person(attributes={"tier": "plan"}), ROWS).updated == 2


def damage_json(state: AssetState) -> None:
    (state.folder / "state.json").write_text('{"format": 1, "ident')


def damage_fields(state: AssetState) -> None:
    (state.folder / "state.json").write_text('{"format": 1, "colour": "red"}')


def damage_list(state: AssetState) -> None:
    (state.folder / "state.json").write_text("[]")


def newer(state: AssetState) -> None:
    path = state.folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99, "new": 1}))


def lose_info(state: AssetState) -> None:
    (state.folder / "state.json").unlink()


def lose_snapshot(state: AssetState) -> None:
    shutil.rmtree(state.folder / "snapshot")


def lose_log(state: AssetState) -> None:
    for path in (state.folder / "snapshot" / "_delta_log").glob("*.json"):
        path.write_text("{")


def damage_plan(state: AssetState) -> None:
    state.plan_folder.mkdir()
    (state.plan_folder / "plan.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_json, "cannot be read"),
        (damage_fields, "cannot be read"),
        (damage_list, "cannot be read"),
        (newer, "format 99"),
        (lose_info, "is missing, but there is a snapshot"),
        (lose_snapshot, "is missing, though 1 plans"),
        (lose_log, "cannot be read"),
        (damage_plan, "cannot be read"),
    ],
)
def test_damage_is_said_and_never_taken_for_empty(engine: Engine, damage: Any, words: str) -> None:
    spec = Person(behavior="mirror", delete_people=True)
    engine.sync(spec, ROWS)
    damage(engine.state())
    before = len(engine.requests(writes=True))
    with pytest.raises(StateError, match=words):
        engine.sync(spec, ROWS[:1])
    assert len(engine.requests(writes=True)) == before
    assert len(engine.sandbox.get("people")) == 2


def test_files_are_their_owners(engine: Engine) -> None:
    old = os.umask(0)
    try:
        engine.sandbox.faults([{"path": "/api/v2/batch", "status": 500}])
        engine.sync(PERSON, ROWS, attempts=1, partition="p")
    finally:
        os.umask(old)
    folder = engine.state(partition="p").folder
    for each in (folder, folder.parent, folder.parent.parent):
        assert each.stat().st_mode & 0o777 == 0o700
    for name in ("state.json", "report.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_a_dry_run_changes_no_state(engine: Engine) -> None:
    report = engine.sync(PERSON, ROWS, options=RunOptions(dry_run=True))
    assert (report.dry_run, report.planned.create, len(report.changes)) == (True, 2, 2)
    state = engine.state()
    assert state.info() is None
    assert {each.name for each in state.folder.iterdir()} <= {"lock", "plans"}
    assert engine.requests(writes=True) == []
    engine.sync(PERSON, ROWS)
    before = files(state.folder)
    engine.sync(PERSON, pl.DataFrame(ROWS).clear(), options=RunOptions(dry_run=True))
    assert files(state.folder) == before


def files(folder: Path) -> dict[Path, bytes]:
    """All files of a state but for the plans that dry runs store."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and folder / "plans" not in path.parents}


def test_events_from_now_count_from_the_first_run_that_was_not_dry(engine: Engine) -> None:
    spec = Event(row_id="id", column="who", name="seen", timestamp="at")
    early = dt.datetime.now(dt.timezone.utc) - dt.timedelta(minutes=1)
    rows = [{"id": "1", "who": "a", "at": early}]
    engine.sync(spec, rows, options=RunOptions(dry_run=True))
    time.sleep(1.1)
    rows.append({"id": "3", "who": "a", "at": dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=1)})
    assert engine.sync(spec, rows).planned.left_out == 2
    later = [{"id": "2", "who": "a", "at": dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=1)}]
    assert engine.sync(spec, rows + later).sent == 1
    assert [each["outcome"] for each in engine.outcomes(run_id="run-2")] == ["left_out", "left_out"]


def test_values_are_read_back_in_their_types(engine: Engine) -> None:
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "number": [1, None],
            "big": [2**60, -5],
            "ratio": [0.1, 1e300],
            "price": pl.Series([decimal.Decimal("12.50"), None], dtype=pl.Decimal(10, 2)),
            "flag": [True, False],
            "text": ["null", 'a "quoted" ü'],
            "day": [dt.date(2026, 1, 31), None],
            "moment": [dt.datetime(2026, 1, 31, 12), None],
            "tags": [["x", None], []],
            "place": [{"city": "Köln", "zip": 50667}, {"city": None, "zip": None}],
            "nothing": [None, None],
            "full name": ["A B", "C"],
        }
    )
    engine.sync(Object(object_type_id=1, column="id", nulls="clear"), frame)
    values = engine.state().values(Object(object_type_id=1, column="id", nulls="clear"))
    assert values is not None
    found = values.sort("object_id").collect()
    one, two = found.to_dicts()
    assert (one["object_id"], one["number"], two["number"]) == ("a", 1, None)
    assert (one["big"], two["big"], one["ratio"], two["ratio"]) == (2**60, -5, 0.1, 1e300)
    assert (one["price"], two["price"]) == (decimal.Decimal("12.50"), None)
    assert (one["flag"], two["flag"], one["text"], two["text"]) == (True, False, "null", 'a "quoted" ü')
    assert (one["day"], one["moment"], two["day"]) == (1769817600, 1769860800, None)
    assert (one["tags"], two["tags"], one["place"]) == (["x", None], [], {"city": "Köln", "zip": 50667})
    assert (one["nothing"], one["full name"]) == (None, "A B")


def test_values_survive_a_column_that_changes_its_type_or_goes(engine: Engine) -> None:
    spec = Person()
    engine.sync(spec, [{"id": "a", "x": "text", "y": 1, "z": 2.5}, {"id": "b", "x": "5", "y": 2, "z": 3.5}])
    engine.sync(spec, [{"id": "a", "x": ["now", "a list"], "y": {"n": 1}}])
    values = engine.state().values(spec)
    assert values is not None
    one, two = values.sort("id").collect().to_dicts()
    assert (one["x"], one["y"], one["z"]) == (["now", "a list"], {"n": 1}, 2.5)
    assert (two["x"], two["y"], two["z"]) == (None, None, 3.5)
    engine.sync(spec, [{"id": "a", "x": "text again", "y": True}])
    values = engine.state().values(spec)
    assert values is not None
    one, two = values.sort("id").collect().to_dicts()
    assert (one["x"], one["y"], two["x"]) == ("text again", True, "5")


def test_values_of_nested_attributes(engine: Engine) -> None:
    spec = Person(attributes={"address.city": "city", "plan": "plan"})
    engine.sync(spec, [{"id": "a", "city": "Bonn", "plan": "free"}])
    values = engine.state().values(spec)
    assert values is not None
    assert values.collect().to_dicts() == [{"id": "a", "address": '{"city":"Bonn"}', "plan": "free"}]


def test_values_have_customer_ios_names(engine: Engine) -> None:
    cases: list[tuple[Any, dict[str, Any], set[str]]] = [
        (Device(column="o"), {"o": "a", "token": "t", "platform": "ios"}, {"id", "token", "platform"}),
        (
            Event(row_id="n", column="o", name="x", start="all"),
            {"n": 1, "o": "a", "id": "data"},
            {"row_id", "ulid", "_person", "id"},
        ),
        (Relationship(object_type_id=1, column="o"), {"object_id": "x", "o": "a"}, {"object_id", "id"}),
        (ManualSegment(name="s", column="o"), {"o": "a"}, {"id"}),
        (Collection(name="c"), {"o": "a"}, {"o"}),
    ]
    for spec, row, names in cases:
        engine.sync(spec, [row], asset=spec.object)
        values = engine.state(spec.object).values(spec)
        assert values is not None
        assert names <= set(values.collect().columns)


def test_older_snapshots_can_be_read(engine: Engine) -> None:
    engine.sync(PERSON, ROWS)
    engine.sync(PERSON, [{"id": "a", "plan": "changed"}])
    path = str(engine.state().folder / "snapshot")
    assert pl.read_delta(path, version=0).filter(_key="a")["plan"].to_list() == ['"free"']
    assert pl.read_delta(path).filter(_key="a")["plan"].to_list() == ['"changed"']


def test_the_outcomes_of_every_run_add_up(engine: Engine) -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror", max_delete=10)
    engine.sync(spec, [*ROWS, {"id": None, "plan": "x"}, {"id": "c", "plan": "x"}, {"id": "c", "plan": "y"}])
    engine.sandbox.faults([{"path": "/api/v2/batch", "status": 503}])
    engine.sync(spec, [ROWS[0], {"id": "b", "plan": "new"}, {"id": "d", "plan": "x"}], attempts=1)
    engine.sandbox.faults([])
    engine.sync(spec, [ROWS[0], {"id": "d", "plan": "x"}])

    def lines(run: str) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for each in engine.outcomes(run_id=run):
            name = (each["operation"], each["outcome"])
            found[name] = found.get(name, 0) + each["rows"]
        return found

    assert lines("run-1") == {("create", "accepted"): 2, ("prepare", "rejected"): 3}
    assert lines("run-2") == {("none", "unchanged"): 1, ("update", "pending"): 1, ("create", "pending"): 1}
    assert lines("run-3") == {("none", "unchanged"): 1, ("create", "accepted"): 1, ("delete", "accepted"): 1}
