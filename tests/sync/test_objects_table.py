"""Every row of the design's table of objects: each spec, each sync key, each behaviour, through a whole life."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from tests.engine import Engine

Row = dict[str, Any]

KEYS = {
    "id": [f"p{n}" for n in range(5)],
    "email": [f"Person{n}@Example.com" for n in range(5)],
    "phone": [f"+4915100000{n}" for n in range(5)],
}


def people(engine: Engine, key: str, known: int = 5) -> list[str]:
    """Make the first `known` people; return five values of a key, those beyond unknown to Customer.io."""
    engine.batch(
        *(
            {
                "type": "person",
                "action": "identify",
                "identifiers": {"id": KEYS["id"][n]},
                "attributes": {"email": KEYS["email"][n]},
            }
            for n in range(known)
        )
    )
    if key != "cio_id":
        return KEYS[key]
    found = [each["cio_id"] for each in engine.sandbox.get("people")]
    return found + [f"a9{n:06}" for n in range(known, 5)]


def unchanged(engine: Engine, spec: AnySpec, rows: list[Row]) -> None:
    """A second run with the same source sends no write request at all."""
    before = len(engine.requests(writes=True))
    report = engine.sync(spec, rows)
    assert report.error is None
    assert report.accepted == report.requests == 0
    assert report.planned.unchanged == report.planned.source - report.rejected
    assert len(engine.requests(writes=True)) == before


def by_person(engine: Engine, key: str) -> dict[str, Row]:
    return {each[key]: each["attributes"] for each in engine.sandbox.get("people") if each[key]}


@pytest.mark.parametrize("behavior", ["update_or_create", "update_only", "mirror"])
@pytest.mark.parametrize("key", ["id", "email", "phone", "cio_id"])
def test_person(engine: Engine, key: str, behavior: str) -> None:
    exists = behavior == "update_only" or key == "cio_id"
    if exists:
        values = people(engine, key, known=4)
        if key == "phone":
            for value in values[:4]:
                engine.batch({"type": "person", "action": "identify", "identifiers": {"phone": value}, "attributes": {}})
    else:
        values = KEYS[key]
    spec = Person(key=key, behavior=behavior, column="k", delete_people=behavior == "mirror")  # type: ignore[arg-type]
    rows: list[Row] = [{"k": value, "plan": "free", "score": float(n)} for n, value in enumerate(values[:4])]
    rows[3]["score"] = None

    report = engine.sync(spec, [*rows, {"k": None, "plan": "free", "score": 9.0}])
    assert (report.created, report.rejected, report.planned.rejected) == (4, 1, 1)
    assert by_person(engine, key)[values[1]] == {"plan": "free", "score": 1}
    assert by_person(engine, key)[values[3]] == {"plan": "free"}
    unchanged(engine, spec, rows)

    # Something else changes an attribute that does not change in the source: only what changed there is sent.
    identifiers = {key: values[1]}
    engine.batch({"type": "person", "action": "identify", "identifiers": identifiers, "attributes": {"score": 99}})
    rows[1]["plan"] = "pro"
    report = engine.sync(spec, rows)
    assert (report.updated, report.requests) == (1, 1)
    assert by_person(engine, key)[values[1]] == {"plan": "pro", "score": 99}

    gone = rows.pop(2)
    report = engine.sync(spec, rows)
    assert report.removed == (1 if behavior == "mirror" else 0)
    assert (values[2] in by_person(engine, key)) == (behavior != "mirror")

    report = engine.sync(spec, [*rows, gone])
    assert report.created == (1 if behavior == "mirror" else 0)
    # A deleted person's cio_id names nobody any more.
    assert (values[2] in by_person(engine, key)) == (behavior != "mirror" or key != "cio_id")

    report = engine.sync(spec, [*rows, gone, {"k": values[4], "plan": "free", "score": float("nan")}])
    assert (report.planned.rejected, report.accepted) == (1, 0)
    report = engine.sync(spec, [*rows, gone, {"k": values[4], "plan": "free", "score": 1.5}])
    assert (report.created, report.rejected) == (1, 0)
    assert (values[4] in by_person(engine, key)) == (not exists)


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
@pytest.mark.parametrize("key", ["id", "email", "cio_id"])
def test_device(engine: Engine, key: str, behavior: str) -> None:
    values = people(engine, key)
    spec = Device(key=key, column="owner", last_used="seen", behavior=behavior)  # type: ignore[arg-type]
    rows: list[Row] = [
        {
            "owner": values[n % 2],
            "token": f"t{n}",
            "platform": "iOS" if n % 2 else "android",
            "seen": 1_700_000_000 + n,
            "version": n,
        }
        for n in range(4)
    ]

    def devices() -> dict[str, Row]:
        return {each["token"]: each for each in engine.sandbox.get("devices")}

    report = engine.sync(spec, [*rows, {"owner": values[0], "token": "t9", "platform": "palm", "seen": 1, "version": 0}])
    assert (report.created, report.planned.rejected) == (4, 1)
    first = devices()
    assert set(first) == {"t0", "t1", "t2", "t3"}
    assert (first["t1"]["platform"], first["t1"]["last_used"], first["t1"]["attributes"]) == (
        "ios",
        1_700_000_001,
        {"version": "1"},
    )
    assert {each["person"]["id"] for each in first.values()} == {"p0", "p1"}
    unchanged(engine, spec, rows)

    rows[1]["version"] = 7
    assert engine.sync(spec, rows).updated == 1
    assert devices()["t1"]["attributes"]["version"] == "7"

    gone = rows.pop()
    assert engine.sync(spec, rows).removed == (1 if behavior == "mirror" else 0)
    assert ("t3" in devices()) == (behavior != "mirror")
    engine.sync(spec, [*rows, gone])
    assert "t3" in devices()

    engine.sync(spec, [*rows, gone, {"owner": values[0], "token": "t9", "platform": "ios", "seen": 1, "version": 0}])
    assert "t9" in devices()


@pytest.mark.parametrize("kind", ["event", "page", "screen"])
@pytest.mark.parametrize(
    ("key", "endpoint"),
    [("id", "v1"), ("email", "v1"), ("phone", "v1"), ("cio_id", "v1"), ("anonymous_id", "v1"), ("anonymous_id", "v2")],
)
def test_event(engine: Engine, key: str, endpoint: str, kind: str) -> None:
    values = people(engine, key) if key != "anonymous_id" else [f"visitor-{n}" for n in range(5)]
    spec = Event(
        row_id="n",
        key=key,
        column="who",
        name_column="what",
        timestamp="at",
        kind=kind,
        start="all",
        anonymous_endpoint=endpoint,  # type: ignore[arg-type]
    )
    rows: list[Row] = [
        {"n": n, "who": values[n], "what": f"Name {n}", "at": 1_790_000_000 + n, "amount": n / 4} for n in range(4)
    ]

    def events() -> dict[str, Row]:
        found = engine.sandbox.get("events")
        named = {each["name"]: each for each in found}
        assert len(named) == len(found)
        return named

    report = engine.sync(spec, [*rows, {"n": None, "who": values[0], "what": "nobody's", "at": 1_790_000_000, "amount": 0.0}])
    assert (report.sent, report.planned.rejected) == (4, 1)
    assert report.requests == (4 if endpoint == "v1" and key == "anonymous_id" else 1)
    one = events()["Name 2"]
    assert (one["type"], one["timestamp"], one["attributes"]) == (kind, 1_790_000_002, {"amount": 0.5})
    assert len(one["id"]) == 26
    if key == "anonymous_id":
        assert one["anonymous_id"] == values[2]
    elif key in ("id", "email", "cio_id"):
        assert one["person"]["id"] == "p2"
    unchanged(engine, spec, rows)

    # A sent row that changes, leaves or comes back is not sent again; a rejected one is, once fixed.
    rows[0]["amount"] = 100.0
    gone = rows.pop()
    assert engine.sync(spec, rows).accepted == 0
    report = engine.sync(
        spec, [*rows, gone, {"n": 9, "who": values[0], "what": "nobody's", "at": 1_790_000_000, "amount": 0.0}]
    )
    assert report.sent == 1
    assert len(events()) == 5
    assert events()["Name 0"]["attributes"] == {"amount": 0.0}


@pytest.mark.parametrize("by", ["name", "id"])
def test_collection(engine: Engine, by: str) -> None:
    def collection() -> list[Row]:
        [found] = engine.sandbox.get("collections")
        data: list[Row] = found["data"]
        return data

    if by == "id":
        engine.sync(Collection(name="plans"), [{"sku": "x"}], asset="other")
        [found] = engine.sandbox.get("collections")
        spec = Collection(id=found["id"])
    else:
        spec = Collection(name="plans")
    rows: list[Row] = [{"sku": f"s{n}", "price": n + 0.5, "tags": ["a", None]} for n in range(3)]
    report = engine.sync(spec, rows)
    assert report.created == 3
    assert collection() == rows
    unchanged(engine, spec, rows)

    rows[1]["price"] = 9.0
    report = engine.sync(spec, rows)
    assert (report.created, report.removed, report.kept) == (1, 1, 2)
    assert collection() == rows

    rows.append(dict(rows[0]))
    assert engine.sync(spec, rows).created == 1
    assert collection() == rows
    engine.sync(spec, rows[:1])
    assert collection() == rows[:1]

    report = engine.sync(spec, [*rows[:1], {"sku": "long", "price": 1.0, "tags": ["x" * 11_000]}])
    assert (report.planned.rejected, report.accepted) == (1, 0)
    engine.sync(spec, [*rows[:1], {"sku": "long", "price": 1.0, "tags": ["x"]}])
    assert [each["sku"] for each in collection()] == ["s0", "long"]


def test_an_empty_collection_is_made(engine: Engine) -> None:
    engine.sync(Collection(name="none"), [{"a": 1}][:0])
    [found] = engine.sandbox.get("collections")
    assert (found["name"], found["data"]) == ("none", [])
    unchanged(engine, Collection(name="none"), [])


@pytest.mark.parametrize("by", ["name", "id"])
@pytest.mark.parametrize("key", ["id", "email", "cio_id"])
@pytest.mark.parametrize(
    ("behavior", "baseline"), [("update_or_create", "snapshot"), ("mirror", "snapshot"), ("mirror", "customerio")]
)
def test_segment(engine: Engine, by: str, key: str, behavior: str, baseline: str) -> None:
    values = people(engine, key)
    made = engine.sandbox.post("segments", {"name": "vip", "type": "manual"}) if by == "id" or baseline == "customerio" else {}
    named: Row = {"id": made["id"]} if by == "id" else {"name": "vip"}
    spec = ManualSegment(**named, key=key, column="who", behavior=behavior, baseline=baseline, max_delete=10)
    mirror, rows = behavior == "mirror", [{"who": value} for value in values[:3]]

    def members() -> set[str]:
        [found] = engine.sandbox.get("segments")
        assert found["name"] == "vip"
        return {each["id"] for each in found["members"]}

    if baseline == "customerio":
        engine.track("POST", f"/api/v1/segments/{made['id']}/add_customers?id_type=id", {"ids": ["p4"]})
    report = engine.sync(spec, [*rows, {"who": "  "}])
    assert (report.created, report.planned.rejected, report.removed) == (3, 1, int(baseline == "customerio"))
    assert members() == {"p0", "p1", "p2"}
    before = len(engine.requests(writes=True))
    again = engine.sync(spec, rows)
    assert (again.accepted, again.planned.unchanged) == (0, 3)
    assert len(engine.requests(writes=True)) == before

    engine.sync(spec, rows[:2])
    assert members() == ({"p0", "p1"} if mirror else {"p0", "p1", "p2"})
    engine.sync(spec, [*rows, {"who": values[3]}])
    assert members() == {"p0", "p1", "p2", "p3"}

    # Someone that others add stays, unless all members are to be the source's.
    [found] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{found['id']}/add_customers?id_type=id", {"ids": ["p4"]})
    engine.sync(spec, [*rows, {"who": values[3]}])
    assert ("p4" in members()) == (baseline == "snapshot")


@pytest.mark.parametrize(
    ("behavior", "baseline"), [("update_or_create", "snapshot"), ("mirror", "snapshot"), ("mirror", "customerio")]
)
def test_object(engine: Engine, behavior: str, baseline: str) -> None:
    spec = Object(object_type_id=1, column="account", behavior=behavior, baseline=baseline, nulls="clear", max_delete=10)  # type: ignore[arg-type]
    mirror = behavior == "mirror"
    rows: list[Row] = [{"account": f"a{n}", "name": f"Account {n}", "seats": n} for n in range(3)]

    def objects() -> dict[str, Row]:
        return {each["object_id"]: each["attributes"] for each in engine.sandbox.get("objects")}

    if baseline == "customerio":
        engine.batch({"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "old"}})
        engine.batch({"type": "object", "action": "identify", "identifiers": {"object_type_id": "2", "object_id": "course"}})
    report = engine.sync(spec, [*rows, {"account": "x" * 151, "name": "n", "seats": 1}])
    assert (report.created, report.planned.rejected, report.removed) == (3, 1, int(baseline == "customerio"))
    course = {"course"} if baseline == "customerio" else set()
    assert set(objects()) == {"a0", "a1", "a2"} | course
    assert objects()["a1"] == {"name": "Account 1", "seats": 1}
    before = len(engine.requests("/api/v2/"))
    assert engine.sync(spec, rows).accepted == 0
    assert len(engine.requests("/api/v2/")) == before

    other = {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "a1"}}
    engine.batch(other | {"attributes": {"name": "renamed elsewhere"}})
    rows[1]["seats"] = 50
    rows[2]["seats"] = None
    assert engine.sync(spec, rows).updated == 2
    assert objects()["a1"] == {"name": "renamed elsewhere", "seats": 50}
    assert objects()["a2"] == {"name": "Account 2"}

    engine.sync(spec, rows[:2])
    assert ("a2" in objects()) == (not mirror)
    engine.sync(spec, rows)
    assert set(objects()) == {"a0", "a1", "a2"} | course


@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
@pytest.mark.parametrize("key", ["id", "email", "cio_id"])
def test_relationship(engine: Engine, key: str, behavior: str) -> None:
    values = people(engine, key)
    spec = Relationship(object_type_id=1, object_column="account", key=key, column="who", behavior=behavior)  # type: ignore[arg-type]
    rows: list[Row] = [{"account": f"a{n}", "who": values[m], "role": f"{n}{m}"} for n in range(2) for m in range(2)]

    def relationships() -> dict[tuple[str, str], Row]:
        return {(each["object_id"], each["person"]["id"]): each["attributes"] for each in engine.sandbox.get("relationships")}

    report = engine.sync(spec, [*rows, {"account": "", "who": values[0], "role": "none"}])
    assert (report.created, report.planned.rejected) == (4, 1)
    assert relationships()[("a1", "p0")] == {"role": "10"}
    unchanged(engine, spec, rows)

    rows[3]["role"] = "owner"
    assert engine.sync(spec, rows).updated == 1
    assert relationships()[("a1", "p1")] == {"role": "owner"}

    gone = rows.pop(0)
    assert engine.sync(spec, rows).removed == (1 if behavior == "mirror" else 0)
    assert (("a0", "p0") in relationships()) == (behavior != "mirror")
    engine.sync(spec, [*rows, gone, {"account": "a2", "who": values[0], "role": "none"}])
    assert set(relationships()) == {("a0", "p0"), ("a0", "p1"), ("a1", "p0"), ("a1", "p1"), ("a2", "p0")}
