"""What two requests say, whichever call says it: each as v2 operations, and what differs between them.

The translation, all of it:

| call | said as |
|---|---|
| v2 entity, v2 batch | its operations |
| v1 customers/{identifier} | `identify` or `delete`; the identifier's kind by its shape; `_timestamp` is the operation's `timestamp` |
| v1 .../devices | `add_device` or `delete_device`; `id` is `token`, keys of no meaning are attributes |
| v1 .../events, v1 events | `event`, `page` or `screen`; `data` is `attributes` |
| relationships inside an identify | an operation of their own after it |
| relationships on an object's side | one operation for each person, on the person's side |
| v1 segments | `add_customers`, `remove_customers`, with `id_type` |
| App segments and collections | `make_segment`, `write_collection` |

Attributes that are an empty object say nothing, so they are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.contract.wire import NOTHING, Call

Operation = dict[str, Any]

ABSENT = "(absent)"
DEVICE_KEYS = ("token", "platform", "last_used", "attributes")


def operations(call: Call) -> list[Operation]:
    """What a call says."""
    return [_meaning(each) for said in _said(call) for each in _apart(said)]


def differences(theirs: Any, ours: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two values differ: path to theirs and ours. What only one has is not looked into."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        pairs = {name: (theirs.get(name, ABSENT), ours.get(name, ABSENT)) for name in theirs | ours}
    elif isinstance(theirs, list) and isinstance(ours, list):
        longest = range(max(len(theirs), len(ours)))
        pairs = {str(n): tuple(each[n] if n < len(each) else ABSENT for each in (theirs, ours)) for n in longest}  # type: ignore[misc]
    else:
        return {} if type(theirs) is type(ours) and theirs == ours else {path: (theirs, ours)}
    return {
        where: pair
        for name, (one, other) in pairs.items()
        for where, pair in differences(one, other, f"{path}/{name}" if path else name).items()
    }


def _said(call: Call) -> Iterator[Operation]:
    parts = urlsplit(call.path)
    path, query = [unquote(part) for part in parts.path.strip("/").split("/")], parse_qs(parts.query)
    body = {} if call.body is NOTHING else json.loads(call.raw or b"{}")
    match call.method, path:
        case "POST", ["api", "v2", _]:
            yield from body.get("batch", [body])
        case "PUT", ["api", "v1", "customers", who]:
            related = body.pop("cio_relationships", {})
            times = {"timestamp": body.pop("_timestamp")} if "_timestamp" in body else {}
            if body or times or not related:
                yield _person(who, "identify", attributes=body, **times)
            if related:
                yield _person(who, related["action"], cio_relationships=related["relationships"])
        case "DELETE", ["api", "v1", "customers", who]:
            yield _person(who, "delete")
        case "PUT", ["api", "v1", "customers", who, "devices"]:
            device = {"token": body["device"].pop("id"), **body["device"]}
            more = {name: value for name, value in device.items() if name not in DEVICE_KEYS}
            known = {name: value for name, value in device.items() if name in DEVICE_KEYS}
            yield _person(who, "add_device", device={**known, "attributes": {**known.get("attributes", {}), **more}})
        case "DELETE", ["api", "v1", "customers", who, "devices", token]:
            yield _person(who, "delete_device", device={"token": token})
        case "POST", ["api", "v1", "customers", who, "events"]:
            yield _event(_identifiers(who), body)
        case "POST", ["api", "v1", "events"]:
            yield _event({"anonymous_id": body.pop("anonymous_id")}, body)
        case "POST", ["api", "v1", "segments", segment, verb]:
            yield {"segment": segment, "action": verb, "id_type": query.get("id_type", ["id"])[0], "ids": body["ids"]}
        case "POST", ["v1", "segments"]:
            yield {"action": "make_segment", **body["segment"]}
        case "POST", ["v1", "collections"]:
            yield {"action": "make_collection", **body}
        case "PUT", ["v1", "collections", collection, *_]:
            yield {
                "action": "write_collection",
                "collection": collection,
                "data": body["data"] if isinstance(body, dict) else body,
            }
        case _:
            raise ValueError(f"no translation of {call.method} {call.path}")


def _person(who: str, action: str, **rest: Any) -> Operation:
    return {"type": "person", "identifiers": _identifiers(who), "action": action, **rest}


def _identifiers(who: str) -> dict[str, str]:
    if who.startswith("cio_"):
        return {"cio_id": who.removeprefix("cio_")}
    return {"email" if "@" in who else "id": who}


def _event(identifiers: dict[str, str], body: Operation) -> Operation:
    kind, data = body.pop("type", "event"), body.pop("data", {})
    return {"type": "person", "identifiers": identifiers, "action": kind, **body, "attributes": data}


def _apart(said: Operation) -> Iterator[Operation]:
    """Relationships as operations of their own, each of one person and one object, on the person's side."""
    related, relating = said.get("cio_relationships", []), str(said.get("action")).endswith("_relationships")
    if not related or said["action"] not in ("identify", "add_relationships", "delete_relationships"):
        yield said
        return
    rest = {name: value for name, value in said.items() if name != "cio_relationships"}
    if not relating:
        yield rest
    action = said["action"] if relating else "add_relationships"
    extra = {name: value for name, value in rest.items() if relating and name not in ("type", "identifiers", "action")}
    for each in related:
        attributes = {name: value for name, value in each.items() if name != "identifiers"}
        person, thing = said["identifiers"], each["identifiers"]
        if said["type"] == "object":
            person, thing = thing, person
        one = {"identifiers": thing, **attributes}
        yield {"type": "person", "identifiers": person, "action": action, "cio_relationships": [one], **extra}


def _meaning(said: Any) -> Any:
    """Without attributes that say nothing."""
    if isinstance(said, list):
        return [_meaning(each) for each in said]
    if not isinstance(said, dict):
        return said
    empty = [name for name in ("attributes", "relationship_attributes") if said.get(name) == {}]
    return {name: _meaning(each) for name, each in said.items() if name not in empty}
