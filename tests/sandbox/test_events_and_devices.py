"""Events, pages, screens, anonymous visitors, and devices."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OTHER_ULID = "01BX5ZZKBKACTAV9WEVGEMMVRZ"


def track(client: Client, identifier: str = "1", **body: object) -> None:
    answer = client.post(f"/api/v1/customers/{identifier}/events", body)
    assert (answer.status, answer.json) == (200, {})


def names(sandbox: RunningSandbox) -> list[tuple[str, str]]:
    return [(each["type"], each["name"]) for each in sandbox.get("events")]


def test_v1_and_v2_record_the_same_event(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="bought", data={"price": 23.45, "l": [1]}, timestamp=1_600_000_000, id=ULID)
    client.event({"id": "1"}, attributes={"price": 23.45, "l": [1]}, timestamp=1_600_000_000, id=OTHER_ULID)
    first, second = sandbox.get("events")
    assert first["attributes"] == second["attributes"] == {"price": 23.45, "l": [1]}
    assert first["timestamp"] == second["timestamp"] == 1_600_000_000
    assert first["person"]["id"] == second["person"]["id"] == "1"
    assert abs(first["received_at"] - time.time()) < 5


def test_an_event_without_a_time_happened_when_it_came(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="bought")
    assert abs(sandbox.get("events")[0]["timestamp"] - time.time()) < 5


def test_pages_and_screens(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="/pricing", type="page")
    track(client, name="Home", type="screen")
    track(client, name="other", type="whatever")
    client.entity(type="person", action="page", identifiers={"id": "1"}, name="/v2")
    client.entity(type="person", action="screen", identifiers={"id": "1"}, name="V2")
    assert names(sandbox) == [
        ("page", "/pricing"),
        ("screen", "Home"),
        ("event", "other"),
        ("page", "/v2"),
        ("screen", "V2"),
    ]


def test_event_names_are_trimmed(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="  bought ")
    assert names(sandbox) == [("event", "bought")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "event name must not be blank"),
        ({"name": "  "}, "event name must not be blank"),
        ({"name": 5}, "event name must not be blank"),
        ({"name": "é" * 51}, "event name cannot be longer than 100 bytes"),
        ({"name": "e", "data": [1]}, "event data must be a hash"),
        ({"name": "e", "data": {"x": "é" * 50_000}}, "event data cannot be longer than 100000 bytes"),
        ({"name": "e", "timestamp": "yesterday"}, "timestamp must be a Unix timestamp in seconds"),
    ],
)
def test_v1_event_errors_have_their_documented_words(client: Client, body: dict[str, object], message: str) -> None:
    for path in ("/api/v1/customers/1/events", "/api/v1/events"):
        answer = client.post(path, body)
        assert answer.status == 400
        assert answer.json == {"meta": {"errors": [message]}}


def test_v1_event_limits_are_inclusive(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="é" * 50, data={"x": "a" * (100_000 - 8)}, timestamp="1600000000")
    assert sandbox.get("events")[0]["timestamp"] == 1_600_000_000


def test_a_repeated_ulid_is_ignored(client: Client, sandbox: RunningSandbox) -> None:
    track(client, name="a", id=ULID)
    track(client, name="b", id=ULID.lower())
    client.event({"id": "2"}, "c", id=ULID)
    client.event({"id": "2"}, "d", id=OTHER_ULID)
    client.event({"id": "2"}, "e")
    client.event({"id": "2"}, "e")
    assert [name for _, name in names(sandbox)] == ["a", "d", "e", "e"]
    sandbox.settings(dedupe_scope="person")
    client.event({"id": "3"}, "f", id=OTHER_ULID)
    client.event({"id": "3"}, "g", id=OTHER_ULID)
    assert [name for _, name in names(sandbox)][-1] == "f"


def test_event_ids_are_forgotten_after_the_set_hours(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(dedupe_hours=24)
    track(client, name="a", id=ULID)
    sandbox.settings(clock_offset=23 * 3600)
    track(client, name="b", id=ULID)
    sandbox.settings(clock_offset=25 * 3600)
    track(client, name="c", id=ULID)
    assert [name for _, name in names(sandbox)] == ["a", "c"]


@pytest.mark.parametrize(("setting", "stored"), [("accept", 2), ("dedupe", 1), ("reject", 0)])
@pytest.mark.parametrize("id", ["order-1", "8" + ULID[1:], ULID[:-1] + "U", ULID + "0"])
def test_an_id_that_is_no_ulid(client: Client, sandbox: RunningSandbox, setting: str, stored: int, id: str) -> None:
    sandbox.settings(invalid_event_id=setting)
    for _ in range(2):
        assert client.event({"id": "1"}, id=id).status == (400 if setting == "reject" else 200)
    assert len(sandbox.get("events")) == stored


@pytest.mark.parametrize(("setting", "people", "events"), [("create", 1, 1), ("drop", 0, 0), ("hold", 0, 1)])
def test_an_event_of_an_unknown_person(client: Client, sandbox: RunningSandbox, setting: str, people: int, events: int) -> None:
    sandbox.settings(event_unknown_person=setting)
    track(client, "jane@example.com", name="bought", id=ULID)
    counts = sandbox.get("counts")
    assert (counts["people"], counts["events"]) == (people, events)
    failed = [each for each in sandbox.get("activities") if each["type"] == "failed_event"]
    assert bool(failed) == (setting == "drop")
    client.put("/api/v1/customers/1", {"email": "JANE@example.com"})
    if setting == "hold":
        assert sandbox.get("events")[0]["person"]["email"].lower() == "jane@example.com"
    track(client, "jane@example.com", name="bought", id=ULID)
    assert len(sandbox.get("events")) == 1


@pytest.mark.parametrize("setting", ["accept", "now", "reject"])
def test_an_event_that_has_not_happened_yet(client: Client, sandbox: RunningSandbox, setting: str) -> None:
    sandbox.settings(future_events=setting)
    later = int(time.time()) + 9999
    assert client.event({"id": "1"}, timestamp=later).status == (400 if setting == "reject" else 200)
    stored = [each["timestamp"] for each in sandbox.get("events")]
    if setting == "accept":
        assert stored == [later]
    elif setting == "now":
        assert abs(stored[0] - time.time()) < 5
    else:
        assert stored == []


def test_anonymous_events_join_the_person_who_gets_their_id(client: Client, sandbox: RunningSandbox) -> None:
    assert client.post("/api/v1/events", {"name": "watched", "anonymous_id": "a1"}).json == {}
    client.post("/api/v1/events", {"name": "left", "anonymous_id": "a2"})
    client.event({"anonymous_id": "a1"}, "v2")
    assert [each["person"] for each in sandbox.get("events")] == [None, None, None]
    client.put("/api/v1/customers/1", {"anonymous_id": "a1"})
    client.post("/api/v1/events", {"name": "later", "anonymous_id": "a1"})
    owners = {each["name"]: (each["person"] or {}).get("id") for each in sandbox.get("events")}
    assert owners == {"watched": "1", "left": None, "v2": "1", "later": "1"}
    assert [each["data"]["events"] for each in sandbox.get("activities") if each["type"] == "anon_merge"] == [2]
    client.put("/api/v1/customers/2", {"anonymous_id": "a1"})
    assert [each["anonymous_id"] for each in sandbox.get("people")] == ["a1", None]


def test_anonymous_events_are_matched_for_30_days(client: Client, sandbox: RunningSandbox) -> None:
    client.post("/api/v1/events", {"name": "watched", "anonymous_id": "a1"})
    sandbox.settings(clock_offset=31 * 86_400)
    client.put("/api/v1/customers/1", {"anonymous_id": "a1"})
    assert sandbox.get("events")[0]["person"] is None


def test_anonymous_merging_can_be_off(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(anonymous_merge=False)
    client.post("/api/v1/events", {"name": "watched", "anonymous_id": "a1"})
    client.put("/api/v1/customers/1", {"anonymous_id": "a1"})
    assert sandbox.get("events")[0]["person"] is None


def test_an_invite_has_no_anonymous_id(client: Client, sandbox: RunningSandbox) -> None:
    body = {"name": "invite", "anonymous_id": "", "data": {"recipient": "new@example.com"}}
    assert client.post("/api/v1/events", body).status == 200
    assert client.post("/api/v1/events", {"name": "none"}).status == 200
    assert [each["anonymous_id"] for each in sandbox.get("events")] == [None, None]
    assert client.post("/api/v1/events", {"name": "e", "anonymous_id": 5}).status == 400


def device(sandbox: RunningSandbox) -> dict[str, Any]:
    [one] = sandbox.get("devices")
    return one  # type: ignore[no-any-return]


def test_v1_and_v2_write_the_same_device(client: Client, sandbox: RunningSandbox) -> None:
    v1 = {"device": {"id": "t", "platform": "ios", "last_used": 1_600_000_000, "attributes": {"device_os": "17"}}}
    assert client.put("/api/v1/customers/1/devices", v1).json == {}
    assert device(sandbox)["attributes"] == {"device_os": "17"}
    v2 = {"token": "t", "platform": "android", "attributes": {"push_enabled": "true"}}
    assert client.entity(type="person", action="add_device", identifiers={"id": "1"}, device=v2).json == {}
    assert (device(sandbox)["token"], device(sandbox)["platform"]) == ("t", "android")
    assert device(sandbox)["attributes"] == {"device_os": "17", "push_enabled": "true"}
    assert abs(device(sandbox)["last_used"] - time.time()) < 5
    assert device(sandbox)["person"]["id"] == "1"
    assert client.delete("/api/v1/customers/1/devices/t", {}).json == {}
    assert sandbox.get("devices") == []


def test_v2_deletes_a_device(client: Client, sandbox: RunningSandbox) -> None:
    client.put("/api/v1/customers/1/devices", {"device": {"id": "a/b", "platform": "ios"}})
    gone = {"type": "person", "action": "delete_device", "identifiers": {"id": "1"}, "device": {"token": "a/b"}}
    assert client.entity(**gone).json == {}
    assert client.entity(**gone).json == {}
    assert sandbox.get("devices") == []
    assert client.delete("/api/v1/customers/1/devices/a%2Fb").json == {}


def test_devices_as_real_clients_send_them(client: Client, sandbox: RunningSandbox) -> None:
    go = {"device": {"id": "go", "platform": "ios", "last_used": "1600000000", "attributes": None}}
    python = {"device": {"id": "py", "platform": "android", "last_used": 1_600_000_000, "extra": "x"}}
    assert client.put("/api/v1/customers/1/devices", go).status == 200
    assert client.put("/api/v1/customers/1/devices", python).status == 200
    assert [(each["last_used"], each["attributes"]) for each in sandbox.get("devices")] == [
        (1_600_000_000, {}),
        (1_600_000_000, {"extra": "x"}),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        {"platform": "ios"},
        {"id": "", "platform": "ios"},
        {"id": "t"},
        {"id": "t", "platform": "windows"},
        {"id": "t", "platform": "ios", "attributes": {"push_enabled": True}},
        {"id": "t", "platform": "ios", "attributes": []},
        {"id": "t", "platform": "ios", "last_used": "now"},
        {"token": "t", "platform": "ios"},
    ],
)
def test_wrong_devices_are_refused(client: Client, sandbox: RunningSandbox, wrong: object) -> None:
    answer = client.put("/api/v1/customers/1/devices", {"device": wrong})
    assert answer.status == 400
    assert len(answer.json["meta"]["errors"]) == 1
    assert sandbox.get("devices") == []


@pytest.mark.parametrize(("setting", "owners"), [("move", ["2"]), ("share", ["1", "2"])])
def test_a_token_that_two_people_register(client: Client, sandbox: RunningSandbox, setting: str, owners: list[str]) -> None:
    sandbox.settings(device_owner=setting)
    for id in ("1", "2"):
        client.put(f"/api/v1/customers/{id}/devices", {"device": {"id": "t", "platform": "ios"}})
    assert [each["person"]["id"] for each in sandbox.get("devices")] == owners


@pytest.mark.parametrize(("setting", "count"), [("create", 1), ("ignore", 0)])
def test_a_device_of_an_unknown_person(client: Client, sandbox: RunningSandbox, setting: str, count: int) -> None:
    sandbox.settings(device_unknown_person=setting)
    client.put("/api/v1/customers/1/devices", {"device": {"id": "t", "platform": "ios"}})
    counts = sandbox.get("counts")
    assert (counts["people"], counts["devices"]) == (count, count)
