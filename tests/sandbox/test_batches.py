"""Track v2 batches, and the sizes that the APIs publish."""

from __future__ import annotations

import json
import time

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client


def identify(id: str, /, **attributes: object) -> dict[str, object]:
    return {"type": "person", "action": "identify", "identifiers": {"id": id}, "attributes": attributes}


def sized(id: str, size: int) -> dict[str, object]:
    """An identify whose compact JSON has this many bytes."""
    operation = identify(id, **{f"a{i}": "x" * 990 for i in range((size - 150) // 1000)}, pad="")
    missing = size - len(json.dumps(operation, separators=(",", ":")))
    assert 0 <= missing <= 1000
    operation["attributes"]["pad"] = "x" * missing  # type: ignore[index]
    assert len(json.dumps(operation, separators=(",", ":"))) == size
    return operation


def test_a_batch_mixes_everything(client: Client, sandbox: RunningSandbox) -> None:
    answer = client.batch(
        identify("1", plan="pro"),
        {"type": "person", "action": "event", "identifiers": {"id": "1"}, "name": "bought"},
        {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}},
        {"type": "delivery", "action": "event", "identifiers": {"id": "d"}, "name": "opened",
         "attributes": {"device_token": "t"}},
    )  # fmt: skip
    assert (answer.status, answer.json) == (200, {})
    counts = sandbox.get("counts")
    assert (counts["people"], counts["events"], counts["objects"]) == (1, 1, 1)
    assert sandbox.get("deliveries")[0]["metric"] == "opened"


def test_a_207_names_the_invalid_and_accepts_the_rest(client: Client, sandbox: RunningSandbox) -> None:
    answer = client.batch(identify("0"), identify(""), identify("2"), {"type": "person"}, "x", identify("5"))
    assert answer.status == 207
    assert [each["batch_index"] for each in answer.json["errors"]] == [1, 3, 4]
    assert all(set(each) == {"batch_index", "reason", "field", "message"} for each in answer.json["errors"])
    assert answer.json["errors"][0]["field"] == "identifiers.id"
    assert [each["id"] for each in sandbox.get("people")] == ["0", "2", "5"]


def test_a_batch_of_nothing_but_errors_is_a_207(client: Client) -> None:
    answer = client.batch({"type": "nobody"})
    assert answer.status == 207
    assert answer.json["errors"][0]["batch_index"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"batch":{}}', b'{"batch":null}', b'{"batch":[NaN]}', b'{"batch":[{"x":1e999}]}',
     b'{"batch":[' + b"[" * 50_000 + b"]" * 50_000 + b"]}", b"\xff\xfe", b'{"batch":["\\ud800"]}'],
)  # fmt: skip
def test_a_malformed_batch_is_refused_whole(client: Client, body: bytes) -> None:
    for path in ("/api/v2/batch", "/api/v2/entity"):
        answer = client.post(path, body)
        assert answer.status == 400
        assert set(answer.json["errors"][0]) == {"reason", "field", "message"}


@pytest.mark.parametrize(("setting", "status"), [("400", 400), ("200", 200)])
def test_an_empty_batch(client: Client, sandbox: RunningSandbox, setting: str, status: int) -> None:
    sandbox.settings(empty_batch=setting)
    assert client.batch().status == status


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ({}, "type"),
        ({"type": "segment", "action": "add"}, "type"),
        ({"type": "person"}, "action"),
        ({"type": "person", "action": "hug", "identifiers": {"id": "1"}}, "action"),
        ({"type": ["person"], "action": "identify"}, "type"),
        ({"type": "person", "action": "identify"}, "identifiers"),
        ({"type": "person", "action": "identify", "identifiers": {}}, "identifiers"),
        ({"type": "person", "action": "identify", "identifiers": {"id": "1", "email": "a@b.c"}}, "identifiers"),
        ({"type": "person", "action": "identify", "identifiers": {"id": 1}}, "identifiers.id"),
        ({"type": "person", "action": "identify", "identifiers": {"id": None}}, "identifiers.id"),
        ({"type": "person", "action": "identify", "identifiers": {"email": "nobody"}}, "identifiers.email"),
        ({"type": "person", "action": "identify", "identifiers": {"phone": "555"}}, "identifiers.phone"),
        ({"type": "person", "action": "identify", "identifiers": {"shoe": "9"}}, "identifiers.shoe"),
        ({"type": "person", "action": "identify", "identifiers": {"anonymous_id": "9"}}, "identifiers.anonymous_id"),
        ({**identify("1"), "attributes": []}, "attributes"),
        ({**identify("1"), "timestamp": "1600000000"}, "timestamp"),
        ({**identify("1"), "timestamp": 1.5}, "timestamp"),
        ({**identify("1"), "timestamp": True}, "timestamp"),
        ({**identify("1"), "timestamp": 10**30}, "timestamp"),
        (identify("1", id=5), "attributes.id"),
        (identify("1", id=""), "attributes.id"),
        ({**identify("1"), "action": "event"}, "name"),
        ({**identify("1"), "action": "event", "name": "x", "attributes": "y"}, "attributes"),
        ({**identify("1"), "action": "event", "name": "x", "id": 5}, "id"),
        ({**identify("1"), "action": "add_device"}, "device"),
        ({**identify("1"), "action": "add_device", "device": {"id": "t", "platform": "ios"}}, "device.token"),
        ({**identify("1"), "action": "delete_device", "device": {}}, "device.token"),
        ({**identify("1"), "action": "add_relationships"}, "cio_relationships"),
        ({"type": "person", "action": "merge", "primary": {"id": "1"}}, "secondary"),
        ({"type": "person", "action": "merge", "primary": {"id": "1", "email": "a@b.c"}}, "primary"),
        ({"type": "delivery", "action": "event", "name": "opened"}, "identifiers.id"),
        ({"type": "delivery", "action": "event", "name": "seen", "identifiers": {"id": "d"}}, "name"),
        ({"type": "delivery", "action": "event", "name": "opened", "identifiers": {"id": "d"}},
         "attributes.device_token"),
    ],
)  # fmt: skip
def test_invalid_operations_name_the_field(
    client: Client, sandbox: RunningSandbox, operation: dict[str, object], field: str
) -> None:
    alone = client.post("/api/v2/entity", operation)
    assert alone.status == 400
    assert alone.json["errors"][0]["field"] == field
    batched = client.batch(identify("ok"), operation)
    assert batched.status == 207
    assert batched.json["errors"] == [{"batch_index": 1, **alone.json["errors"][0]}]
    assert [each["id"] for each in sandbox.get("people")] == ["ok"]


LONG = [
    ({"é" * 75: 1}, {"é" * 75 + "x": 1}, "attribute name cannot be longer than 150 bytes"),
    ({"a": "é" * 500}, {"a": "é" * 501}, "value for attribute 'a' cannot be longer than 1000 bytes"),
    ({"a": ["x" * 996]}, {"a": ["x" * 997]}, "value for attribute 'a' cannot be longer than 1000 bytes"),
    (
        {f"a{i}": i for i in range(300)},
        {f"a{i}": i for i in range(301)},
        "cannot identify more than 300 attributes in one request",
    ),
]


@pytest.mark.parametrize(("fits", "too_long", "message"), LONG)
def test_attribute_limits(
    client: Client, sandbox: RunningSandbox, fits: dict[str, object], too_long: dict[str, object], message: str
) -> None:
    assert client.identify({"id": "1"}, **fits).status == 200
    assert client.put("/api/v1/customers/2", fits).status == 200
    assert client.object("acme", attributes=fits).status == 200
    assert client.identify({"id": "3"}, **too_long).json["errors"][0]["message"] == message
    assert client.put("/api/v1/customers/4", too_long).json == {"meta": {"errors": [message]}}
    assert client.object("beta", attributes=too_long).json["errors"][0]["message"] == message
    assert [each["id"] for each in sandbox.get("people")] == ["1", "2"]


def test_a_person_has_at_most_300_attributes(client: Client, sandbox: RunningSandbox) -> None:
    client.identify({"id": "1"}, **{f"a{i}": i for i in range(300)})
    client.identify({"id": "1"}, a0="new", b0="over")
    attributes = sandbox.get("people")[0]["attributes"]
    assert (len(attributes), attributes["a0"], "b0" in attributes) == (300, "new", False)
    failed = [each for each in sandbox.get("activities") if each["type"] == "failed_attribute_change"]
    assert failed[0]["data"] == {"b0": {"from": "", "to": "over"}}


def test_id_limits(client: Client) -> None:
    assert client.identify({"id": "é" * 75}).status == 200
    assert client.identify({"id": "é" * 75 + "x"}).status == 400
    assert client.put("/api/v1/customers/" + "x" * 150, {}).status == 200
    assert client.put("/api/v1/customers/" + "x" * 151, {}).status == 400


@pytest.mark.parametrize(
    ("id", "message"),
    [(5, "id attribute must be a string value"), ("", "id attribute cannot be an empty string")],
)
def test_v1_id_errors_have_their_documented_words(client: Client, id: object, message: str) -> None:
    answer = client.put("/api/v1/customers/jane@example.com", {"id": id})
    assert answer.json == {"meta": {"errors": [message]}}


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"a":Infinity}'])
def test_v1_bodies_are_json_objects(client: Client, body: bytes) -> None:
    for method, path in (
        ("PUT", "/api/v1/customers/1"),
        ("POST", "/api/v1/customers/1/events"),
    ):
        answer = client.call(method, path, body)
        assert answer.status == 400
        assert answer.json["meta"]["errors"]
    assert client.post("/api/v1/merge_customers", body).json["meta"]["error"]


def test_objects_hold_100_kilobytes(client: Client) -> None:
    attributes = {f"a{i:03}": "x" * 996 for i in range(100)}
    body = {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
    client.post("/_sandbox/settings", {"entity_bytes": 200_000})
    assert client.post("/api/v2/entity", {**body, "attributes": attributes}).status == 200
    answer = client.post("/api/v2/entity", {**body, "attributes": {**attributes, "b": ""}})
    assert answer.json["errors"][0]["message"] == "attributes cannot be larger than 100000 bytes in total"


def compact(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def test_an_operation_has_at_most_32_kilobytes(client: Client, sandbox: RunningSandbox) -> None:
    fits, too_large = sized("1", 32_000), sized("2", 32_001)
    assert client.post("/api/v2/entity", compact(fits)).status == 200
    assert client.post("/api/v2/entity", compact(too_large)).status == 400
    answer = client.batch(fits, too_large, sized("3", 31_000))
    assert answer.status == 207
    assert [each["batch_index"] for each in answer.json["errors"]] == [1]
    assert [each["id"] for each in sandbox.get("people")] == ["1", "3"]


def test_a_batch_has_at_most_500_kilobytes(client: Client, sandbox: RunningSandbox) -> None:
    operations = [sized(str(i), 31_000) for i in range(16)]
    missing = 500_000 - len(compact({"batch": operations}))
    fits = compact({"batch": [*operations, sized("last", missing - 1)]})
    assert len(fits) == 500_000
    assert client.post("/api/v2/batch", fits).status == 200
    assert len(sandbox.get("people")) == 17
    sandbox.reset()
    answer = client.post("/api/v2/batch", fits + b" ")
    assert (answer.status, "batch_index" in answer.json["errors"][0]) == (400, False)
    assert sandbox.get("people") == []


@pytest.mark.parametrize(("setting", "status"), [("400", 400), ("413", 413), ("discard", 200)])
def test_what_oversize_gets(client: Client, sandbox: RunningSandbox, setting: str, status: int) -> None:
    sandbox.settings(oversize=setting)
    assert client.post("/api/v2/entity", compact(sized("1", 32_001))).status == status
    assert client.post("/api/v2/batch", b'{"batch":[]}' + b" " * 500_000).status == status
    answer = client.batch(sized("2", 32_001), identify("3"))
    assert answer.status == (200 if setting == "discard" else 207)
    assert [each["id"] for each in sandbox.get("people")] == ["3"]


def test_a_large_batch_is_quick(client: Client, sandbox: RunningSandbox) -> None:
    operations = [
        identify(f"u{i}", email=f"u{i}@example.com", plan="pro", n=i, city="Oslo", created_at=1_600_000_000)
        for i in range(1500)
    ]
    began = time.perf_counter()
    assert client.batch(*operations).status == 200
    # Some 100 ms on one core of 2020's; the bound leaves room for a busy machine.
    assert time.perf_counter() - began < 2
    assert sandbox.get("counts")["people"] == 1500


def test_the_request_log_counts_operations_and_bytes(client: Client, sandbox: RunningSandbox) -> None:
    body = compact({"batch": [identify("1"), identify("2"), {}]})
    client.post("/api/v2/batch", body)
    client.get("/v1/segments?x=1")
    first, second = sandbox.get("requests")
    assert {**first, "time": 0} == {
        "time": 0,
        "api": "track",
        "method": "POST",
        "path": "/api/v2/batch",
        "status": 207,
        "bytes": len(body),
        "operations": 3,
    }
    assert abs(first["time"] - time.time()) < 5
    assert (second["api"], second["path"], second["status"]) == ("app", "/v1/segments?x=1", 200)
    counts = sandbox.get("counts")
    assert (counts["requests"], counts["operations"]) == (2, 3)
