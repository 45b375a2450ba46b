"""The App API's reads of people, activities and exports, its paging and its rate limit."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client


def test_people_are_found_by_email(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, email="jane+x@example.com")
    cio_id = sandbox.get("people")[0]["cio_id"]
    encoded = client.get("/v1/customers?email=JANE%2Bx%40example.com")
    assert encoded.json == {"results": [{"email": "jane+x@example.com", "id": "1", "cio_id": cio_id}]}
    # An unencoded plus is a space, which finds nobody and is no error.
    assert client.get("/v1/customers?email=jane+x@example.com").json == {"results": []}
    assert client.get("/v1/customers").status == 400


def test_a_person_is_read_back_as_strings(client: Client, sandbox: RunningSandbox) -> None:
    client.identify(
        {"id": "a/b"}, email="jane@example.com", n=1, f=1.5, b=True, o={"a": [1, "ü"]}, s="x", unsubscribed="TRUE",
        cio_subscription_preferences={"topics": {"topic_1": True, "topic_2": False}},
    )  # fmt: skip
    device = {"token": "t", "platform": "ios", "last_used": 1_600_000_000, "attributes": {"device_os": "17"}}
    client.entity(type="person", action="add_device", identifiers={"id": "a/b"}, device=device)
    person = sandbox.get("people")[0]
    answer = client.get("/v1/customers/a%2Fb/attributes")
    customer = answer.json["customer"]
    assert customer["id"] == "a/b"
    assert customer["identifiers"] == {"id": "a/b", "email": "jane@example.com", "cio_id": person["cio_id"]}
    assert customer["attributes"] == {
        "id": "a/b",
        "email": "jane@example.com",
        "cio_id": person["cio_id"],
        "_created_in_customerio_at": str(person["created_at"]),
        "n": "1",
        "f": "1.5",
        "b": "true",
        "o": '{"a":[1,"ü"]}',
        "s": "x",
        "unsubscribed": "TRUE",
        "cio_subscription_preferences": '{"topics":{"topic_1":true,"topic_2":false}}',
    }
    assert customer["unsubscribed"] is True
    assert customer["devices"] == [
        {"id": "t", "platform": "ios", "last_used": 1_600_000_000, "attributes": {"device_os": "17"}}
    ]
    assert abs(customer["timestamps"]["n"] - time.time()) < 5
    for id_type, value in (
        ("email", "JANE@example.com"),
        ("cio_id", person["cio_id"]),
        ("cio_id", f"cio_{person['cio_id']}"),
    ):
        path = f"/v1/customers/{quote(value, safe='')}/attributes?id_type={id_type}"
        assert client.get(path).json == answer.json
    preferences = client.get("/v1/customers/a%2Fb/subscription_preferences").json["customer"]
    assert [(each["id"], each["subscribed"]) for each in preferences["topics"]] == [(1, True), (2, False)]
    assert client.get("/v1/customers/a%2Fb/messages").json["messages"] == []


@pytest.mark.parametrize("rest", ["attributes", "activities", "segments", "relationships", "messages"])
def test_unknown_people_are_404(client: Client, rest: str) -> None:
    answer = client.get(f"/v1/customers/nobody/{rest}")
    assert answer.status == 404
    assert answer.json["errors"][0]["status"] == "404"
    assert client.get(f"/v1/customers/nobody/{rest}?id_type=shoe").status == 400


def test_up_to_a_hundred_people_at_once(client: Client) -> None:
    client.batch(*({"type": "person", "action": "identify", "identifiers": {"id": str(i)}} for i in range(3)))
    answer = client.post("/v1/customers/attributes", {"ids": ["2", "nobody", "0"]})
    assert [each["customer"]["id"] for each in answer.json["customers"]] == ["2", "0"]
    assert client.post("/v1/customers/attributes?id_type=email", {"ids": ["a@b.c"]}).json == {"customers": []}
    assert client.post("/v1/customers/attributes", {"ids": ["x"] * 100}).status == 200
    wrongs: list[object] = [{}, {"ids": []}, {"ids": ["x"] * 101}, {"ids": "x"}, {"ids": [5]}]
    for wrong in wrongs:
        assert client.post("/v1/customers/attributes", wrong).status == 400


def test_people_are_found_by_filter(client: Client) -> None:
    segment = client.post("/v1/segments", {"segment": {"name": "vip"}}).json["segment"]["id"]
    for i, plan in enumerate(("pro", "free", None)):
        client.identify({"id": str(i)}, plan=plan, n=i, flag=True)
    client.identify({"email": "no-id@example.com"})
    client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": ["1", "2"]})

    def found(filter: object) -> list[str]:
        answer = client.post("/v1/customers", {"filter": filter})
        assert answer.status == 200
        assert [each["id"] or "" for each in answer.json["identifiers"]] == answer.json["ids"]
        ids: list[str] = answer.json["ids"]
        return ids

    def attribute(field: str, operator: str, *value: object) -> dict[str, object]:
        return {"attribute": {"field": field, "operator": operator, **({"value": value[0]} if value else {})}}

    assert found(attribute("plan", "exists")) == ["0", "1"]
    assert found(attribute("plan", "eq", "pro")) == ["0"]
    assert found(attribute("n", "eq", "2")) == ["2"]
    assert found(attribute("flag", "eq", True)) == ["0", "1", "2"]
    assert found(attribute("email", "exists")) == [""]
    assert found({"segment": {"id": segment}}) == ["1", "2"]
    assert found({"and": [{"segment": {"id": segment}}, {"not": attribute("plan", "exists")}]}) == ["2"]
    assert found({"or": [attribute("plan", "eq", "free"), attribute("n", "eq", "0")]}) == ["0", "1"]


@pytest.mark.parametrize(
    "filter",
    [
        None,
        {},
        {"and": {}},
        {"not": []},
        {"segment": {"id": "1"}},
        {"segment": {"id": 999}},
        {"attribute": {"field": "x", "operator": "gt", "value": "1"}},
        {"attribute": {"field": "x", "operator": "eq"}},
        {"attribute": {"operator": "exists"}},
        {"and": [], "or": []},
        {"xor": []},
    ],
)
def test_wrong_filters(client: Client, filter: object) -> None:
    for path, key in (("/v1/customers", "filter"), ("/v1/exports/customers", "filters")):
        answer = client.post(path, {key: filter})
        assert answer.status == 400
        assert isinstance(answer.json["errors"][0]["detail"], str)


def test_searches_are_paged(client: Client) -> None:
    client.batch(
        *(
            {"type": "person", "action": "identify", "identifiers": {"id": str(i)}, "attributes": {"odd": i % 2}}
            for i in range(120)
        )
    )
    filter = {"attribute": {"field": "odd", "operator": "eq", "value": "1"}}
    first = client.post("/v1/customers", {"filter": filter}).json
    assert len(first["ids"]) == 50
    rest = client.post(f"/v1/customers?limit=1000&start={first['next']}", {"filter": filter}).json
    assert first["ids"] + rest["ids"] == [str(i) for i in range(1, 120, 2)]
    assert rest["next"] == ""
    assert client.post("/v1/customers?limit=1001", {"filter": filter}).status == 400


def test_activities_are_filtered_and_paged_newest_first(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, email="jane@example.com", plan="pro")
    cio_id = sandbox.get("people")[0]["cio_id"]
    for i in range(12):
        client.event({"id": "1"}, f"e{i}", attributes={"i": i})
    client.event({"id": "2"}, "other")
    page = client.get("/v1/activities?type=event&customer_id=1").json
    assert [each["name"] for each in page["activities"]] == [f"e{i}" for i in range(11, 1, -1)]
    newest = page["activities"][0]
    assert {**newest, "id": "", "timestamp": 0} == {
        "id": "",
        "type": "event",
        "timestamp": 0,
        "name": "e11",
        "data": {"i": 11},
        "customer_id": "1",
        "customer_identifiers": {"id": "1", "email": "jane@example.com", "cio_id": cio_id},
    }
    rest = client.get(f"/v1/activities?type=event&customer_id=1&start={page['next']}").json
    assert [each["name"] for each in rest["activities"]] == ["e1", "e0"]
    assert rest["next"] == ""
    assert client.get("/v1/activities?name=other").json["activities"][0]["customer_id"] == "2"
    changed = client.get("/v1/activities?type=attribute_change").json["activities"][0]
    assert changed["data"]["plan"] == {"from": "", "to": "pro"}
    by_email = client.get("/v1/activities?customer_id=jane@example.com&id_type=email&limit=100").json
    by_cio_id = client.get(f"/v1/activities?customer_id=cio_{cio_id}&id_type=cio_id&limit=100").json
    own = client.get("/v1/customers/1/activities?limit=100").json
    assert len(own["activities"]) == 14
    assert by_email == by_cio_id == own
    assert client.get(f"/v1/activities?customer_id={cio_id}&id_type=cio_id").status == 400
    assert client.get("/v1/activities?customer_id=nobody").json["activities"] == []
    assert client.get("/v1/activities?limit=101").status == 400


def test_activities_of_deleted_people_are_asked_for(client: Client) -> None:
    client.identify({"id": "1"}, plan="pro")
    client.delete("/api/v1/customers/1")
    assert client.get("/v1/activities").json["activities"] == []
    shown = client.get("/v1/activities?deleted=true&customer_id=1").json["activities"]
    assert [each["type"] for each in shown] == ["profile_delete", "attribute_change", "profile_create"]


def test_activities_last_30_days(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, plan="pro")
    sandbox.settings(clock_offset=29 * 86_400)
    assert len(client.get("/v1/activities").json["activities"]) == 2
    sandbox.settings(clock_offset=31 * 86_400)
    assert client.get("/v1/activities").json["activities"] == []


def test_an_export_is_made_and_its_link_expires(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, plan="pro", n=5)
    client.identify({"id": "2"}, plan="free")
    sandbox.settings(export_delay=10)
    filters = {"attribute": {"field": "plan", "operator": "exists"}}
    export = client.post("/v1/exports/customers", {"filters": filters}).json["export"]
    assert (export["status"], export["total"], export["type"], export["failed"]) == ("pending", 0, "customers", False)
    path = f"/v1/exports/{export['id']}"
    assert client.get(f"{path}/download").status == 404
    sandbox.settings(clock_offset=11)
    done = client.get(path).json["export"]
    assert (done["status"], done["total"], done["downloads"]) == ("done", 2, 0)
    link = client.get(f"{path}/download").json["url"].removeprefix(sandbox.url)
    lines = client.get(link).body.decode().splitlines()
    assert lines[0].startswith("id,email,cio_id")
    assert {line.split(",")[0] for line in lines[1:]} == {"1", "2"}
    assert client.get("/v1/exports").json["exports"][0]["downloads"] == 1
    sandbox.settings(clock_offset=11 + 15 * 60 + 1)
    assert client.get(link).status == 404
    assert client.get("/v1/exports/999").status == 404
    assert client.get("/v1/exports/999/download").status == 404


def test_workspaces_count(client: Client) -> None:
    client.identify({"id": "1"})
    client.object("acme")
    [workspace] = client.get("/v1/workspaces").json["workspaces"]
    assert (workspace["id"], workspace["people"], workspace["object_types"], workspace["objects"]) == (1, 1, 2, 1)


def test_the_app_api_takes_ten_requests_a_second(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(app_requests_per_second=10)
    answers = [client.get("/v1/segments") for _ in range(14)]
    assert [answer.status for answer in answers[:10]] == [200] * 10
    refused = answers[-1]
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.json["errors"][0]["status"] == "429"
    assert "rate limited to 10 requests per 1s" in refused.json["errors"][0]["detail"]
    assert client.get("/api/v1/accounts/region").status == 200
    time.sleep(1.05)
    assert client.get("/v1/segments").status == 200
