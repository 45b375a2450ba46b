"""The sizes that Customer.io publishes: what just fits is taken, one more is refused, in UTF-8 bytes.

Sources: Customer.io's Track OpenAPI, info; docs.customer.io/journeys/invalid-api-requests for the words of v1.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .judge import Court
from .wire import Call, segment

PERSON: dict[str, Any] = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}


def entity(operation: dict[str, Any] | bytes) -> Call:
    return Call("POST", "/api/v2/entity", operation)


def identify(attributes: dict[str, Any]) -> Call:
    return entity({**PERSON, "attributes": attributes})


def v1_identify(attributes: dict[str, Any]) -> Call:
    return Call("PUT", "/api/v1/customers/1", attributes)


def event(name: str, data: dict[str, Any]) -> Call:
    return entity({"type": "person", "action": "event", "identifiers": {"id": "1"}, "name": name, "attributes": data})


def v1_event(name: str, data: dict[str, Any]) -> Call:
    return Call("POST", "/api/v1/customers/1/events", {"name": name, "data": data})


def object_(attributes: dict[str, Any]) -> Call:
    identifiers = {"object_type_id": "1", "object_id": "acme"}
    return entity({"type": "object", "action": "identify", "identifiers": identifiers, "attributes": attributes})


def relationship(attributes: dict[str, Any]) -> Call:
    other = {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "relationship_attributes": attributes}
    return entity({**PERSON, "action": "add_relationships", "cio_relationships": [other]})


def many(count: int) -> dict[str, Any]:
    return {f"a{n}": n for n in range(count)}


def text(size: int) -> str:
    """A text of so many bytes, with two to most characters."""
    return "é" * (size // 2) + "x" * (size % 2)


def nested(size: int) -> list[str]:
    """A value whose compact JSON is so many bytes."""
    return ["x" * (size - len('[""]'))]


WRITES = {"v1": v1_identify, "v2": identify, "object": object_, "relationship": relationship}
EVENTS = {"v1": v1_event, "v2": event}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        ({text(150): 1}, {text(151): 1}),
        ({"a": text(1000)}, {"a": text(1001)}),
        ({"a": nested(1000)}, {"a": nested(1001)}),
        (many(300), many(301)),
    ],
    ids=["name of 150 bytes", "value of 1000 bytes", "nested value of 1000 bytes", "300 attributes"],
)
def test_attributes(write: Any, fits: dict[str, Any], too_much: dict[str, Any], track: Court) -> None:
    track.send_valid(write(fits))
    track.send(write(too_much), 400)


def test_the_words_of_v1(track: Court) -> None:
    said = [
        track.send(call, 400).json["meta"]["errors"]
        for call in (
            v1_identify(many(301)),
            v1_identify({text(151): 1}),
            v1_identify({"plan": text(1001)}),
            v1_event("", {}),
            v1_event("x" * 101, {}),
            Call("POST", "/api/v1/customers/1/events", {"name": "n", "data": "text"}),
            v1_event("n", {"a": "x" * 100_000}),
        )
    ]
    assert said == [
        ["cannot identify more than 300 attributes in one request"],
        ["attribute name cannot be longer than 150 bytes"],
        ["value for attribute 'plan' cannot be longer than 1000 bytes"],
        ["event name must not be blank"],
        ["event name cannot be longer than 100 bytes"],
        ["event data must be a hash"],
        ["event data cannot be longer than 100000 bytes"],
    ]


@pytest.mark.parametrize("send", EVENTS.values(), ids=EVENTS)
def test_event_names(send: Any, track: Court) -> None:
    track.send_valid(send(text(100), {}))
    track.send_valid(send("  " + text(100) + " ", {}))
    for wrong in (text(101), "", "   "):
        track.send(send(wrong, {}), 400)


def test_event_data_in_v1(track: Court) -> None:
    track.send_valid(v1_event("n", {"a": "x" * (100_000 - len('{"a":""}'))}))
    track.send(v1_event("n", {"a": "x" * (100_001 - len('{"a":""}'))}), 400)


def test_ids(track: Court, sandbox: RunningSandbox) -> None:
    fits, too_long = text(150), text(151)
    track.send_valid(Call("PUT", f"/api/v1/customers/{segment(fits)}", {}))
    track.send(Call("PUT", f"/api/v1/customers/{segment(too_long)}", {}), 400)
    track.send_valid(entity({**PERSON, "identifiers": {"id": fits}}))
    track.send(entity({**PERSON, "identifiers": {"id": too_long}}), 400)
    identifiers = {"object_type_id": "1", "object_id": fits}
    track.send_valid(entity({"type": "object", "action": "identify", "identifiers": identifiers}))
    identifiers = {"object_type_id": "1", "object_id": too_long}
    track.send(entity({"type": "object", "action": "identify", "identifiers": identifiers}), 400)
    assert [person["id"] for person in sandbox.get("people")] == [fits]
    assert [each["object_id"] for each in sandbox.get("objects")] == [fits]


def test_objects_and_relationships_hold_100_kb(track: Court, sandbox: RunningSandbox) -> None:
    # One request of 32 kb cannot carry as much, so the sum is of the requests; here the request may be larger.
    sandbox.settings(entity_bytes=400_000)
    one = {f"a{n:03}": "x" * 996 for n in range(100)}
    assert sum(len(name) + len(value) for name, value in one.items()) == 100_000
    for write in (object_, relationship):
        track.send_valid(write(one))
        track.send(write({**one, "a099": "x" * 997}), 400)


def sized(operation: dict[str, Any], size: int) -> bytes:
    """An operation whose JSON is so many bytes, each attribute small enough."""
    attributes: dict[str, str] = {}
    while True:
        raw = json.dumps({**operation, "attributes": attributes}, separators=(",", ":")).encode()
        left = size - len(raw)
        if left == 0:
            return raw
        name = f"a{len(attributes)}"
        around = len(f'"{name}":""') + (1 if attributes else 0)
        # The last attribute must have room for its own name, so the one before it leaves some.
        attributes[name] = "x" * (left - around if left <= 900 else min(850, left - around - 20))


@pytest.mark.parametrize("size", [31_999, 32_000])
def test_one_operation_of_32_kb(size: int, track: Court) -> None:
    track.send_valid(entity(sized(PERSON, size)))


@pytest.mark.parametrize("status", [400, 413])
def test_one_operation_over_32_kb(status: int, track: Court, sandbox: RunningSandbox) -> None:
    sandbox.settings(oversize=str(status))
    assert len(track.send(entity(sized(PERSON, 32_001)), status).json["errors"]) == 1
    assert sandbox.get("people") == []


def batch_of(size: int, count: int = 20) -> bytes:
    """A batch whose JSON is so many bytes."""
    whole = size - len(b'{"batch":[]}') - (count - 1)
    sizes = [whole // count] * (count - 1)
    sizes.append(whole - sum(sizes))
    operations = [sized({**PERSON, "identifiers": {"id": str(n)}}, each) for n, each in enumerate(sizes)]
    return b'{"batch":[' + b",".join(operations) + b"]}"


def test_a_batch_of_500_kb(track: Court, sandbox: RunningSandbox) -> None:
    just, over = batch_of(500_000), batch_of(500_001)
    assert (len(just), len(over)) == (500_000, 500_001)
    track.send(Call("POST", "/api/v2/batch", over), 400)
    assert sandbox.get("people") == []
    track.send_valid(Call("POST", "/api/v2/batch", just))
    assert len(sandbox.get("people")) == 20


def test_an_operation_over_32_kb_in_a_batch(track: Court, sandbox: RunningSandbox) -> None:
    operations = [json.loads(sized({**PERSON, "identifiers": {"id": str(n)}}, 32_000 + n)) for n in range(2)]
    [error] = track.send(Call("POST", "/api/v2/batch", {"batch": operations}), 207).json["errors"]
    assert error["batch_index"] == 1
    assert [person["id"] for person in sandbox.get("people")] == ["0"]


def test_oversize_can_be_discarded_with_a_200(track: Court, sandbox: RunningSandbox) -> None:
    sandbox.settings(oversize="discard")
    track.send(entity(sized(PERSON, 32_001)), 200)
    track.send(Call("POST", "/api/v2/batch", batch_of(500_001)), 200)
    assert sandbox.get("people") == []


@pytest.mark.parametrize("batch", [{}, {"batch": None}, {"batch": {}}, {"batch": "text"}, []])
def test_a_batch_that_is_none(batch: Any, track: Court) -> None:
    track.send_invalid(Call("POST", "/api/v2/batch", batch))


@pytest.mark.parametrize("action", ["add_customers", "remove_customers"])
def test_segments_take_1_to_1000_ids(action: str, track: Court, sandbox: RunningSandbox) -> None:
    id = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"]
    path = f"/api/v1/segments/{id}/{action}"
    for count in (1, 1000):
        track.send_valid(Call("POST", path, {"ids": [str(n) for n in range(count)]}))
    for count in (0, 1001):
        track.send_invalid(Call("POST", path, {"ids": [str(n) for n in range(count)]}))
    track.send_invalid(Call("POST", path, {}))
    track.send_invalid(Call("POST", f"{path}?id_type=phone", {"ids": ["1"]}))


def test_segments_must_exist_and_be_manual(track: Court, sandbox: RunningSandbox) -> None:
    dynamic = sandbox.post("segments", {"name": "active"})["id"]
    for id in (dynamic, 999_999):
        track.send(Call("POST", f"/api/v1/segments/{id}/add_customers", {"ids": ["1"]}), 400)
