"""The sandbox's App API answers, held to our contract of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from cio_dagster.sandbox.process import RunningSandbox

from . import app_contract
from .files import file_server
from .judge import Court
from .wire import Call, Wire, bearer

ANYBODY = {"attribute": {"field": "cio_id", "operator": "exists"}}
ANY_OBJECT = {"object_attribute": {"field": "object_id", "operator": "exists", "type_id": "1"}}
ACME = {"object_type_id": "1", "object_id": "acme"}


@pytest.fixture
def workspace(track: Court, sandbox: RunningSandbox) -> dict[str, Any]:
    """A workspace with something of everything, and the ids that were given."""
    segment = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"]
    person = {"type": "person", "identifiers": {"id": "1"}}
    attributes = {
        "email": "ada@example.com",
        "plan": "pro",
        "seats": 3,
        "vip": True,
        "score": 1.5,
        "tags": ["a"],
        "o": {"k": 1},
    }
    related = {"identifiers": ACME, "relationship_attributes": {"role": "admin"}}
    preferences = {"cio_subscription_preferences": {"topics": {"topic_1": True}}}
    batch = [
        {**person, "action": "identify", "attributes": {**attributes, **preferences}},
        {"type": "person", "action": "identify", "identifiers": {"email": "bo@example.com"}, "attributes": {"plan": "free"}},
        {"type": "person", "action": "identify", "identifiers": {"phone": "+14155552671"}},
        {"type": "object", "action": "identify", "identifiers": ACME, "attributes": {"name": "Acme", "seats": 50}},
        {**person, "action": "add_relationships", "cio_relationships": [related]},
        {**person, "action": "add_device", "device": {"token": "t", "platform": "ios", "attributes": {"os": "17"}}},
        {**person, "action": "event", "name": "bought", "attributes": {"price": 9.5, "lines": [{"sku": "a"}]}},
        {**person, "action": "event", "name": "empty"},
        {**person, "action": "page", "name": "https://example.com", "attributes": {"referrer": "x"}},
        {**person, "action": "screen", "name": "Home"},
        {"type": "person", "action": "identify", "identifiers": {"id": "gone"}},
        {"type": "person", "action": "delete", "identifiers": {"id": "gone"}},
    ]
    track.send(Call("POST", "/api/v2/batch", {"batch": batch}), 200)
    # Older clients put what they like beside a device's own keys.
    device = {"id": "u", "platform": "android", "build": 7}
    track.send(Call("PUT", "/api/v1/customers/1/devices", {"device": device}), 200)
    track.send(Call("POST", "/api/v1/events", {"name": "looked", "anonymous_id": "visitor-1"}), 200)
    track.send(Call("PUT", "/api/v1/customers/nobody", {"_update": True}), 200)
    track.send(Call("POST", f"/api/v1/segments/{segment}/add_customers?id_type=email", {"ids": ["bo@example.com"]}), 200)
    people = {each["id"] or each["email"] or each["phone"]: each["cio_id"] for each in sandbox.get("people")}
    return {"segment": segment, "people": people, "object": sandbox.get("objects")[0]["cio_object_id"]}


def test_the_contract_is_valid_openapi_and_names_its_sources() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(app_contract.document()).iter_errors()] == []
    assert all(source for source, _, _ in app_contract.OPERATIONS.values())


def get(path: str) -> Call:
    return Call("GET", path)


def test_segments(app: Court, workspace: dict[str, Any], sandbox: RunningSandbox) -> None:
    one = f"/v1/segments/{workspace['segment']}"
    app.send_valid(get("/v1/segments"))
    for segment in ({"name": "a"}, {"name": "b", "description": "Very"}):
        app.send_valid(Call("POST", "/v1/segments", {"segment": segment}))
    app.send_invalid(Call("POST", "/v1/segments", {"name": "c"}))
    app.send_invalid(Call("POST", "/v1/segments", {"segment": {"name": ""}}))
    for part in ("", "/used_by", "/customer_count", "/membership", "/membership?limit=1", "/membership?limit=30000"):
        app.send_valid(get(one + part))
    assert app.send(get(f"{one}/membership")).json["ids"] == [""]
    for part in ("", "/used_by", "/customer_count", "/membership"):
        app.send(get(f"/v1/segments/999999{part}"), 404)
    for wrong in ("0", "30001", "x"):
        app.send_invalid(get(f"{one}/membership?limit={wrong}"))
    app.send(get(f"{one}/membership?start=%25"), 400)
    app.send_valid(Call("DELETE", one), 204)
    app.send(Call("DELETE", one), 404)
    app.send(Call("DELETE", f"/v1/segments/{sandbox.post('segments', {'name': 'active'})['id']}"), 400)


def test_objects(app: Court, workspace: dict[str, Any]) -> None:
    app.send_valid(get("/v1/object_types"))
    for filter in (ANY_OBJECT, {"and": [ANY_OBJECT, {"not": ANY_OBJECT}]}, {"or": [ANY_OBJECT]}):
        app.send_valid(Call("POST", "/v1/objects?limit=10", {"object_type_id": "1", "filter": filter}))
    app.send_invalid(Call("POST", "/v1/objects", {"object_type_id": "1"}))
    app.send_invalid(Call("POST", "/v1/objects", {"object_type_id": "1", "filter": {"attribute": {}}}))
    app.send(Call("POST", "/v1/objects", {"object_type_id": "99", "filter": ANY_OBJECT}), 400)
    for part in ("attributes", "relationships"):
        app.send_valid(get(f"/v1/objects/1/acme/{part}"))
        app.send_valid(get(f"/v1/objects/1/{workspace['object']}/{part}?id_type=cio_object_id"))
        app.send(get(f"/v1/objects/1/nothing/{part}"), 404)
        app.send(get(f"/v1/objects/2/acme/{part}"), 404)
        app.send_invalid(get(f"/v1/objects/1/acme/{part}?id_type=name"))
    assert app.send(get("/v1/objects/1/acme/attributes")).json["object"]["attributes"]["seats"] == "50"


def test_pages_of_objects_may_repeat(app: Court, track: Court, sandbox: RunningSandbox) -> None:
    identifiers = [{"object_type_id": "1", "object_id": f"o-{n}"} for n in range(7)]
    batch = [{"type": "object", "action": "identify", "identifiers": each} for each in identifiers]
    track.send(Call("POST", "/api/v2/batch", {"batch": batch}), 200)
    sandbox.settings(page_repeats=1)
    seen: list[str] = []
    for page in pages(app, "POST", "/v1/objects", 3, {"object_type_id": "1", "filter": ANY_OBJECT}):
        seen += page["ids"]
    assert len(seen) > 7
    assert list(dict.fromkeys(seen)) == [f"o-{n}" for n in range(7)]


def pages(app: Court, method: str, path: str, limit: int, body: Any = None) -> Iterator[Any]:
    """The pages of a read, each held to the contract."""
    start = ""
    while True:
        query = f"{path}?limit={limit}" + (f"&start={start}" if start else "")
        page = app.send_valid(Call(method, query, body) if body else get(query)).json
        yield page
        start = page["next"]
        if not start:
            return


def test_collections(app: Court, workspace: dict[str, Any]) -> None:
    rows = [{"sku": "a", "price": 1.5}, {"sku": "b", "tags": ["x"]}]
    app.send_valid(get("/v1/collections"))
    id = app.send_valid(Call("POST", "/v1/collections", {"name": "plans", "data": rows})).json["collection"]["id"]
    one = f"/v1/collections/{id}"
    app.send_valid(get("/v1/collections"))
    app.send_valid(get(one))
    assert app.send_valid(get(f"{one}/content")).json == rows
    several: list[Any] = [{"name": "tariffs"}, {"data": []}, {"name": "plans", "data": rows}]
    for changes in several:
        app.send_valid(Call("PUT", one, changes))
    for content in (rows, {"sku": "c"}):
        app.send_valid(Call("PUT", f"{one}/content", content))
    for wrong in (
        {"data": rows},
        {"name": "x"},
        {"name": "x", "data": {}},
        {"name": "x", "data": [1]},
        {"name": 1, "data": []},
    ):
        app.send_invalid(Call("POST", "/v1/collections", wrong))
    app.send_invalid(Call("POST", "/v1/collections", {"name": "x", "data": [], "url": "http://127.0.0.1/x"}))
    app.send_invalid(Call("PUT", one, {"data": "text"}))
    app.send_invalid(Call("PUT", f"{one}/content", [1]))
    for call in (get("/v1/collections/999"), get("/v1/collections/999/content"), Call("DELETE", "/v1/collections/999")):
        app.send(call, 404)
    app.send(Call("PUT", "/v1/collections/999", {"name": "x"}), 404)
    app.send(Call("PUT", "/v1/collections/999/content", rows), 404)
    app.send_valid(Call("DELETE", one), 204)
    app.send(get(one), 404)


def test_collections_from_a_url(app: Court) -> None:
    for content_type, content in (("text/csv", "sku,price\na,1.5\n"), ("application/json", '[{"sku":"a","price":1.5}]')):
        with file_server(content, content_type) as url:
            body = {"name": content_type, "url": url}
            made = app.send_valid(Call("POST", "/v1/collections", body)).json["collection"]
        assert (made["rows"], sorted(made["schema"])) == (1, ["price", "sku"])
    app.send(Call("POST", "/v1/collections", {"name": "x", "url": "http://127.0.0.1:9/nothing.json"}), 400)


def test_collection_limits(app: Court, sandbox: RunningSandbox) -> None:
    def row(size: int) -> dict[str, str]:
        return {"a": "é" * ((size - 8) // 2) + "x" * (size % 2)}

    def rows(size: int) -> list[dict[str, str]]:
        """Rows whose JSON is so many bytes: brackets, commas and rows."""
        count = 1001
        whole = size - 2 - (count - 1)
        return [row(whole // count + (1 if n < whole % count else 0)) for n in range(count)]

    def body(name: str, data: Any) -> Call:
        return Call("POST", "/v1/collections", json.dumps({"name": name, "data": data}, ensure_ascii=False).encode())

    app.send_valid(body("row", [row(10_000)]))
    app.send(body("row too large", [row(10_001)]), 400)
    app.send_valid(body("full", rows(10_000_000)))
    app.send(body("too full", rows(10_000_001)), 400)
    for n in range(48):
        app.send(body(f"c{n}", []), 200)
    app.send(body("the 51st", []), 400)
    assert sandbox.get("counts")["collections"] == 50


def test_keyed_writes(app: Court) -> None:
    id = app.send(Call("POST", "/v1/collections", {"name": "plans", "data": []})).json["collection"]["id"]
    writes = f"/v1/collections/{id}/writes"

    def write(**body: Any) -> Any:
        accepted = app.send_valid(Call("POST", writes, body), 202).json["write"]["id"]
        return app.send_valid(get(f"{writes}/{accepted}")).json["write"]

    assert write(mode="replace", key_field="sku", data=[{"sku": "a", "p": 1}, {"sku": "b"}])["state"] == "done"
    assert write(mode="upsert", data=[{"sku": "c"}])["state"] == "done"
    failed = write(mode="add", data=[{"sku": "a"}, {"sku": "d"}])
    assert (failed["state"], failed["code"]) == ("failed", "items")
    assert failed["items"] == [{"index": 0, "key": "a", "code": "key-already-exists"}]
    content = app.send(get(f"/v1/collections/{id}/content")).json
    assert [row["sku"] for row in content] == ["a", "b", "c"], "keyed writes are all or nothing"
    app.send_invalid(Call("POST", writes, {"mode": "merge", "data": []}))
    app.send(get(f"{writes}/nothing"), 404)
    app.send(Call("POST", "/v1/collections/999/writes", {"mode": "replace", "data": []}), 404)


def test_people(app: Court, workspace: dict[str, Any]) -> None:
    cio_id = workspace["people"]["1"]
    app.send_valid(get("/v1/customers?email=ada%40example.com"))
    app.send_valid(get("/v1/customers?email=nobody%40example.com"))
    app.send(get("/v1/customers"), 400)
    pro = {"attribute": {"field": "plan", "operator": "eq", "value": "pro"}}
    for filter in (ANYBODY, pro, {"and": [pro, ANYBODY]}, {"not": {"or": [pro]}}, {"segment": {"id": workspace["segment"]}}):
        app.send_valid(Call("POST", "/v1/customers?limit=1000", {"filter": filter}))
    wrong: list[Any] = [{}, {"filter": {}}, {"filter": {"attribute": {"field": "a", "operator": "gt", "value": 1}}}]
    wrong += [{"filter": {**pro, **ANYBODY, "not": pro}}, {"filter": {"not": [pro]}}, {"filter": {"segment": {"id": "1"}}}]
    for body in wrong:
        app.send_invalid(Call("POST", "/v1/customers", body))
    app.send(Call("POST", "/v1/customers?limit=1001", {"filter": ANYBODY}), 400)
    app.send(Call("POST", "/v1/customers", {"filter": {"segment": {"id": 999999}}}), 400)
    app.send_valid(Call("POST", "/v1/customers/attributes", {"ids": ["1", "nobody"]}))
    app.send_valid(Call("POST", "/v1/customers/attributes?id_type=email", {"ids": ["bo@example.com"]}))
    app.send_valid(Call("POST", "/v1/customers/attributes", {"ids": [str(n) for n in range(100)]}))
    for ids in ([], [str(n) for n in range(101)], [1], "1"):
        app.send_invalid(Call("POST", "/v1/customers/attributes", {"ids": ids}))
    for part in ("attributes", "activities", "segments", "relationships", "messages", "subscription_preferences"):
        for who in ("1", "ada%40example.com?id_type=email", f"{cio_id}?id_type=cio_id", "%2B14155552671?id_type=phone"):
            value, _, query = who.partition("?")
            app.send_valid(get(f"/v1/customers/{value}/{part}?{query}"))
        app.send(get(f"/v1/customers/nobody/{part}"), 404)
        app.send_invalid(get(f"/v1/customers/1/{part}?id_type=name"))
    for part in ("activities", "relationships"):
        app.send(get(f"/v1/customers/1/{part}?limit=0"), 400)


def test_a_person_is_read_in_strings(app: Court, workspace: dict[str, Any]) -> None:
    customer = app.send_valid(get("/v1/customers/1/attributes")).json["customer"]
    shown = {name: customer["attributes"][name] for name in ("plan", "seats", "vip", "score", "tags", "o")}
    assert shown == {"plan": "pro", "seats": "3", "vip": "true", "score": "1.5", "tags": '["a"]', "o": '{"k":1}'}
    assert customer["attributes"]["cio_subscription_preferences"] == '{"topics":{"topic_1":true}}'
    assert {device["id"]: device["attributes"] for device in customer["devices"]} == {"t": {"os": "17"}, "u": {"build": "7"}}


def test_people_are_read_in_pages(app: Court, track: Court) -> None:
    batch = [{"type": "person", "action": "identify", "identifiers": {"id": str(n)}} for n in range(7)]
    track.send(Call("POST", "/api/v2/batch", {"batch": batch}), 200)
    found = [page["ids"] for page in pages(app, "POST", "/v1/customers", 3, {"filter": ANYBODY})]
    assert found == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_activities(app: Court, workspace: dict[str, Any], sandbox: RunningSandbox) -> None:
    found: list[Any] = []
    for page in pages(app, "GET", "/v1/activities", 3):
        found += page["activities"]
    kinds = {activity["type"] for activity in found}
    assert {"event", "page", "screen", "profile_create", "attribute_change", "device_change"} <= kinds
    assert "profile_delete" not in kinds, "those of deleted people are asked for"
    deleted = app.send_valid(get("/v1/activities?deleted=true&type=profile_delete")).json["activities"]
    assert [activity["customer_identifiers"]["id"] for activity in deleted] == ["gone"]
    app.send_valid(get(f"/v1/activities?customer_id=cio_{workspace['people']['1']}&id_type=cio_id"))
    app.send(get(f"/v1/activities?customer_id={workspace['people']['1']}&id_type=cio_id"), 400)
    app.send(get("/v1/activities?limit=101"), 400)
    app.send_invalid(get("/v1/activities?limit=x"))


def test_activities_have_a_name_or_a_url(app: Court, workspace: dict[str, Any]) -> None:
    """The names are Customer.io's; that data keeps its types, rudder-transformer's live tests say."""
    [bought] = app.send_valid(get("/v1/customers/1/activities?type=event&name=bought")).json["activities"]
    assert bought["data"] == {"price": 9.5, "lines": [{"sku": "a"}]}
    [page] = app.send_valid(get("/v1/customers/1/activities?type=page")).json["activities"]
    assert (page["url"], "name" in page) == ("https://example.com", False)
    assert page["data"] == {"referrer": "x"}
    [screen] = app.send_valid(get("/v1/customers/1/activities?type=screen")).json["activities"]
    assert screen["name"] == "Home"


def test_exports(app: Court, workspace: dict[str, Any], wire: Wire, sandbox: RunningSandbox) -> None:
    sandbox.settings(export_delay=30)
    export = app.send_valid(Call("POST", "/v1/exports/customers", {"filters": ANYBODY})).json["export"]
    assert (export["status"], export["total"]) == ("pending", 0)
    one = f"/v1/exports/{export['id']}"
    app.send(get(f"{one}/download"), 404)
    sandbox.settings(clock_offset=31)
    done = app.send_valid(get(one)).json["export"]
    assert (done["status"], done["total"]) == ("done", 3)
    app.send_valid(get("/v1/exports"))
    link = app.send_valid(get(f"{one}/download")).json["url"].removeprefix(sandbox.url)
    assert wire.send(get(link)).content_type == "text/csv"
    sandbox.settings(clock_offset=31 + 15 * 60)
    assert wire.send(get(link)).status == 404, "links are good for 15 minutes"
    app.send_invalid(Call("POST", "/v1/exports/customers", {"filters": {}}))
    app.send(get("/v1/exports/999"), 404)
    app.send(get("/v1/exports/999/download"), 404)


def test_imports_and_workspaces(app: Court) -> None:
    files = {
        "people": "id,plan\n1,pro\n",
        "event": "id,name,timestamp\n1,bought,1713484800\n",
        "object": "object_id,name\nacme,Acme\n",
        "relationship": "cio_id,object_type_id,object_id\nnobody,1,acme\n",
    }
    for kind, content in files.items():
        who = {"object_type_id": "1"} if kind == "object" else {"identifier": "cio_id" if kind == "relationship" else "id"}
        with file_server(content, "text/csv") as url:
            body = {"import": {"name": kind, "type": kind, "data_file_url": url, **who}}
            id = app.send_valid(Call("POST", "/v1/imports", body)).json["import"]["id"]
        assert app.send_valid(get(f"/v1/imports/{id}")).json["import"]["state"] == "imported"
    app.send_invalid(Call("POST", "/v1/imports", {"import": {"name": "x", "type": "cars", "data_file_url": "http://x"}}))
    app.send(get("/v1/imports/999"), 404)
    [workspace] = app.send_valid(get("/v1/workspaces")).json["workspaces"]
    assert (workspace["people"], workspace["objects"]) == (1, 1)


@pytest.mark.parametrize(("method", "path"), app_contract.OPERATIONS, ids=lambda part: part.strip("/").replace("/", "."))
def test_credentials_and_the_rate_limit(
    method: str, path: str, app: Court, sandbox: RunningSandbox, workspace: dict[str, Any]
) -> None:
    values = dict.fromkeys(("customer_id", "object_type_id", "collection_id", "export_id", "import_id", "write_id"), "1")
    call = Call(method.upper(), path.format(**values, segment_id=workspace["segment"], object_id="acme"), {})
    for wrong in ("", bearer("wrong"), "Bearer", "Basic c2l0ZS0xOnRyYWNrLWtleS0x"):
        app.send(call.with_headers(Authorization=wrong), 401)
    sandbox.settings(app_requests_per_second=1)
    statuses = [app.send(call).status for _ in range(3)]
    assert 429 in statuses


def test_the_rate_limit_is_ten_a_second_by_default(app: Court, sandbox: RunningSandbox) -> None:
    # Requests of the second before count too, and other tests may have made some.
    time.sleep(1)
    sandbox.settings(app_requests_per_second=10)
    answers = [app.send(get("/v1/workspaces")) for _ in range(12)]
    assert [answer.status for answer in answers][:10] == [200] * 10
    limited = [answer for answer in answers if answer.status == 429]
    assert limited
    assert limited[0].headers["Retry-After"] == "1"
    assert limited[0].json["errors"][0]["detail"].startswith("rate limited to 10 requests per 1s")
