"""Objects and relationships, written from either side, and the App API's reads of them."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client

ACME = {"object_type_id": "1", "object_id": "acme"}
NAMED = {"object_attribute": {"field": "object_id", "operator": "exists", "type_id": "1"}}


def object_of(sandbox: RunningSandbox) -> dict[str, Any]:
    [one] = sandbox.get("objects")
    return one  # type: ignore[no-any-return]


def pairs(sandbox: RunningSandbox) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (each["person"]["id"] or each["person"]["email"], each["object_id"], each["attributes"])
        for each in sandbox.get("relationships")
    ]


def test_identify_creates_updates_and_removes_attributes(client: Client, sandbox: RunningSandbox) -> None:
    assert client.object("acme", attributes={"seats": 50, "plan": "pro", "gone": 1, "o": {"a": 1}}).json == {}
    client.object("acme", attributes={"seats": 51, "gone": None, "plan": ""})
    assert object_of(sandbox)["attributes"] == {"seats": 51, "o": {"a": 1}}
    cio_object_id = object_of(sandbox)["cio_object_id"]
    by_own_id = {"cio_object_id": cio_object_id}
    client.entity(type="object", action="identify", identifiers=by_own_id, attributes={"x": 1})
    assert object_of(sandbox)["attributes"]["x"] == 1
    unknown = {"cio_object_id": "ob0"}
    assert client.entity(type="object", action="identify", identifiers=unknown, attributes={"x": 1}).json == {}
    assert len(sandbox.get("objects")) == 1


def test_object_ids_are_unique_within_a_type(client: Client, sandbox: RunningSandbox) -> None:
    client.object("acme", "1")
    client.object("acme", "2")
    assert [each["object_type_id"] for each in sandbox.get("objects")] == ["1", "2"]


def test_delete_takes_the_relationships_along(client: Client, sandbox: RunningSandbox) -> None:
    client.object("acme", cio_relationships=[{"identifiers": {"id": "1"}}])
    assert client.entity(type="object", action="delete", identifiers=ACME).json == {}
    assert client.entity(type="object", action="delete", identifiers=ACME).json == {}
    counts = sandbox.get("counts")
    assert (counts["objects"], counts["relationships"], counts["people"]) == (0, 0, 1)


def test_relationships_from_either_side_are_the_same(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, email="one@example.com")
    client.identify({"email": "two@example.com"})
    cio_id = sandbox.get("people")[0]["cio_id"]
    role = {"role": "admin", "since": 17}
    client.object("acme", cio_relationships=[{"identifiers": {"cio_id": cio_id}, "relationship_attributes": role}])
    client.entity(
        type="object",
        action="add_relationships",
        identifiers=ACME,
        cio_relationships=[{"identifiers": {"email": "TWO@example.com"}}],
    )
    client.entity(
        type="person",
        action="add_relationships",
        identifiers={"id": "1"},
        cio_relationships=[{"identifiers": ACME, "relationship_attributes": {"since": None, "x": ""}}],
    )
    assert pairs(sandbox) == [("1", "acme", {"role": "admin"}), ("two@example.com", "acme", {})]
    client.entity(
        type="person",
        action="delete_relationships",
        identifiers={"id": "1"},
        cio_relationships=[{"identifiers": {"cio_object_id": object_of(sandbox)["cio_object_id"]}}],
    )
    client.entity(
        type="object",
        action="delete_relationships",
        identifiers=ACME,
        cio_relationships=[{"identifiers": {"email": "two@example.com"}}, {"identifiers": {"id": "nobody"}}],
    )
    assert pairs(sandbox) == []


def test_an_identify_brings_relationships(client: Client, sandbox: RunningSandbox) -> None:
    client.entity(type="person", action="identify", identifiers={"id": "1"}, cio_relationships=[{"identifiers": ACME}])
    v1 = {"action": "add_relationships", "relationships": [{"identifiers": {**ACME, "object_id": "beta"}}]}
    assert client.put("/api/v1/customers/1", {"plan": "pro", "cio_relationships": v1}).json == {}
    assert [object_id for _, object_id, _ in pairs(sandbox)] == ["acme", "beta"]
    client.put("/api/v1/customers/1", {"cio_relationships": {**v1, "action": "delete_relationships"}})
    assert [object_id for _, object_id, _ in pairs(sandbox)] == ["acme"]
    assert sandbox.get("people")[0]["attributes"] == {"plan": "pro"}
    assert client.put("/api/v1/customers/1", {"cio_relationships": [{"identifiers": ACME}]}).status == 400


def test_an_anonymous_relationship_joins_the_person(client: Client, sandbox: RunningSandbox) -> None:
    related = [{"identifiers": {"anonymous_id": "a1"}, "relationship_attributes": {"role": "guest"}}]
    answer = client.entity(type="object", action="identify_anonymous", identifiers=ACME, cio_relationships=related)
    assert answer.json == {}
    client.entity(type="object", action="identify_anonymous", identifiers=ACME, anonymous_id="a2")
    assert [each["anonymous_id"] for each in sandbox.get("relationships")] == ["a1", "a2"]
    client.put("/api/v1/customers/1", {"anonymous_id": "a1"})
    assert sandbox.get("relationships")[0]["person"]["id"] == "1"


@pytest.mark.parametrize("side", ["person", "object"])
@pytest.mark.parametrize("people", ["create", "ignore"])
@pytest.mark.parametrize("objects", ["create", "ignore"])
def test_relationships_to_what_does_not_exist(
    client: Client, sandbox: RunningSandbox, side: str, people: str, objects: str
) -> None:
    sandbox.settings(relationship_unknown_person=people, relationship_unknown_object=objects)
    if side == "person":
        who, related = {"id": "1"}, [{"identifiers": ACME}]
        client.entity(type="person", action="add_relationships", identifiers=who, cio_relationships=related)
    else:
        related = [{"identifiers": {"id": "1"}}]
        client.entity(type="object", action="add_relationships", identifiers=ACME, cio_relationships=related)
    counts = sandbox.get("counts")
    assert counts["objects"] == (objects == "create")
    assert counts["people"] == (people == "create" and objects == "create")
    assert counts["relationships"] == (people == "create" and objects == "create")


@pytest.mark.parametrize(("setting", "status", "stored"), [("reject", 400, 0), ("ignore", 200, 0), ("create", 200, 1)])
def test_an_unknown_object_type(client: Client, sandbox: RunningSandbox, setting: str, status: int, stored: int) -> None:
    sandbox.settings(unknown_object_type=setting)
    assert client.object("x", "9").status == status
    assert len(sandbox.get("objects")) == stored
    types = [each["id"] for each in client.get("/v1/object_types").json["types"]]
    assert ("9" in types) == (setting == "create")


@pytest.mark.parametrize(
    "identifiers",
    [
        None,
        {},
        {"object_id": "x"},
        {"object_type_id": "1"},
        {"object_type_id": 1, "object_id": "x"},
        {"object_type_id": "one", "object_id": "x"},
        {"object_type_id": "1", "object_id": 5},
        {"object_type_id": "1", "object_id": ""},
        {"object_type_id": "1", "object_id": "x", "cio_object_id": "y"},
        {"object_type_id": "1", "object_id": "x" * 151},
        {"cio_object_id": 5},
    ],
)
def test_wrong_object_identifiers(client: Client, identifiers: object) -> None:
    for action in ("identify", "delete"):
        answer = client.entity(type="object", action=action, identifiers=identifiers)
        assert answer.status == 400
        assert answer.json["errors"][0]["field"].startswith("identifiers")


@pytest.mark.parametrize(
    "related",
    [
        [],
        {},
        ["x"],
        [{}],
        [{"identifiers": {}}],
        [{"identifiers": {"phone": "+14155552671"}}],
        [{"identifiers": {"id": "1", "email": "a@b.c"}}],
        [{"identifiers": {"id": "1"}, "relationship_attributes": []}],
        [{"identifiers": {"id": "1"}, "relationship_attributes": {"x": "a" * 1001}}],
    ],
)
def test_wrong_relationships(client: Client, sandbox: RunningSandbox, related: object) -> None:
    answer = client.entity(type="object", action="add_relationships", identifiers=ACME, cio_relationships=related)
    assert answer.status == 400
    assert answer.json["errors"][0]["field"].startswith("cio_relationships")
    assert sandbox.get("objects") == []


def test_object_types_are_listed(client: Client) -> None:
    types = client.get("/v1/object_types").json["types"]
    assert [(each["id"], each["name"]) for each in types] == [("1", "Accounts"), ("2", "Courses")]
    assert set(types[0]) == {"id", "name", "singular_name", "slug", "singular_slug", "enabled", "icon"}


def found(client: Client, filter: object, query: str = "") -> list[str]:
    answer = client.post(f"/v1/objects{query}", {"object_type_id": "1", "filter": filter})
    assert answer.status == 200
    ids: list[str] = answer.json["ids"]
    return ids


def test_objects_are_found_by_filter(client: Client) -> None:
    client.object("a", attributes={"plan": "pro", "seats": 5, "open": True})
    client.object("b", attributes={"plan": "free"})
    client.object("c", "2", attributes={"plan": "pro"})

    def has(field: str, operator: str, *value: object) -> dict[str, object]:
        condition = {"field": field, "operator": operator, "type_id": "1"}
        return {"object_attribute": {**condition, **({"value": value[0]} if value else {})}}

    assert found(client, NAMED) == ["a", "b"]
    assert found(client, has("plan", "eq", "pro")) == ["a"]
    assert found(client, has("seats", "eq", "5")) == ["a"]
    assert found(client, has("open", "eq", True)) == ["a"]
    assert found(client, {"not": has("seats", "exists")}) == ["b"]
    assert found(client, {"or": [has("plan", "eq", "pro"), has("plan", "eq", "free")]}) == ["a", "b"]
    assert found(client, {"and": [has("plan", "exists"), {"not": has("plan", "eq", "pro")}]}) == ["b"]
    both = client.post("/v1/objects", {"object_type_id": "1", "filter": NAMED}).json["identifiers"]
    assert all(set(each) == {"cio_object_id", "object_id"} for each in both)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"object_type_id": "1"},
        {"object_type_id": "9", "filter": NAMED},
        {"object_type_id": "2", "filter": NAMED},
        {"object_type_id": "1", "filter": {"and": [NAMED], "or": [NAMED]}},
        {"object_type_id": "1", "filter": {"segment": {"id": 1}}},
        {"object_type_id": "1", "filter": {"object_attribute": {"field": "x", "operator": "gt", "type_id": "1"}}},
        {"object_type_id": "1", "filter": {"object_attribute": {"field": "x", "operator": "eq", "type_id": "1"}}},
    ],
)
def test_wrong_object_searches(client: Client, body: dict[str, object]) -> None:
    answer = client.post("/v1/objects", body)
    assert answer.status == 400
    assert answer.json["errors"][0]["status"] == "400"


def test_objects_are_paged_and_pages_may_repeat(client: Client, sandbox: RunningSandbox) -> None:
    client.batch(
        *(
            {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": str(i)}}
            for i in range(7)
        )
    )

    def pages() -> list[list[str]]:
        all_pages, start = [], ""
        while True:
            answer = client.post(f"/v1/objects?limit=3&start={start}", {"object_type_id": "1", "filter": NAMED}).json
            all_pages.append(answer["ids"])
            start = answer["next"]
            if not start:
                return all_pages

    assert pages() == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    sandbox.settings(page_repeats=1)
    assert pages() == [["0", "1", "2"], ["2", "3", "4"], ["4", "5", "6"]]


def test_an_object_is_read_back_as_strings(client: Client, sandbox: RunningSandbox) -> None:
    client.object("a/b", attributes={"seats": 5, "open": True, "o": {"x": [1]}})
    answer = client.get("/v1/objects/1/a%2Fb/attributes").json["object"]
    assert {**answer["attributes"], "cio_object_id": ""} == {
        "seats": "5",
        "open": "true",
        "o": '{"x":[1]}',
        "object_type_id": "1",
        "object_id": "a/b",
        "cio_object_id": "",
    }
    assert set(answer["timestamps"]) == {"seats", "open", "o"}
    cio_object_id = object_of(sandbox)["cio_object_id"]
    by_own_id = client.get(f"/v1/objects/1/{cio_object_id}/attributes?id_type=cio_object_id")
    assert by_own_id.json["object"] == answer
    assert client.get("/v1/objects/1/nothing/attributes").status == 404
    assert client.get("/v1/objects/2/a%2Fb/attributes").status == 404
    assert client.get("/v1/objects/1/a%2Fb/attributes?id_type=name").status == 400


def test_relationships_are_read_from_both_sides(client: Client) -> None:
    related = [{"identifiers": {"id": str(i)}} for i in range(3)]
    client.object("acme", cio_relationships=related)
    first = client.get("/v1/objects/1/acme/relationships?limit=2").json
    assert [each["identifiers"]["id"] for each in first["cio_relationships"]] == ["0", "1"]
    assert first["cio_relationships"][0]["object_type_id"] == "1"
    rest = client.get(f"/v1/objects/1/acme/relationships?limit=2&start={first['next']}").json
    assert [each["identifiers"]["id"] for each in rest["cio_relationships"]] == ["2"]
    assert rest["next"] == ""
    [own] = client.get("/v1/customers/1/relationships").json["cio_relationships"]
    assert (own["object_type_id"], own["identifiers"]["object_id"]) == ("1", "acme")


def test_too_many_attributes_in_all_fail_later(client: Client, sandbox: RunningSandbox) -> None:
    for part in range(2):
        attributes = {f"a{part}_{i}": i for i in range(151)}
        assert client.object("acme", attributes=attributes).status == 200
    assert len(object_of(sandbox)["attributes"]) == 151
    failed = [each for each in sandbox.get("activities") if each["type"] == "_o:1:failed_attribute_change"]
    assert failed[0]["name"] == "acme"
