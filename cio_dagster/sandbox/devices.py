"""Devices: a token belongs to a person, and carries a platform and attributes."""

from __future__ import annotations

import json
from typing import Any

from cio_dagster.sandbox.identity import Identifier
from cio_dagster.sandbox.people import as_text, find, find_or_create, is_suppressed
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Workspace


def add(workspace: Workspace, identifier: Identifier, device: dict[str, Any]) -> None:
    """Add a device to a person, or update it."""
    if is_suppressed(workspace, identifier):
        return
    person = find_or_create(workspace, identifier, workspace.settings.device_unknown_person == "create")
    if person is None:
        return
    store = workspace.store
    token = device["token"]
    if workspace.settings.device_owner == "move":
        store.run("DELETE FROM devices WHERE token = ? AND cio_id <> ?", token, person.cio_id)
    row = store.row("SELECT attributes FROM devices WHERE token = ? AND cio_id = ?", token, person.cio_id)
    attributes = {**(json.loads(row["attributes"]) if row else {}), **(device.get("attributes") or {})}
    store.run(
        "INSERT INTO devices (token, cio_id, platform, last_used, attributes) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (token, cio_id) DO UPDATE SET platform = excluded.platform, last_used = excluded.last_used,"
        " attributes = excluded.attributes",
        token,
        person.cio_id,
        device["platform"],
        device.get("last_used") or int(workspace.now()),
        dump(attributes),
    )
    workspace.log("device_change", {"action": "add", "token": token, "platform": device["platform"]}, person.who)


def delete(workspace: Workspace, identifier: Identifier, token: str) -> None:
    """Remove a device from a person; one that is not theirs is left alone."""
    person = find(workspace, identifier)
    if person is None:
        return
    removed = workspace.store.run("DELETE FROM devices WHERE token = ? AND cio_id = ?", token, person.cio_id).rowcount
    if removed:
        workspace.log("device_change", {"action": "delete", "token": token}, person.who)


def of_person(workspace: Workspace, cio_id: str) -> list[dict[str, Any]]:
    """A person's devices as App API answers show them: attributes in text, whatever older clients sent."""
    return [
        {
            "id": row["token"],
            "platform": row["platform"],
            "last_used": row["last_used"],
            "attributes": {name: as_text(value) for name, value in json.loads(row["attributes"]).items()},
        }
        for row in workspace.store.rows("SELECT * FROM devices WHERE cio_id = ? ORDER BY seq", cio_id)
    ]
