"""What Customer.io accepted and did not do, or what others undid: listed by key, put back to pending, and healed by the next run."""

from __future__ import annotations

import time
from typing import Any

import polars as pl
import pytest

from cio_dagster.checks.readback import ReadBack
from cio_dagster.report import Report
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from tests.engine import Engine
from tests.readback.conftest import an_object, app, clean, found, keys_in_snapshot, look_back, person, relation

Row = dict[str, Any]

PEOPLE = [{"id": f"p{n}", "plan": "pro", "n": n} for n in range(5)]
OBJECTS = [{"id": f"o{n}", "plan": "pro", "n": n} for n in range(5)]
MEMBERS = [{"id": f"p{n}"} for n in range(5)]
DEVICES = [{"token": f"t{n}", "platform": "ios", "id": f"p{n}", "version": str(n)} for n in range(4)]
RELATIONS = [{"object_id": f"o{n % 2}", "id": f"p{n}", "role": "x"} for n in range(4)]
PLANS = [{"name": f"plan {n}", "price": n + 0.5} for n in range(4)]


def pending(engine: Engine) -> set[tuple[str, str, str]]:
    lines = engine.outcomes(operation="read_back")
    assert {each["outcome"] for each in lines} <= {"pending"}
    assert {each["rows"] for each in lines} <= {0}
    assert all(each["message"] for each in lines)
    return {(each["key"], each["field"], each["reason"]) for each in lines}


def heals(engine: Engine, spec: AnySpec, rows: list[Row], seen: ReadBack) -> Report:
    """What was found is pending and out of the snapshot; the next run sends that alone, and then nothing differs."""
    assert pending(engine) == {(key, field or "", reason) for key, field, reason in found(seen)}
    keys = set(seen.keys)
    assert seen.put_back
    assert not keys & keys_in_snapshot(engine)
    report = engine.sync(spec, rows)
    assert report.error is None
    assert (
        report.accepted + report.kept == (len(rows) if spec.object == "collection" else len(keys)) or spec.behavior == "replace"
    )
    clean(engine, spec, report)
    again = engine.sync(spec, rows)
    assert again.accepted == again.kept == 0
    return report


@pytest.mark.parametrize("behavior", ["update_or_create", "update_only", "mirror"])
def test_people_changed_and_deleted_by_others(engine: Engine, behavior: Any) -> None:
    engine.batch(*(person(each["id"]) for each in PEOPLE))
    spec = Person(behavior=behavior, delete_people=behavior == "mirror")
    report = engine.sync(spec, PEOPLE)
    engine.batch(person("p1", plan="free", mine="kept"), person("p2", plan=None), person("p3", "delete"))
    seen = look_back(engine, spec, report)
    assert found(seen) == {("p1", "plan", "differs"), ("p2", "plan", "differs"), ("p3", None, "missing")}
    [p1] = seen.differences.filter(_key="p1").to_dicts()
    assert (p1["what"], p1["expected"], p1["found"]) == ("person", '"pro"', "free")
    if behavior == "update_only":
        engine.batch(person("p3"))
    heals(engine, spec, PEOPLE, seen)
    held = {each["id"]: each["attributes"] for each in engine.sandbox.get("people")}
    assert held == {each["id"]: {"plan": "pro", "n": each["n"]} for each in PEOPLE} | {
        "p1": {"plan": "pro", "n": 1, "mine": "kept"}
    }


@pytest.mark.parametrize("key", ["id", "email", "phone"])
@pytest.mark.parametrize("activity", ["v1", "both"])
def test_update_only_of_nobody_stays_pending(engine: Engine, key: Any, activity: str) -> None:
    engine.sandbox.settings(update_miss_activity=activity)
    values = {"id": ["a", "b"], "email": ["A@x.io", "B@x.io"], "phone": ["+4915112345678", "+4915112345679"]}[key]
    engine.batch({"type": "person", "action": "identify", "identifiers": {key: values[0]}, "attributes": {}})
    spec = Person(key=key, column="who", behavior="update_only")
    rows = [{"who": value, "n": 1} for value in values]
    for _ in range(2):
        report = engine.sync(spec, rows)
        nobody = values[1].lower() if key == "email" else values[1]
        reason = "failed_attribute_change" if activity == "both" else "missing"
        assert found(look_back(engine, spec, report)) == {(nobody, None, reason)}
    engine.batch({"type": "person", "action": "identify", "identifiers": {key: values[1]}, "attributes": {}})
    report = engine.sync(spec, rows)
    assert report.accepted == 1
    clean(engine, spec, report)
    assert engine.sync(spec, rows).accepted == 0


def test_update_only_reads_all_that_the_budget_allows(engine: Engine) -> None:
    engine.batch(*(person(f"p{n}") for n in range(299)))
    spec = Person(behavior="update_only")
    report = engine.sync(spec, [{"id": f"p{n}", "n": 1} for n in range(300)])
    seen = look_back(engine, spec, report, sample=10, max_requests=13)
    assert found(seen) == {("p299", None, "missing")}


def test_an_email_that_belongs_to_somebody_else(engine: Engine) -> None:
    engine.batch(person("owner", email="taken@x.io"))
    spec = Person()
    rows = [{"id": "a", "email": "taken@x.io", "plan": "pro"}, {"id": "b", "email": "b@x.io", "plan": "pro"}]
    engine.sync(spec, rows)
    report = engine.sync(spec, [rows[0] | {"email": "b@x.io"}, rows[1] | {"plan": "free"}])
    seen = look_back(engine, spec, report)
    assert ("a", "email", "failed_attribute_change") in found(seen)
    assert {key for key, _, _ in found(seen)} == {"a"}
    assert "a" not in keys_in_snapshot(engine)


def test_a_failed_change_points_at_people_beyond_the_sample(engine: Engine) -> None:
    engine.batch(person("owner", email="taken@x.io"))
    spec = Person()
    rows = [{"id": f"p{n}", "email": f"p{n}@x.io"} for n in range(50)] + [{"id": "x", "email": "X@x.io"}]
    engine.sync(spec, rows)
    report = engine.sync(
        spec, [*rows[:50], {"id": "x", "email": "taken@x.io"}, *({"id": f"q{n}", "email": None} for n in range(9))]
    )
    seen = look_back(engine, spec, report, sample=1)
    assert found(seen) == {("x", "email", "failed_attribute_change")}


def test_failed_changes_of_others_are_not_ours(engine: Engine) -> None:
    engine.batch(person("owner", email="taken@x.io"), person("theirs", email="t@x.io"))
    spec = Person()
    report = engine.sync(spec, PEOPLE)
    engine.batch(person("theirs", email="taken@x.io"), person("p1", email="p1@x.io"), person("p1", email="taken@x.io"))
    seen = look_back(engine, spec, report)
    assert seen.looked_at["failures"] == 2
    assert found(seen) == set()


def test_suppressed_people_stay_pending(engine: Engine) -> None:
    engine.track("POST", "/api/v1/customers/p1/suppress")
    spec = Person()
    for _ in range(2):
        report = engine.sync(spec, PEOPLE)
        assert found(look_back(engine, spec, report)) == {("p1", None, "missing")}
    engine.track("POST", "/api/v1/customers/p1/unsuppress")
    clean(engine, spec, engine.sync(spec, PEOPLE))


def test_unknown_cio_ids_stay_pending(engine: Engine) -> None:
    engine.batch(person("a"))
    [known] = [each["cio_id"] for each in engine.sandbox.get("people")]
    spec = Person(key="cio_id")
    report = engine.sync(spec, [{"cio_id": known, "n": 1}, {"cio_id": "0123456789ab", "n": 1}])
    assert found(look_back(engine, spec, report)) == {("0123456789ab", None, "missing")}


@pytest.mark.parametrize("stale", ["attribute", "profile"])
def test_updates_that_came_late_are_skipped(engine: Engine, stale: str) -> None:
    engine.sandbox.settings(stale_timestamps=stale, clock_offset=3600)
    engine.batch(person("p1", plan="theirs"))
    engine.sandbox.settings(clock_offset=0)
    spec = Person()
    report = engine.sync(spec, PEOPLE)
    seen = look_back(engine, spec, report)
    assert {key for key, _, _ in found(seen)} == {"p1"}
    assert ("p1", "plan", "skipped_update") in found(seen)
    engine.sandbox.settings(clock_offset=4000)
    heals(engine, spec, PEOPLE, seen)


def test_a_mirror_deletes_what_it_could_not_and_forgets_nothing(engine: Engine) -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror")
    engine.sync(spec, OBJECTS)
    report = engine.sync(spec, OBJECTS[:3])
    assert report.removed == 2
    engine.batch(an_object("o4", plan="back again"), an_object("o1", plan="free"))
    seen = look_back(engine, spec, report)
    assert found(seen) == {("o4", None, "still_there")}
    report = engine.sync(spec, OBJECTS[:3])
    assert report.removed == 1
    clean(engine, spec, report)
    # What differs and then leaves the source is removed, though the snapshot has it no more.
    report = engine.sync(spec, [*OBJECTS[:2], OBJECTS[2] | {"n": 7}])
    engine.batch(an_object("o2", n=8))
    assert found(look_back(engine, spec, report)) == {("o2", "n", "differs")}
    report = engine.sync(spec, OBJECTS[:2])
    assert report.removed == 1
    assert {each["object_id"] for each in engine.sandbox.get("objects")} == {"o0", "o1"}
    clean(engine, spec, report)


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
def test_objects_changed_and_deleted_by_others(engine: Engine, behavior: Any) -> None:
    spec = Object(object_type_id=1, column="id", behavior=behavior)
    report = engine.sync(spec, OBJECTS)
    engine.batch(an_object("o1", "delete"), an_object("o2", plan="", mine="kept"))
    seen = look_back(engine, spec, report)
    assert found(seen) == {("o1", None, "missing"), ("o2", "plan", "differs")}
    heals(engine, spec, OBJECTS, seen)
    held = {each["object_id"]: each["attributes"] for each in engine.sandbox.get("objects")}
    assert held["o2"] == {"plan": "pro", "n": 2, "mine": "kept"}


def test_objects_over_a_limit_in_all(engine: Engine) -> None:
    engine.batch(an_object("o1", **{f"a{n}": n for n in range(299)}))
    spec = Object(object_type_id=1, column="id")
    seen = look_back(engine, spec, engine.sync(spec, OBJECTS))
    assert found(seen) == {("o1", "plan", "differs"), ("o1", "n", "differs")}
    assert seen.notes == ["Customer.io logged 1 failed changes of objects without saying of which."]


def test_an_object_type_that_does_not_exist(engine: Engine) -> None:
    engine.sandbox.settings(unknown_object_type="ignore")
    spec = Object(object_type_id=9, column="id")
    report = engine.sync(spec, OBJECTS)
    assert report.created == 5
    seen = look_back(engine, spec, report)
    assert found(seen) == {(each["id"], None, "missing") for each in OBJECTS}
    engine.sandbox.settings(unknown_object_type="create")
    heals(engine, spec, OBJECTS, seen)


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
def test_relationships_ended_by_others(engine: Engine, behavior: Any) -> None:
    spec = Relationship(object_type_id=1, column="id", behavior=behavior)
    report = engine.sync(spec, RELATIONS)
    engine.batch(relation("p1", "o1"), person("p2", "delete"))
    seen = look_back(engine, spec, report)
    assert found(seen) == {('["o1","p1"]', None, "missing"), ('["o0","p2"]', None, "person_missing")}
    heals(engine, spec, RELATIONS, seen)


def test_relationships_whose_removal_was_undone_and_whose_change_failed(engine: Engine) -> None:
    spec = Relationship(object_type_id=1, column="id", behavior="mirror")
    engine.sync(spec, RELATIONS)
    report = engine.sync(spec, RELATIONS[:3])
    engine.batch(relation("p3", "o1", "add_relationships"))
    seen = look_back(engine, spec, report)
    assert found(seen) == {('["o1","p3"]', None, "still_there")}
    assert engine.sync(spec, RELATIONS[:3]).removed == 1

    many = {
        "identifiers": {"object_type_id": "1", "object_id": "o0"},
        "relationship_attributes": {f"a{n}": n for n in range(300)},
    }
    engine.batch({"type": "person", "action": "add_relationships", "identifiers": {"id": "p9"}, "cio_relationships": [many]})
    rows = [*RELATIONS[:3], {"object_id": "o0", "id": "p9", "role": "x"}]
    seen = look_back(engine, spec, engine.sync(spec, rows))
    assert found(seen) == {('["o0","p9"]', None, "_r:1:failed_attribute_change")}
    assert engine.sync(spec, rows).accepted == 1


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
def test_devices_changed_moved_and_deleted(engine: Engine, behavior: Any) -> None:
    spec = Device(column="id", behavior=behavior)
    report = engine.sync(spec, DEVICES)

    def device(owner: str, action: str, **device: Any) -> dict[str, Any]:
        return {"type": "person", "action": action, "identifiers": {"id": owner}, "device": device}

    engine.batch(
        device("p0", "delete_device", token="t0"),
        device("p1", "add_device", token="t1", platform="android", attributes={"version": "9"}),
        device("other", "add_device", token="t2", platform="ios"),
        person("p3", "delete"),
    )
    seen = look_back(engine, spec, report)
    assert found(seen) == {
        ('["t0","p0"]', None, "missing"),
        ('["t1","p1"]', "_platform", "differs"),
        ('["t1","p1"]', "version", "differs"),
        ('["t2","p2"]', None, "missing"),
        ('["t3","p3"]', None, "person_missing"),
    }
    heals(engine, spec, DEVICES, seen)


def test_devices_whose_deletion_was_undone(engine: Engine) -> None:
    spec = Device(column="id", behavior="mirror")
    engine.sync(spec, DEVICES)
    report = engine.sync(spec, DEVICES[1:])
    add = {"type": "person", "action": "add_device", "identifiers": {"id": "p0"}, "device": {"token": "t0", "platform": "ios"}}
    engine.batch(add)
    assert found(look_back(engine, spec, report)) == {('["t0","p0"]', None, "still_there")}
    report = engine.sync(spec, DEVICES[1:])
    assert report.removed == 1
    clean(engine, spec, report)


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
def test_members_removed_by_others_and_people_who_do_not_exist(engine: Engine, behavior: Any) -> None:
    engine.batch(*(person(each["id"]) for each in MEMBERS[:4]))
    spec = ManualSegment(name="VIP", behavior=behavior)
    report = engine.sync(spec, MEMBERS)
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/remove_customers", {"ids": ["p0", "p1"]})
    seen = look_back(engine, spec, report)
    assert found(seen) == {("p0", None, "missing"), ("p1", None, "missing"), ("p4", None, "missing")}
    assert seen.looked_at["found_members"] == 2
    engine.batch(person("p4"))
    heals(engine, spec, MEMBERS, seen)


def test_members_who_were_not_removed_and_a_segment_that_is_gone(engine: Engine) -> None:
    engine.batch(*(person(each["id"]) for each in MEMBERS))
    spec = ManualSegment(name="VIP", behavior="mirror")
    engine.sync(spec, MEMBERS)
    report = engine.sync(spec, MEMBERS[:4])
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/add_customers", {"ids": ["p4"]})
    assert found(look_back(engine, spec, report)) == {("p4", None, "still_there")}
    report = engine.sync(spec, MEMBERS[:4])
    assert report.removed == 1
    app(engine, "DELETE", f"/v1/segments/{segment['id']}")
    seen = look_back(engine, spec, report)
    assert found(seen) == {(each["id"], None, "segment_missing") for each in MEMBERS[:4]}
    report = engine.sync(spec, MEMBERS[:4])
    assert report.created == 4
    clean(engine, spec, report)


@pytest.mark.parametrize("edit", ["changed", "removed", "added", "doubled", "emptied"])
def test_a_collection_edited_by_others(engine: Engine, edit: str) -> None:
    spec = Collection(name="Plans")
    report = engine.sync(spec, PLANS)
    edited = {
        "changed": [*PLANS[:3], {"name": "plan 3", "price": 99}],
        "removed": PLANS[1:],
        "added": [*PLANS, {"name": "theirs"}],
        "doubled": [*PLANS, PLANS[0]],
        "emptied": [],
    }[edit]
    [collection] = engine.sandbox.get("collections")
    app(engine, "PUT", f"/v1/collections/{collection['id']}", {"data": edited})
    seen = look_back(engine, spec, report)
    reasons = sorted(seen.differences["reason"])
    many = {"changed": ["missing", "unexpected_row"], "removed": ["missing"], "emptied": ["missing"] * 4}
    assert reasons == many.get(edit, ["unexpected_row"])
    assert seen.looked_at["found_rows"] == len(edited)
    heals(engine, spec, PLANS, seen)
    assert engine.sandbox.get("collections")[0]["data"] == PLANS


@pytest.mark.parametrize("rows", [PLANS, []], ids=["rows", "empty"])
def test_a_collection_that_is_gone(engine: Engine, rows: list[Row]) -> None:
    spec = Collection(name="Plans")
    frame = rows or pl.DataFrame(schema={"name": pl.String, "price": pl.Float64})
    report = engine.sync(spec, frame)
    [collection] = engine.sandbox.get("collections")
    app(engine, "DELETE", f"/v1/collections/{collection['id']}")
    seen = look_back(engine, spec, report)
    assert {reason for _, _, reason in found(seen)} == {"collection_missing"}
    engine.sync(spec, frame)
    assert engine.sandbox.get("collections")[0]["data"] == rows


def test_failed_events_are_sent_again_once(engine: Engine) -> None:
    engine.sandbox.settings(event_unknown_person="drop")
    engine.batch(person("a"))
    spec = Event(row_id="row", column="who", name_column="what", start="all")
    rows = [
        {"row": "1", "who": "a", "what": "x"},
        {"row": "2", "who": "nobody", "what": "x"},
        {"row": "3", "who": "nobody", "what": "y"},
    ]
    engine.sync(spec, rows[:2])
    report = engine.sync(spec, rows)
    seen = look_back(engine, spec, report)
    # The first one failed before this run, and is found all the same.
    assert found(seen) == {("2", None, "failed_event"), ("3", None, "failed_event")}
    engine.batch(person("nobody"))
    # Activities have whole seconds: one may count against what was accepted within the clocks' skew of it.
    time.sleep(1.1)
    report = heals_events(engine, spec, rows, seen)
    clean(engine, spec, report, clock_skew=0)
    assert sorted(each["name"] for each in engine.sandbox.get("events")) == ["x", "x", "y"]


def heals_events(engine: Engine, spec: AnySpec, rows: list[Row], seen: ReadBack) -> Report:
    assert not set(seen.keys) & keys_in_snapshot(engine)
    report = engine.sync(spec, rows)
    assert report.sent == len(seen.keys)
    assert engine.sync(spec, rows).sent == 0
    return report


@pytest.mark.parametrize("key", ["email", "phone", "cio_id"])
def test_failed_events_by_other_keys(engine: Engine, key: Any) -> None:
    engine.sandbox.settings(event_unknown_person="drop")
    value = {"email": "Nobody@x.io", "phone": "+4915112345678", "cio_id": "0123456789ab"}[key]
    spec = Event(row_id="row", key=key, column="who", name="x", start="all")
    report = engine.sync(spec, [{"row": "1", "who": value}])
    assert found(look_back(engine, spec, report)) == {("1", None, "failed_event")}


def test_events_left_out_stay_so(engine: Engine) -> None:
    engine.sandbox.settings(event_unknown_person="drop")
    spec = Event(row_id="row", column="who", name="x")
    engine.sync(spec, [{"row": "1", "who": "nobody"}])
    report = engine.sync(spec, [{"row": "1", "who": "nobody"}, {"row": "2", "who": "nobody"}])
    assert found(look_back(engine, spec, report)) == {("2", None, "failed_event")}
    assert "1" in keys_in_snapshot(engine)
