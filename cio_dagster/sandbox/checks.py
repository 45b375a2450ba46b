"""What an operation must be to be accepted: the contract's shapes and the published limits.

v1 uses the same checks on the parts of its calls. Source of the shapes: Customer.io's Track OpenAPI,
POST /api/v2/entity; of the limits: its info section.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cio_dagster.sandbox import limits
from cio_dagster.sandbox.identity import is_email, is_phone, is_ulid
from cio_dagster.sandbox.limits import Invalid
from cio_dagster.sandbox.workspace import Workspace

Operation = dict[str, Any]

_EVENTS = ("event", "page", "screen")
_METRICS = ("opened", "converted", "delivered")


def check(workspace: Workspace, given: object) -> Operation:
    """Check one v2 operation, and return it in the form that :func:`apply` takes.

    Raises:
        Invalid: It breaks the contract or a limit.
    """
    if not isinstance(given, dict):
        raise Invalid("", "an operation must be an object")
    type, action = given.get("type"), given.get("action")
    if not isinstance(type, str) or type not in _CHECKS:
        raise Invalid("type", f"type must be one of {', '.join(_CHECKS)}", "required" if type is None else "invalid")
    checks = _CHECKS[type]
    if not isinstance(action, str) or action not in checks:
        raise Invalid(
            "action", f"action of a {type} must be one of {', '.join(checks)}", "required" if action is None else "invalid"
        )
    return {"type": type, "action": action, **checks[action](workspace, given)}


def person_identifiers(workspace: Workspace, given: object, field: str = "identifiers") -> dict[str, str]:
    """Check that exactly one enabled identifier is given.

    Raises:
        Invalid: It is not so.
    """
    if not isinstance(given, dict) or not given:
        raise Invalid(field, "identifiers are required: one of id, email, phone or cio_id", "required")
    if len(given) > 1:
        raise Invalid(field, f"only one identifier is allowed, not {', '.join(sorted(given))}")
    [(kind, value)] = given.items()
    if kind == "anonymous_id" and isinstance(value, str) and value:
        return {kind: value}
    if kind not in ("id", "email", "phone", "cio_id"):
        raise Invalid(f"{field}.{kind}", "an identifier is one of id, email, phone or cio_id")
    if kind not in workspace.settings.enabled_identifiers:
        raise Invalid(f"{field}.{kind}", f"{kind} is not enabled as an identifier in this workspace")
    text = limits.check_id(value, f"{field}.{kind}", kind)
    if kind == "email" and not is_email(text.strip()):
        raise Invalid(f"{field}.email", "email must be an email address")
    if kind == "phone" and not is_phone(text):
        raise Invalid(f"{field}.phone", "phone must be in E.164 format, like +14155552671")
    return {kind: text}


def object_identifiers(workspace: Workspace, given: object, field: str = "identifiers") -> dict[str, str]:
    """Check an object's identifiers: a type and an id, or a cio_object_id.

    Raises:
        Invalid: They are neither, or the type does not exist and the settings say to refuse it.
    """
    if not isinstance(given, dict) or not given:
        raise Invalid(field, "identifiers are required: object_type_id and object_id, or cio_object_id", "required")
    if set(given) == {"cio_object_id"}:
        return {"cio_object_id": limits.check_id(given["cio_object_id"], f"{field}.cio_object_id", "cio_object_id")}
    if set(given) != {"object_type_id", "object_id"}:
        raise Invalid(field, "an object is identified by object_type_id and object_id, or by cio_object_id alone")
    type_id = given["object_type_id"]
    if not isinstance(type_id, str) or not type_id.isdecimal() or not type_id.isascii():
        raise Invalid(f"{field}.object_type_id", "object_type_id must be an integer written as a string")
    object_id = limits.check_id(given["object_id"], f"{field}.object_id", "object_id")
    if workspace.settings.unknown_object_type == "reject" and type_id not in workspace.object_types():
        raise Invalid(f"{field}.object_type_id", "the specified object type does not exist")
    return {"object_type_id": type_id, "object_id": object_id}


def attributes(given: object, field: str = "attributes") -> dict[str, Any]:
    """Check attributes of a person; none is an empty set.

    Raises:
        Invalid: They are not an object, or over a limit.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Invalid(field, f"{field} must be an object")
    limits.check_attributes(given, field)
    return given


def object_attributes(given: object, field: str = "attributes") -> dict[str, Any]:
    """Check attributes of an object or a relationship.

    Raises:
        Invalid: They are not an object, or over a limit.
    """
    checked = attributes(given, field)
    limits.check_total(checked, field)
    return checked


def seconds(given: object, field: str = "timestamp") -> int | None:
    """Check a time in Unix seconds.

    Raises:
        Invalid: It is no whole number.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or given != int(given):
        raise Invalid(field, f"{field} must be a Unix timestamp in seconds")
    if not 0 <= given < 2**63:
        raise Invalid(field, f"{field} is out of range")
    return int(given)


def device(given: object, token_key: str) -> dict[str, Any]:
    """Check a device, whose token is ``id`` in v1 and ``token`` in v2.

    Some clients send ``last_used`` as text, null attributes, or attributes beside the known keys; all are taken.

    Raises:
        Invalid: Its token or platform is missing or wrong, or an attribute is no string.
    """
    if not isinstance(given, dict):
        raise Invalid("device", "device is required", "required")
    token = given.get(token_key)
    if not isinstance(token, str) or not token.strip():
        raise Invalid(f"device.{token_key}", f"device {token_key} must be present")
    if given.get("platform") not in ("ios", "android"):
        raise Invalid("device.platform", "device platform must be ios or android")
    last_used = given.get("last_used")
    if isinstance(last_used, str):
        last_used = int(last_used) if last_used.isdecimal() else -1
    own = given.get("attributes")
    if own is not None and not isinstance(own, dict):
        raise Invalid("device.attributes", "device attributes must be an object")
    for name, value in (own or {}).items():
        if not isinstance(value, str):
            raise Invalid(f"device.attributes.{name}", "device attributes must be strings")
    limits.check_attributes(own or {}, "device.attributes")
    beside = {k: v for k, v in given.items() if k not in (token_key, "platform", "last_used", "attributes")}
    return {
        "token": token,
        "platform": given["platform"],
        "last_used": seconds(last_used, "device.last_used"),
        "attributes": {**beside, **{k: v for k, v in (own or {}).items() if k != "_last_status"}},
    }


def event(workspace: Workspace, given: dict[str, Any], data_key: str) -> dict[str, Any]:
    """Check an event's name, data, id and time; ``data_key`` is ``data`` in v1 and ``attributes`` in v2.

    Raises:
        Invalid: One of them breaks a rule.
    """
    limits.check_event(given.get("name"), given.get(data_key), data_key)
    settings = workspace.settings
    id = given.get("id")
    if id is not None and not isinstance(id, str):
        raise Invalid("id", "event id must be a ULID")
    if id and not is_ulid(id) and settings.invalid_event_id == "reject":
        raise Invalid("id", "event id must be a ULID")
    timestamp = seconds(given.get("timestamp"))
    if timestamp is not None and timestamp > workspace.now() and settings.future_events == "reject":
        raise Invalid("timestamp", "timestamp cannot be in the future")
    return {
        "name": given["name"].strip(),
        "attributes": given.get(data_key) or {},
        "id": id or None,
        "timestamp": timestamp,
        "received_at": workspace.now(),
    }


def relationships_to_objects(workspace: Workspace, given: object) -> list[dict[str, Any]]:
    """Check relationships written on a person's side.

    Raises:
        Invalid: One of them is wrong.
    """
    return [
        {
            "identifiers": object_identifiers(workspace, each.get("identifiers"), f"cio_relationships[{i}].identifiers"),
            "relationship_attributes": object_attributes(
                each.get("relationship_attributes"), f"cio_relationships[{i}].relationship_attributes"
            ),
        }
        for i, each in enumerate(_relationships(given))
    ]


def relationships_to_people(workspace: Workspace, given: object) -> list[dict[str, Any]]:
    """Check relationships written on an object's side.

    Raises:
        Invalid: One of them is wrong.
    """
    checked = []
    for i, each in enumerate(_relationships(given)):
        field = f"cio_relationships[{i}].identifiers"
        identifiers = person_identifiers(workspace, each.get("identifiers"), field)
        if "phone" in identifiers:
            raise Invalid(f"{field}.phone", "a relationship names a person by id, email or cio_id")
        checked.append(
            {
                "identifiers": identifiers,
                "relationship_attributes": object_attributes(
                    each.get("relationship_attributes"), f"cio_relationships[{i}].relationship_attributes"
                ),
            }
        )
    return checked


def _relationships(given: object) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise Invalid("cio_relationships", "cio_relationships must be an array of objects")
    return given


def _check_person(workspace: Workspace, given: Operation) -> Operation:
    identifiers = person_identifiers(workspace, given.get("identifiers"))
    if "anonymous_id" in identifiers and given["action"] not in _EVENTS:
        raise Invalid("identifiers.anonymous_id", "an identifier is one of id, email, phone or cio_id")
    return {"identifiers": identifiers}


def _check_person_identify(workspace: Workspace, given: Operation) -> Operation:
    own = attributes(given.get("attributes"))
    if "id" in own:
        limits.check_id(own["id"], "attributes.id")
    return {
        **_check_person(workspace, given),
        "attributes": own,
        "timestamp": seconds(given.get("timestamp")),
        "cio_relationships": relationships_to_objects(workspace, given.get("cio_relationships")),
        "surface": "v2",
    }


def _check_person_event(workspace: Workspace, given: Operation) -> Operation:
    return {**_check_person(workspace, given), **event(workspace, given, "attributes")}


def _check_person_relationships(workspace: Workspace, given: Operation) -> Operation:
    if not given.get("cio_relationships"):
        raise Invalid("cio_relationships", "cio_relationships are required", "required")
    checked = relationships_to_objects(workspace, given["cio_relationships"])
    return {**_check_person(workspace, given), "cio_relationships": checked}


def _check_add_device(workspace: Workspace, given: Operation) -> Operation:
    return {**_check_person(workspace, given), "device": device(given.get("device"), "token")}


def _check_delete_device(workspace: Workspace, given: Operation) -> Operation:
    own = given.get("device")
    token = own.get("token") if isinstance(own, dict) else None
    if not isinstance(token, str) or not token:
        raise Invalid("device.token", "device token must be present", "required")
    return {**_check_person(workspace, given), "device": {"token": token}}


def _check_merge(workspace: Workspace, given: Operation) -> Operation:
    sides = {}
    for side in ("primary", "secondary"):
        sides[side] = person_identifiers(workspace, given.get(side), side)
        if set(sides[side]) & {"phone", "anonymous_id"}:
            raise Invalid(side, "people to merge are identified by id, email or cio_id")
    return sides


def _check_object(workspace: Workspace, given: Operation) -> Operation:
    return {"identifiers": object_identifiers(workspace, given.get("identifiers"))}


def _check_object_identify(workspace: Workspace, given: Operation) -> Operation:
    return {
        **_check_object(workspace, given),
        "attributes": object_attributes(given.get("attributes")),
        "cio_relationships": relationships_to_people(workspace, given.get("cio_relationships")),
    }


def _check_object_identify_anonymous(workspace: Workspace, given: Operation) -> Operation:
    checked = _check_object_identify(workspace, given)
    # The contract puts the anonymous_id into cio_relationships, its example at the top; both are taken.
    anonymous_id = given.get("anonymous_id")
    if isinstance(anonymous_id, str) and anonymous_id:
        checked["cio_relationships"].append({"identifiers": {"anonymous_id": anonymous_id}, "relationship_attributes": {}})
    return checked


def _check_object_relationships(workspace: Workspace, given: Operation) -> Operation:
    if not given.get("cio_relationships"):
        raise Invalid("cio_relationships", "cio_relationships are required", "required")
    checked = relationships_to_people(workspace, given["cio_relationships"])
    return {**_check_object(workspace, given), "cio_relationships": checked}


def _check_delivery(workspace: Workspace, given: Operation) -> Operation:
    identifiers, own = given.get("identifiers"), given.get("attributes")
    if not isinstance(identifiers, dict) or not isinstance(identifiers.get("id"), str) or not identifiers["id"]:
        raise Invalid("identifiers.id", "the delivery's id is required", "required")
    if given.get("name") not in _METRICS:
        raise Invalid("name", f"name must be one of {', '.join(_METRICS)}")
    if not isinstance(own, dict) or not isinstance(own.get("device_token"), str):
        raise Invalid("attributes.device_token", "device_token is required", "required")
    return {
        "delivery_id": identifiers["id"],
        "metric": given["name"],
        "attributes": own,
        "timestamp": seconds(given.get("timestamp")),
    }


_Check = Callable[[Workspace, Operation], Operation]

_CHECKS: dict[str, dict[str, _Check]] = {
    "person": {
        "identify": _check_person_identify,
        "delete": _check_person,
        "event": _check_person_event,
        "page": _check_person_event,
        "screen": _check_person_event,
        "add_relationships": _check_person_relationships,
        "delete_relationships": _check_person_relationships,
        "add_device": _check_add_device,
        "delete_device": _check_delete_device,
        "merge": _check_merge,
        "suppress": _check_person,
        "unsuppress": _check_person,
    },
    "object": {
        "identify": _check_object_identify,
        "identify_anonymous": _check_object_identify_anonymous,
        "delete": _check_object,
        "add_relationships": _check_object_relationships,
        "delete_relationships": _check_object_relationships,
    },
    "delivery": {"event": _check_delivery},
}
