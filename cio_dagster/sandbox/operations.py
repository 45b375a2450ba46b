"""Operations: what every Track call comes down to. v2 sends them as they are; v1 calls are translated into them.

A checked operation is plain JSON, so that one that waits to be applied survives the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable

from cio_dagster.sandbox import devices, events, limits, objects, people, segments
from cio_dagster.sandbox.checks import Operation
from cio_dagster.sandbox.identity import Identifier
from cio_dagster.sandbox.workspace import Workspace


def apply(workspace: Workspace, operation: Operation) -> None:
    """Apply one checked operation inside an open change."""
    _APPLY[operation["type"], operation["action"]](workspace, operation)


def _who(identifiers: dict[str, str]) -> Identifier:
    [(kind, value)] = identifiers.items()
    return Identifier(kind, value.strip() if kind == "email" else value)


def _apply_identify(workspace: Workspace, operation: Operation) -> None:
    person = people.identify(
        workspace,
        _who(operation["identifiers"]),
        operation["attributes"],
        operation["timestamp"],
        operation["surface"],
    )
    if person:
        who = {"identifiers": {"cio_id": person.cio_id}, "cio_relationships": operation["cio_relationships"]}
        if operation.get("relationships_action") == "delete_relationships":
            _apply_person_delete_relationships(workspace, who)
        else:
            _apply_person_add_relationships(workspace, who)


def _apply_person_add_relationships(workspace: Workspace, operation: Operation) -> None:
    who = _who(operation["identifiers"])
    for each in operation["cio_relationships"]:
        objects.add_relationship(workspace, who, each["identifiers"], each["relationship_attributes"])


def _apply_person_delete_relationships(workspace: Workspace, operation: Operation) -> None:
    who = _who(operation["identifiers"])
    for each in operation["cio_relationships"]:
        objects.delete_relationship(workspace, who, each["identifiers"])


def _apply_delete(workspace: Workspace, operation: Operation) -> None:
    people.delete(workspace, _who(operation["identifiers"]))


def _apply_event(workspace: Workspace, operation: Operation) -> None:
    events.record(
        workspace,
        _who(operation["identifiers"]) if operation["identifiers"] else None,
        operation["action"],
        operation["name"],
        operation["attributes"],
        id=operation["id"],
        timestamp=operation["timestamp"],
        received_at=operation["received_at"],
    )


def _apply_add_device(workspace: Workspace, operation: Operation) -> None:
    devices.add(workspace, _who(operation["identifiers"]), operation["device"])


def _apply_delete_device(workspace: Workspace, operation: Operation) -> None:
    devices.delete(workspace, _who(operation["identifiers"]), operation["device"]["token"])


def _apply_merge(workspace: Workspace, operation: Operation) -> None:
    people.merge(workspace, _who(operation["primary"]), _who(operation["secondary"]))


def _apply_suppress(workspace: Workspace, operation: Operation) -> None:
    people.suppress(workspace, _who(operation["identifiers"]))


def _apply_unsuppress(workspace: Workspace, operation: Operation) -> None:
    people.unsuppress(workspace, _who(operation["identifiers"]))


def _apply_object_identify(workspace: Workspace, operation: Operation) -> None:
    if objects.identify(workspace, operation["identifiers"], operation["attributes"]):
        _apply_object_add_relationships(workspace, operation)


def _apply_object_delete(workspace: Workspace, operation: Operation) -> None:
    objects.delete(workspace, operation["identifiers"])


def _apply_object_add_relationships(workspace: Workspace, operation: Operation) -> None:
    for each in operation["cio_relationships"]:
        objects.add_relationship(
            workspace, _who(each["identifiers"]), operation["identifiers"], each["relationship_attributes"]
        )


def _apply_object_delete_relationships(workspace: Workspace, operation: Operation) -> None:
    for each in operation["cio_relationships"]:
        objects.delete_relationship(workspace, _who(each["identifiers"]), operation["identifiers"])


def _apply_segment_add(workspace: Workspace, operation: Operation) -> None:
    segments.add(workspace, operation["segment_id"], operation["id_type"], operation["ids"])


def _apply_segment_remove(workspace: Workspace, operation: Operation) -> None:
    segments.remove(workspace, operation["segment_id"], operation["id_type"], operation["ids"])


def _apply_delivery(workspace: Workspace, operation: Operation) -> None:
    timestamp = operation["timestamp"]
    workspace.store.run(
        "INSERT INTO deliveries (delivery_id, metric, timestamp, data) VALUES (?, ?, ?, ?)",
        operation["delivery_id"],
        operation["metric"],
        int(workspace.now()) if timestamp is None else timestamp,
        limits.encoded(operation["attributes"]),
    )


_APPLY: dict[tuple[str, str], Callable[[Workspace, Operation], None]] = {
    ("person", "identify"): _apply_identify,
    ("person", "delete"): _apply_delete,
    ("person", "event"): _apply_event,
    ("person", "page"): _apply_event,
    ("person", "screen"): _apply_event,
    ("person", "add_relationships"): _apply_person_add_relationships,
    ("person", "delete_relationships"): _apply_person_delete_relationships,
    ("person", "add_device"): _apply_add_device,
    ("person", "delete_device"): _apply_delete_device,
    ("person", "merge"): _apply_merge,
    ("person", "suppress"): _apply_suppress,
    ("person", "unsuppress"): _apply_unsuppress,
    ("object", "identify"): _apply_object_identify,
    ("object", "identify_anonymous"): _apply_object_identify,
    ("object", "delete"): _apply_object_delete,
    ("object", "add_relationships"): _apply_object_add_relationships,
    ("object", "delete_relationships"): _apply_object_delete_relationships,
    ("segment", "add"): _apply_segment_add,
    ("segment", "remove"): _apply_segment_remove,
    ("delivery", "event"): _apply_delivery,
}
