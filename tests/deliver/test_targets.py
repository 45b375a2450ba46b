"""Segments, collections and objects in Customer.io: found, made just once, and read page by page."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster.deliver import read_baseline
from cio_dagster.errors import RequestRefused, Unavailable
from cio_dagster.specs import Collection, ManualSegment, Object
from tests.engine import Engine

LOST: list[dict[str, Any]] = [
    {"drop_answer": True},
    {"reset_mid_body": True},
    {"garbage": True},
    {"status": 502, "apply": True},
    {"reset": True},
    {"status": 500},
    {"status": 429, "headers": {"Retry-After": "0.2"}},
]


def members(engine: Engine, *ids: str) -> list[dict[str, str]]:
    engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": each}} for each in ids))
    return [{"id": each} for each in ids]


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_a_segment_is_made_once_whatever_becomes_of_the_answer(engine: Engine, fault: dict[str, Any]) -> None:
    people = members(engine, "a", "b")
    engine.sandbox.faults([{"path": "/v1/segments", "method": "POST", "times": 1, **fault}])
    report = engine.sync(ManualSegment(name="vip"), people)
    assert (report.error, report.created) == (None, 2)
    [segment] = engine.sandbox.get("segments")
    assert (segment["name"], len(segment["members"])) == ("vip", 2)


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_a_collection_is_made_once_whatever_becomes_of_the_answer(engine: Engine, fault: dict[str, Any]) -> None:
    engine.sandbox.settings(duplicate_collection_names="allow")
    engine.sandbox.faults([{"path": "/v1/collections", "method": "POST", "times": 1, **fault}])
    report = engine.sync(Collection(name="plans"), [{"sku": "a"}])
    assert (report.error, report.created) == (None, 1)
    [collection] = engine.sandbox.get("collections")
    assert collection["data"] == [{"sku": "a"}]


@pytest.mark.parametrize("spec", [ManualSegment(name="x"), Collection(name="x")], ids=["segment", "collection"])
def test_making_is_given_up(engine: Engine, spec: Any) -> None:
    path = "/v1/segments" if isinstance(spec, ManualSegment) else "/v1/collections"
    engine.sandbox.faults([{"path": path, "method": "POST", "status": 500}])
    report = engine.sync(spec, [{"id": "a"}], attempts=3)
    assert isinstance(report.error, Unavailable)
    assert len([each for each in engine.requests(path) if each["method"] == "POST"]) == 3
    engine.sandbox.faults([])
    assert engine.sync(spec, [{"id": "a"}]).created == 1


def test_a_dynamic_segment_takes_no_members(engine: Engine) -> None:
    made = engine.sandbox.post("segments", {"name": "active", "type": "dynamic"})
    for spec in (ManualSegment(name="active"), ManualSegment(id=made["id"])):
        report = engine.sync(spec, members(engine, "a"), asset=f"by {spec.name}")
        assert isinstance(report.error, RequestRefused)
        assert "'dynamic'; only manual segments" in str(report.error)
        assert report.pending == 1
    assert len(engine.sandbox.get("segments")) == 1


def test_of_two_segments_with_a_name_none_is_guessed(engine: Engine) -> None:
    ids = [engine.sandbox.post("segments", {"name": "vip", "type": "manual"})["id"] for _ in range(2)]
    report = engine.sync(ManualSegment(name="vip"), members(engine, "a"))
    assert str(ids) in str(report.error)
    assert engine.sync(ManualSegment(id=ids[1]), members(engine, "a"), asset="by id").created == 1
    assert [len(each["members"]) for each in engine.sandbox.get("segments")] == [0, 1]


def test_of_two_collections_with_a_name_none_is_guessed(engine: Engine) -> None:
    engine.sandbox.settings(duplicate_collection_names="allow")
    for asset in ("a", "b"):
        engine.sandbox.faults([{"path": "/v1/collections", "method": "GET", "status": 200, "body": {"collections": []}}])
        engine.sync(Collection(name="plans"), [{"sku": asset}], asset=asset)
    engine.sandbox.faults([])
    report = engine.sync(Collection(name="plans"), [{"sku": "c"}], asset="c")
    assert "Several collections" in str(report.error)


@pytest.mark.parametrize("spec", [ManualSegment(id=99), Collection(id=99)], ids=["segment", "collection"])
def test_an_id_must_exist(engine: Engine, spec: Any) -> None:
    report = engine.sync(spec, [{"id": "a"}])
    assert "99 does not exist" in str(report.error)
    assert report.pending == 1


def test_a_segment_by_id_needs_no_name_anywhere(engine: Engine) -> None:
    """An entry without a name is not taken for the segment of a spec without one."""
    made = engine.sandbox.post("segments", {"name": "vip", "type": "manual"})
    entries = [{"id": 50, "type": "dynamic"}, {"id": made["id"], "name": "vip", "type": "manual"}]
    engine.sandbox.faults([{"path": "/v1/segments", "method": "GET", "status": 200, "body": {"segments": entries}}])
    assert engine.sync(ManualSegment(id=made["id"]), members(engine, "a")).created == 1


def test_members_are_read_page_by_page(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_dagster.deliver.targets.MEMBERS_A_PAGE", 3)
    people = members(engine, *(f"p{n}" for n in range(8)))
    engine.batch({"type": "person", "action": "identify", "identifiers": {"email": "No.Id@example.com"}})
    engine.sync(ManualSegment(name="s"), people)
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/add_customers?id_type=email", {"ids": ["No.Id@example.com"]})

    ids = read_baseline(engine.connection(), ManualSegment(name="s"))
    assert sorted(ids["_person"]) == [f"p{n}" for n in range(8)]
    emails = read_baseline(engine.connection(), ManualSegment(name="s", key="email"))
    assert emails["_key"].to_list() == ["no.id@example.com"]
    cio_ids = read_baseline(engine.connection(), ManualSegment(name="s", key="cio_id"))
    assert set(cio_ids["_person"]) == {each["cio_id"] for each in engine.sandbox.get("people")}
    assert read_baseline(engine.connection(), ManualSegment(name="none")).is_empty()


def test_objects_are_read_page_by_page_and_repeats_count_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_dagster.deliver.targets.OBJECTS_A_PAGE", 4)
    engine.sandbox.settings(page_repeats=1)
    rows = [{"object_id": f"o{n}", "name": "x"} | ({} if n % 2 else {"name": None}) for n in range(11)]
    engine.sync(Object(object_type_id=1), rows)
    found = read_baseline(engine.connection(), Object(object_type_id=1))
    assert sorted(found["_key"]) == sorted(f"o{n}" for n in range(11))
    assert read_baseline(engine.connection(), Object(object_type_id=2)).is_empty()


def test_members_go_in_thousands(engine: Engine) -> None:
    engine.sandbox.settings(segment_unknown_people="create")
    engine.sync(ManualSegment(name="s", behavior="mirror"), [{"id": f"p{n}"} for n in range(2_500)])
    log = engine.requests("/add_customers")
    assert sorted(each["operations"] for each in log) == [500, 1_000, 1_000]
    [segment] = engine.sandbox.get("segments")
    assert len(segment["members"]) == 2_500
