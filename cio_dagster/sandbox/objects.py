"""Objects and their relationships to people.

Source: Customer.io's Track OpenAPI, components.schemas.object_* and *_relationships.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cio_dagster.sandbox import limits
from cio_dagster.sandbox.identity import Identifier, new_cio_object_id
from cio_dagster.sandbox.people import Person, as_text, find, find_or_create, is_suppressed, merge_nested
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import NOBODY, Workspace


@dataclass
class Object:
    """An object: its three identifiers and its attributes."""

    cio_object_id: str
    object_type_id: str
    object_id: str
    attributes: dict[str, Any]
    set_at: dict[str, int]

    @classmethod
    def read(cls, row: sqlite3.Row) -> Object:
        """An object from the objects table."""
        return cls(
            row["cio_object_id"],
            row["object_type_id"],
            row["object_id"],
            json.loads(row["attributes"]),
            json.loads(row["set_at"]),
        )


def find_object(workspace: Workspace, identifiers: Mapping[str, str]) -> Object | None:
    """The object with a ``cio_object_id``, or a type and an ``object_id``."""
    if "cio_object_id" in identifiers:
        row = workspace.store.row("SELECT * FROM objects WHERE cio_object_id = ?", identifiers["cio_object_id"])
    else:
        row = workspace.store.row(
            "SELECT * FROM objects WHERE object_type_id = ? AND object_id = ?",
            identifiers["object_type_id"],
            identifiers["object_id"],
        )
    return Object.read(row) if row else None


def type_is_known(workspace: Workspace, type_id: str) -> bool:
    """Whether an object type exists; it is made first when the settings say so."""
    if type_id in workspace.object_types():
        return True
    if workspace.settings.unknown_object_type == "create":
        workspace.settings.update({"object_types": f"{workspace.settings.object_types},{type_id}"})
        return True
    return False


def _find_or_create_object(workspace: Workspace, identifiers: Mapping[str, str], create_unknown: bool) -> Object | None:
    found = find_object(workspace, identifiers)
    if found or not create_unknown or "object_id" not in identifiers:
        return found
    if not type_is_known(workspace, identifiers["object_type_id"]):
        return None
    now = int(workspace.now())
    new = Object(new_cio_object_id(), identifiers["object_type_id"], identifiers["object_id"], {}, {})
    workspace.store.run(
        "INSERT INTO objects (cio_object_id, object_type_id, object_id, attributes, set_at, created_at, updated_at)"
        " VALUES (?, ?, ?, '{}', '{}', ?, ?)",
        new.cio_object_id,
        new.object_type_id,
        new.object_id,
        now,
        now,
    )
    workspace.log(f"_o:{new.object_type_id}:create", {"object_id": new.object_id}, name=new.object_id)
    return new


def identify(workspace: Workspace, identifiers: Mapping[str, str], attributes: Mapping[str, Any]) -> Object | None:
    """Add or update an object; nothing, if a ``cio_object_id`` is unknown."""
    found = _find_or_create_object(workspace, identifiers, create_unknown=True)
    if found is None:
        return None
    merged, changes = _updated(workspace, found.attributes, attributes)
    if _are_over(merged):
        workspace.log(f"_o:{found.object_type_id}:failed_attribute_change", changes, name=found.object_id)
        return found
    now = int(workspace.now())
    workspace.store.run(
        "UPDATE objects SET attributes = ?, set_at = ?, updated_at = ? WHERE cio_object_id = ?",
        dump(merged),
        dump({**found.set_at, **dict.fromkeys(changes, now)}),
        now,
        found.cio_object_id,
    )
    if changes:
        workspace.log(f"_o:{found.object_type_id}:attribute_change", changes, name=found.object_id)
    return found


def delete(workspace: Workspace, identifiers: Mapping[str, str]) -> None:
    """Remove an object and its relationships."""
    found = find_object(workspace, identifiers)
    if found:
        workspace.store.run("DELETE FROM relationships WHERE cio_object_id = ?", found.cio_object_id)
        workspace.store.run("DELETE FROM objects WHERE cio_object_id = ?", found.cio_object_id)
        workspace.log(f"_o:{found.object_type_id}:delete", {"object_id": found.object_id}, name=found.object_id)


def add_relationship(
    workspace: Workspace, person: Identifier, object: Mapping[str, str], attributes: Mapping[str, Any]
) -> None:
    """Relate a person, or a visitor known by an anonymous id, to an object."""
    settings = workspace.settings
    if is_suppressed(workspace, person):
        return
    related = _find_or_create_object(workspace, object, settings.relationship_unknown_object == "create")
    if related is None:
        return
    owner = (
        find(workspace, person)
        if person.kind == "anonymous_id"
        else find_or_create(workspace, person, settings.relationship_unknown_person == "create")
    )
    if owner is None and person.kind != "anonymous_id":
        return
    column, value = ("cio_id", owner.cio_id) if owner else ("anonymous_id", person.value)
    row = workspace.store.row(
        f"SELECT attributes FROM relationships WHERE cio_object_id = ? AND {column} = ?", related.cio_object_id, value
    )
    merged, changes = _updated(workspace, json.loads(row["attributes"]) if row else {}, attributes)
    if _are_over(merged):
        _log(workspace, f"_r:{related.object_type_id}:failed_attribute_change", related, owner, changes)
        return
    workspace.store.run(
        f"INSERT INTO relationships (cio_object_id, {column}, attributes, created_at) VALUES (?, ?, ?, ?)"
        f" ON CONFLICT (cio_object_id, {column}) DO UPDATE SET attributes = excluded.attributes",
        related.cio_object_id,
        value,
        dump(merged),
        int(workspace.now()),
    )
    if row is None:
        _log(workspace, "add_relationship", related, owner, {})
    if changes:
        _log(workspace, f"_r:{related.object_type_id}:attribute_change", related, owner, changes)


def delete_relationship(workspace: Workspace, person: Identifier, object: Mapping[str, str]) -> None:
    """End a relationship; one that does not exist is no error."""
    related, owner = find_object(workspace, object), find(workspace, person)
    if related is None or owner is None:
        return
    removed = workspace.store.run(
        "DELETE FROM relationships WHERE cio_object_id = ? AND cio_id = ?", related.cio_object_id, owner.cio_id
    ).rowcount
    if removed:
        _log(workspace, "delete_relationship", related, owner, {})


def _updated(
    workspace: Workspace, current: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Attributes with changes laid over them; null and the empty string remove, as documented."""
    merged = dict(current)
    changes = {}
    for name, value in given.items():
        if value is None or value == "":
            if name in merged:
                changes[name] = {"from": as_text(merged.pop(name)), "to": ""}
            continue
        if workspace.settings.nested_attributes == "merge":
            value = merge_nested(merged.get(name), value)
        if name not in merged or merged[name] != value or type(merged[name]) is not type(value):
            changes[name] = {"from": as_text(merged.get(name)), "to": as_text(value)}
            merged[name] = value
    return merged, changes


def _are_over(attributes: Mapping[str, Any]) -> bool:
    """Whether all attributes of an object or a relationship together are over a limit."""
    return len(attributes) > limits.ATTRIBUTES or limits.total_bytes(attributes) > limits.OBJECT_ATTRIBUTES_BYTES


def _log(workspace: Workspace, type: str, object: Object, person: Person | None, data: dict[str, Any]) -> None:
    about = {"object_type_id": object.object_type_id, "object_id": object.object_id}
    workspace.log(type, {**data, **about}, person.who if person else NOBODY, name=object.object_id)
