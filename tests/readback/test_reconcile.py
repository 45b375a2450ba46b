"""The run option `reconcile`: the whole segment or object set is read first, and drift is repaired both ways."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster.errors import GuardError, SpecError
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.sync import RunOptions
from tests.engine import Engine
from tests.readback.conftest import an_object, person

RECONCILE = RunOptions(reconcile=True)
ROWS = [{"id": f"p{n}"} for n in range(4)]


def members(engine: Engine) -> set[str]:
    [segment] = engine.sandbox.get("segments")
    return {each["id"] for each in segment["members"]}


def change_members(engine: Engine, verb: str, *ids: str) -> None:
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/{verb}_customers", {"ids": list(ids)})


@pytest.mark.parametrize(("behavior", "left"), [("mirror", set()), ("update_or_create", {"theirs"})])
def test_a_segment(engine: Engine, behavior: Any, left: set[str]) -> None:
    engine.batch(*(person(each["id"]) for each in ROWS), person("theirs"))
    spec = ManualSegment(name="VIP", behavior=behavior)
    engine.sync(spec, ROWS)
    change_members(engine, "remove", "p0", "p1")
    change_members(engine, "add", "theirs")
    assert engine.sync(spec, ROWS).accepted == 0
    report = engine.sync(spec, ROWS, options=RECONCILE)
    assert (report.created, report.removed) == (2, 1 - len(left))
    assert members(engine) == {each["id"] for each in ROWS} | left
    # What others put there is not remembered as ours.
    assert engine.sync(spec, ROWS).accepted == 0
    assert engine.sync(spec, ROWS, options=RECONCILE).accepted == 0


@pytest.mark.parametrize(("behavior", "left"), [("mirror", set()), ("update_or_create", {"theirs"})])
def test_objects(engine: Engine, behavior: Any, left: set[str]) -> None:
    spec = Object(object_type_id=1, column="id", behavior=behavior)
    rows = [each | {"plan": "pro"} for each in ROWS]
    engine.sync(spec, rows)
    engine.batch(an_object("p0", "delete"), an_object("theirs", plan="x"), an_object("theirs", type_id=2))
    report = engine.sync(spec, rows, options=RECONCILE)
    assert (report.created, report.removed) == (1, 1 - len(left))
    held = {each["object_id"]: each["attributes"] for each in engine.sandbox.get("objects") if each["object_type_id"] == "1"}
    assert set(held) == {each["id"] for each in ROWS} | left
    assert held["p0"] == {"plan": "pro"}
    assert engine.sync(spec, rows).accepted == 0


def test_a_partition_leaves_the_members_of_others(engine: Engine) -> None:
    engine.batch(*(person(each["id"]) for each in ROWS))
    spec = ManualSegment(name="VIP", behavior="mirror")
    engine.sync(spec, ROWS[:2], partition="a")
    engine.sync(spec, ROWS[2:], partition="b")
    change_members(engine, "remove", "p0")
    report = engine.sync(spec, ROWS[:2], partition="a", options=RECONCILE)
    assert (report.created, report.removed) == (1, 0)
    assert members(engine) == {each["id"] for each in ROWS}


def test_the_first_run_of_all(engine: Engine) -> None:
    engine.batch(*(person(each["id"]) for each in ROWS))
    assert engine.sync(ManualSegment(name="VIP"), ROWS, options=RECONCILE).created == 4
    assert members(engine) == {each["id"] for each in ROWS}


def test_the_guards_hold(engine: Engine) -> None:
    theirs = [f"t{n}" for n in range(40)]
    engine.batch(*(person(id) for id in [*theirs, *(each["id"] for each in ROWS)]))
    spec = ManualSegment(name="VIP", behavior="mirror")
    engine.sync(spec, ROWS)
    change_members(engine, "add", *theirs)
    with pytest.raises(GuardError, match="40 of 44 rows would be removed"):
        engine.sync(spec, ROWS, options=RECONCILE)
    assert len(members(engine)) == 44
    engine.sync(spec, ROWS, options=RunOptions(reconcile=True, allow_deletes=True))
    assert members(engine) == {each["id"] for each in ROWS}


def test_a_dry_run_shows_it(engine: Engine) -> None:
    engine.batch(*(person(each["id"]) for each in ROWS))
    spec = ManualSegment(name="VIP", behavior="mirror")
    engine.sync(spec, ROWS)
    change_members(engine, "remove", "p0")
    report = engine.sync(spec, ROWS, options=RunOptions(reconcile=True, dry_run=True))
    assert report.planned.create == 1
    assert "p0" not in members(engine)


@pytest.mark.parametrize(
    "spec",
    [
        Person(),
        Device(column="id"),
        Event(row_id="id", name="x"),
        Collection(name="x"),
        Relationship(object_type_id=1),
    ],
    ids=lambda spec: spec.object,
)
def test_other_specs_cannot(engine: Engine, spec: AnySpec) -> None:
    with pytest.raises(SpecError, match="full_resync: true instead"):
        engine.sync(spec, ROWS, options=RECONCILE)
    assert engine.requests() == []
