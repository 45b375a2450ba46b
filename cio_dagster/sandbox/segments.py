"""Segments: manual ones are made by the App API and filled by the Track API; data-driven ones only have members here.

Sources: Customer.io's Track OpenAPI, /api/v1/segments; its App OpenAPI, segments.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from cio_dagster.sandbox.identity import Identifier, bare_cio_id, is_email
from cio_dagster.sandbox.people import Person, find, find_or_create
from cio_dagster.sandbox.workspace import Workspace


def find_segment(workspace: Workspace, id: int) -> sqlite3.Row | None:
    """A segment by its id."""
    return workspace.store.row("SELECT * FROM segments WHERE id = ?", id)


def create(workspace: Workspace, name: str, description: str, type: str = "manual") -> int:
    """Add an empty segment, and return its id."""
    now = int(workspace.now())
    id = workspace.store.run(
        "INSERT INTO segments (name, description, type, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
        name,
        description,
        type,
        now,
        now,
    ).lastrowid
    assert id is not None
    return id


def delete(workspace: Workspace, id: int) -> None:
    """Remove a segment; its people stay."""
    workspace.store.run("DELETE FROM segment_members WHERE segment_id = ?", id)
    workspace.store.run("DELETE FROM segments WHERE id = ?", id)


def add(workspace: Workspace, id: int, id_type: str, values: list[Any]) -> None:
    """Add people to a segment; values of another kind are ignored, and by default unknown people are."""
    people = []
    for value in values:
        identifier = _identifier(id_type, value)
        if identifier:
            people.append(find_or_create(workspace, identifier, workspace.settings.segment_unknown_people == "create"))
    workspace.store.run_many(
        "INSERT OR IGNORE INTO segment_members VALUES (?, ?)", [(id, each.cio_id) for each in people if each]
    )


def remove(workspace: Workspace, id: int, id_type: str, values: list[Any]) -> None:
    """Remove people from a segment."""
    people: list[Person | None] = []
    for value in values:
        identifier = _identifier(id_type, value)
        people.append(find(workspace, identifier) if identifier else None)
    workspace.store.run_many(
        "DELETE FROM segment_members WHERE segment_id = ? AND cio_id = ?", [(id, each.cio_id) for each in people if each]
    )


def _identifier(id_type: str, value: object) -> Identifier | None:
    if not isinstance(value, str) or not value or (id_type == "email" and not is_email(value)):
        return None
    return Identifier(id_type, bare_cio_id(value) if id_type == "cio_id" else value)


def described(row: sqlite3.Row) -> dict[str, Any]:
    """A segment as App API answers show it."""
    return {
        "id": row["id"],
        "deduplicate_id": f"{row['id']}:{row['updated_at']}",
        "name": row["name"],
        "description": row["description"],
        "state": "finished",
        "progress": None,
        "type": row["type"],
        "tags": None,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
