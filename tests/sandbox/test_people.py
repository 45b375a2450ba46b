"""People: identifiers, attributes, times, deleting, suppressing and merging, in both versions of the Track API."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client


def person(sandbox: RunningSandbox) -> dict[str, Any]:
    [one] = sandbox.get("people")
    return one  # type: ignore[no-any-return]


def activities(sandbox: RunningSandbox, type: str) -> list[dict[str, Any]]:
    return [each for each in sandbox.get("activities") if each["type"] == type]


def put(client: Client, identifier: str, **attributes: object) -> None:
    answer = client.put(f"/api/v1/customers/{quote(identifier, safe='')}", attributes)
    assert (answer.status, answer.json) == (200, {})


def test_v1_and_v2_write_the_same_person(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "42", first_name="Jane")
    assert client.identify({"id": "42"}, plan="pro").json == {}
    assert person(sandbox)["id"] == "42"
    assert person(sandbox)["attributes"] == {"first_name": "Jane", "plan": "pro"}


def test_attributes_keep_their_json_types(client: Client, sandbox: RunningSandbox) -> None:
    given = {"t": "x", "i": 1, "f": 1.5, "b": True, "l": [1, "a", None], "o": {"a": {"b": [False]}}, "big": 2**60}
    client.identify({"id": "1"}, **given)
    assert person(sandbox)["attributes"] == given
    assert person(sandbox)["attributes"]["b"] is True
    client.identify({"id": "1"}, i=True)
    assert person(sandbox)["attributes"]["i"] is True


@pytest.mark.parametrize("id", ["a/b", "a b", "ü", "a%2Fb", "a+b", "50%", "a&b=c?d#e", "..x", "😀"])
def test_v1_path_segments_are_decoded_after_splitting(client: Client, sandbox: RunningSandbox, id: str) -> None:
    put(client, id, a=1)
    assert person(sandbox)["id"] == id
    assert client.delete(f"/api/v1/customers/{quote(id, safe='')}", {}).status == 200
    assert sandbox.get("people") == []


def test_v1_path_as_go_writes_it(client: Client, sandbox: RunningSandbox) -> None:
    client.put("/api/v1/customers/a+b=c:d@e&f", {"x": 1})
    assert person(sandbox)["email"] == "a+b=c:d@e&f"


def test_v1_infers_the_identifier_from_its_shape(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "jane@example.com")
    put(client, "+14155552671")
    put(client, "7")
    shown = [(each["id"], each["email"], each["phone"]) for each in sandbox.get("people")]
    assert shown == [(None, "jane@example.com", None), ("+14155552671", None, None), ("7", None, None)]
    put(client, f"cio_{sandbox.get('people')[2]['cio_id']}", seen=True)
    assert sandbox.get("people")[2]["attributes"] == {"seen": True}


def test_cio_id_has_its_prefix_in_v1_only(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1")
    cio_id = person(sandbox)["cio_id"]
    client.identify({"cio_id": cio_id}, a=1)
    client.identify({"cio_id": f"cio_{cio_id}"}, b=1)
    assert person(sandbox)["attributes"] == {"a": 1}
    put(client, cio_id, c=1)
    assert [each["id"] for each in sandbox.get("people")] == ["1", cio_id]


def test_id_is_case_sensitive_and_email_is_not(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "Abc")
    put(client, "abc")
    client.identify({"email": "Jane@Example.com"}, a=1)
    client.identify({"email": "JANE@example.COM"}, b=1)
    assert [each["id"] for each in sandbox.get("people")] == ["Abc", "abc", None]
    assert sandbox.get("people")[2]["attributes"] == {"a": 1, "b": 1}
    assert sandbox.get("people")[2]["email"] == "Jane@Example.com"


def test_an_unknown_path_identifier_relabels_the_owner_of_a_body_identifier(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", email="jane@example.com")
    cio_id = person(sandbox)["cio_id"]
    put(client, "2", email="JANE@example.com", plan="pro")
    put(client, "3", email="jane@example.com")
    assert (person(sandbox)["id"], person(sandbox)["cio_id"]) == ("3", cio_id)
    assert person(sandbox)["attributes"] == {"plan": "pro"}


def test_an_email_path_gets_an_id_from_the_body(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "jane@example.com", id="1")
    put(client, "1", plan="pro")
    assert (person(sandbox)["id"], person(sandbox)["email"]) == ("1", "jane@example.com")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_clashing_identifiers_answer_200_and_log_a_failure(client: Client, sandbox: RunningSandbox, version: str) -> None:
    put(client, "1", email="one@example.com")
    put(client, "2", email="two@example.com")
    if version == "v1":
        put(client, "1", email="two@example.com", plan="pro")
    else:
        assert client.identify({"id": "1"}, email="two@example.com", plan="pro").json == {}
    first, second = sandbox.get("people")
    assert (first["email"], first["attributes"]) == ("one@example.com", {"plan": "pro"})
    assert second["email"] == "two@example.com"
    [failed] = activities(sandbox, "failed_attribute_change")
    assert failed["data"] == {"email": {"from": "one@example.com", "to": "two@example.com"}}
    assert failed["person"]["id"] == "1"


def test_a_set_identifier_changes_by_cio_id_only(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", email="old@example.com")
    put(client, "1", email="new@example.com")
    put(client, "old@example.com", id="2")
    assert (person(sandbox)["id"], person(sandbox)["email"]) == ("1", "old@example.com")
    assert len(activities(sandbox, "failed_attribute_change")) == 2
    put(client, f"cio_{person(sandbox)['cio_id']}", id="2", email="new@example.com")
    assert (person(sandbox)["id"], person(sandbox)["email"]) == ("2", "new@example.com")
    sandbox.settings(email_update_by_id=True)
    put(client, "2", email="newer@example.com")
    assert person(sandbox)["email"] == "newer@example.com"


def test_an_email_changes_its_spelling_freely(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", email="jane@example.com")
    put(client, "1", email="Jane@Example.com")
    assert person(sandbox)["email"] == "Jane@Example.com"
    assert activities(sandbox, "failed_attribute_change") == []


def test_null_and_empty_identifiers_say_nothing(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, email="jane@example.com")
    client.identify({"id": "1"}, email=None, phone="")
    assert person(sandbox)["email"] == "jane@example.com"
    assert person(sandbox)["attributes"] == {}


def test_unknown_and_deleted_cio_ids_are_dropped(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "cio_0123456789ab", a=1)
    assert sandbox.get("people") == []
    put(client, "1")
    cio_id = person(sandbox)["cio_id"]
    client.entity(type="person", action="delete", identifiers={"id": "1"})
    put(client, f"cio_{cio_id}", a=1)
    client.identify({"cio_id": cio_id}, a=1)
    assert sandbox.get("people") == []
    put(client, "1", b=1)
    assert person(sandbox)["cio_id"] != cio_id
    assert person(sandbox)["attributes"] == {"b": 1}


def test_update_creates_nobody(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", _update=True, a=1)
    assert client.identify({"id": "2"}, _update=True, a=1).json == {}
    assert sandbox.get("people") == []
    [missed] = activities(sandbox, "failed_attribute_change")
    assert missed["data"] == {"id": {"from": "", "to": "1"}}
    assert missed["person"] == {"id": "1", "email": None, "cio_id": None}
    [shown] = client.get("/v1/activities?type=failed_attribute_change").json["activities"]
    assert (shown["customer_id"], shown["customer_identifiers"]["id"]) == ("1", "1")
    put(client, "1", email="jane@example.com")
    client.identify({"email": "jane@example.com"}, _update=True, a=1)
    client.identify({"id": "1"}, _update=False, b=1)
    put(client, "9", _update=True, email="jane@example.com", c=1)
    assert person(sandbox)["attributes"] == {"a": 1, "b": 1, "c": 1}
    assert person(sandbox)["id"] == "9"


@pytest.mark.parametrize(("setting", "logged"), [("v1", 1), ("both", 2), ("none", 0)])
def test_which_update_misses_are_logged(client: Client, sandbox: RunningSandbox, setting: str, logged: int) -> None:
    sandbox.settings(update_miss_activity=setting)
    put(client, "1", _update=True)
    client.identify({"id": "1"}, _update=True)
    assert len(activities(sandbox, "failed_attribute_change")) == logged


def test_phone_identifies_in_v2(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"phone": "+14155552671"}, a=1)
    client.identify({"id": "1"}, phone="+14155552671")
    client.identify({"phone": "+14155552671"}, b=1)
    assert person(sandbox)["phone"] == "+14155552671"
    assert person(sandbox)["attributes"] == {"a": 1, "b": 1}
    client.identify({"id": "2"}, phone="555-0100")
    assert sandbox.get("people")[1]["attributes"] == {"phone": "555-0100"}
    client.identify({"id": "2"}, phone="+14155550000")
    client.identify({"id": "2"}, phone="555-0100")
    assert (sandbox.get("people")[1]["phone"], sandbox.get("people")[1]["attributes"]) == ("+14155550000", {})


def test_identifiers_that_cannot_be_are_failed_changes(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, email=5, anonymous_id=[1], plan="pro")
    assert (person(sandbox)["email"], person(sandbox)["attributes"]) == (None, {"plan": "pro"})
    [failed] = activities(sandbox, "failed_attribute_change")
    assert failed["data"] == {"email": {"from": "", "to": "5"}, "anonymous_id": {"from": "", "to": "[1]"}}


def test_identifiers_that_are_not_enabled_are_attributes(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(identifiers="id")
    client.identify({"id": "1"}, phone="+14155552671", email="a@example.com")
    client.identify({"id": "2"}, phone="+14155552671", email="a@example.com")
    put(client, "b@example.com")
    people = sandbox.get("people")
    assert [each["id"] for each in people] == ["1", "2", "b@example.com"]
    assert people[0]["attributes"] == people[1]["attributes"] == {"phone": "+14155552671", "email": "a@example.com"}
    assert client.identify({"phone": "+14155552671"}).status == 400
    assert client.identify({"email": "a@example.com"}).status == 400
    assert client.get("/v1/customers/a@example.com/attributes?id_type=email").status == 400


@pytest.mark.parametrize(
    ("setting", "left"),
    [("both", {}), ("null", {"e": ""}), ("empty", {"n": None}), ("none", {"n": None, "e": ""})],
)
def test_what_removes_an_attribute(client: Client, sandbox: RunningSandbox, setting: str, left: dict[str, object]) -> None:
    sandbox.settings(person_unset=setting)
    client.identify({"id": "1"}, n="x", e="x", zero=0, no=False)
    client.identify({"id": "1"}, n=None, e="", zero=0, no=False)
    assert person(sandbox)["attributes"] == {"zero": 0, "no": False, **left}


def test_nested_attributes_replace_or_merge(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, o={"a": 1, "b": {"c": 1}})
    client.identify({"id": "1"}, o={"b": {"d": 2}})
    assert person(sandbox)["attributes"] == {"o": {"b": {"d": 2}}}
    sandbox.settings(nested_attributes="merge")
    client.identify({"id": "1"}, o={"b": {"e": 3}, "l": [1]})
    assert person(sandbox)["attributes"] == {"o": {"b": {"d": 2, "e": 3}, "l": [1]}}


def test_one_subscription_topic_changes_alone(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, cio_subscription_preferences={"topics": {"topic_1": True, "topic_2": True}})
    client.identify({"id": "1"}, **{"cio_subscription_preferences.topics.topic_1": False, "a.b": 1})
    assert person(sandbox)["attributes"] == {
        "cio_subscription_preferences": {"topics": {"topic_1": False, "topic_2": True}},
        "a.b": 1,
    }


NOW = int(time.time())


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ("attribute", {"a": "late", "b": "early"}),
        ("profile", {"a": "late"}),
        ("apply", {"a": "early", "b": "early"}),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_stale_timestamps(client: Client, sandbox: RunningSandbox, setting: str, left: dict[str, object], version: str) -> None:
    sandbox.settings(stale_timestamps=setting)
    for when, attributes in ((NOW - 10, {"a": "late"}), (NOW - 20, {"a": "early", "b": "early"})):
        if version == "v1":
            put(client, "1", _timestamp=when, **attributes)
        else:
            client.entity(type="person", action="identify", identifiers={"id": "1"}, attributes=attributes, timestamp=when)
    assert person(sandbox)["attributes"] == left
    assert bool(activities(sandbox, "skipped_update")) == (setting != "apply")


def test_equal_and_future_timestamps_apply(client: Client, sandbox: RunningSandbox) -> None:
    for value, when in (("a", NOW - 5), ("b", NOW - 5), ("c", NOW + 9999)):
        client.entity(type="person", action="identify", identifiers={"id": "1"}, attributes={"x": value}, timestamp=when)
    client.identify({"id": "1"}, x="d")
    assert person(sandbox)["attributes"] == {"x": "d"}


def test_delete_takes_everything_along(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", email="jane@example.com")
    client.event({"id": "1"})
    client.put("/api/v1/customers/1/devices", {"device": {"id": "t", "platform": "ios"}})
    client.object("acme", cio_relationships=[{"identifiers": {"id": "1"}}])
    assert client.delete("/api/v1/customers/jane@example.com").json == {}
    assert client.delete("/api/v1/customers/nobody").json == {}
    counts = sandbox.get("counts")
    assert [counts[name] for name in ("people", "events", "devices", "relationships", "objects")] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_suppressed_identifiers_are_ignored_until_freed(client: Client, sandbox: RunningSandbox, version: str) -> None:
    def act(action: str, identifier: dict[str, str]) -> None:
        if version == "v1":
            [value] = identifier.values()
            # Ruby sends no body here, Node and Python an empty object.
            assert client.post(f"/api/v1/customers/{value}/{action}").json == {}
        else:
            assert client.entity(type="person", action=action, identifiers=identifier).json == {}

    put(client, "1", email="jane@example.com", plan="pro")
    act("suppress", {"id": "1"})
    assert sandbox.get("people") == []
    put(client, "1", a=1)
    put(client, "JANE@example.com", a=1)
    put(client, "2", email="jane@example.com")
    client.event({"id": "1"})
    client.entity(type="person", action="add_device", identifiers={"id": "1"}, device={"token": "t", "platform": "ios"})
    client.object("acme", cio_relationships=[{"identifiers": {"id": "1"}}])
    counts = sandbox.get("counts")
    assert [counts[name] for name in ("people", "events", "devices", "relationships")] == [0, 0, 0, 0]
    assert sandbox.get("suppressed") == [
        {"kind": "email", "value": "jane@example.com"},
        {"kind": "id", "value": "1"},
    ]
    act("unsuppress", {"email": "jane@example.com"})
    put(client, "1", email="jane@example.com")
    assert person(sandbox)["attributes"] == {}


def test_an_unknown_identifier_can_be_suppressed(client: Client, sandbox: RunningSandbox) -> None:
    client.post("/api/v1/customers/9/suppress", {})
    put(client, "9")
    assert sandbox.get("people") == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_merge(client: Client, sandbox: RunningSandbox, version: str) -> None:
    put(client, "1", plan="pro", city="")
    client.identify({"id": "2"}, plan="free", city="Oslo", email="two@example.com")
    client.event({"id": "2"}, "bought", id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    client.object("acme", cio_relationships=[{"identifiers": {"id": "2"}}])
    segment = client.post("/v1/segments", {"segment": {"name": "s"}}).json["segment"]["id"]
    client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": ["2"]})
    gone = sandbox.get("people")[1]["cio_id"]
    sides = {"primary": {"id": "1"}, "secondary": {"cio_id": gone}}
    if version == "v1":
        assert client.post("/api/v1/merge_customers", sides).json == {}
    else:
        assert client.entity(type="person", action="merge", **sides).json == {}
    kept = person(sandbox)
    assert (kept["id"], kept["email"]) == ("1", "two@example.com")
    assert kept["attributes"] == {"plan": "pro", "city": "Oslo"}
    assert sandbox.get("events")[0]["person"]["id"] == "1"
    assert sandbox.get("relationships")[0]["person"]["id"] == "1"
    assert sandbox.get("segments")[0]["members"][0]["id"] == "1"
    assert activities(sandbox, "profile_merge")


def test_merge_without_a_primary_does_nothing(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "2")
    both = {"primary": {"id": "1"}, "secondary": {"id": "2"}}
    assert client.post("/api/v1/merge_customers", both).json == {}
    assert person(sandbox)["id"] == "2"


@pytest.mark.parametrize(
    "body", [{}, {"primary": {"id": "1"}}, {"primary": {"id": "1", "email": "a@b.c"}, "secondary": {"id": "2"}}]
)
def test_merge_refuses_in_its_own_shape(client: Client, body: dict[str, object]) -> None:
    answer = client.post("/api/v1/merge_customers", body)
    assert answer.status == 400
    assert isinstance(answer.json["meta"]["error"], str)


def test_forms_identify(client: Client, sandbox: RunningSandbox) -> None:
    data = {"email": "jane@example.com", "food": "pizza", "form_id": "ignored"}
    assert client.post("/api/v1/forms/f1/submit", {"data": data}).status == 204
    assert person(sandbox)["attributes"] == {"food": "pizza"}
    both = {"email": "jane@example.com", "id": "1"}
    assert client.post("/api/v1/forms/f1/submit", {"data": both}).status == 400
    assert client.post("/api/v1/forms/f1/submit", {"data": {"email_address": "a@b.c"}}).status == 400
    assert client.post("/api/v1/forms/f1/submit", {}).status == 400


def test_activities_tell_what_changed(client: Client, sandbox: RunningSandbox) -> None:
    put(client, "1", plan="pro", n=1)
    put(client, "1", plan="free", n=1)
    assert len(activities(sandbox, "profile_create")) == 1
    created, changed = activities(sandbox, "attribute_change")
    assert created["data"] == {"plan": {"from": "", "to": "pro"}, "n": {"from": "", "to": "1"}}
    assert changed["data"] == {"plan": {"from": "pro", "to": "free"}}
    put(client, "1", plan="free", n=1)
    assert len(activities(sandbox, "attribute_change")) == 2
