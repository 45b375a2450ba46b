"""Events, pages and screens, of people and of visitors known only by an anonymous id."""

from __future__ import annotations

from typing import Any

from cio_dagster.sandbox.identity import Identifier, is_ulid, match_key
from cio_dagster.sandbox.people import Person, create, find, is_suppressed, nobody_known_as
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Workspace


def record(
    workspace: Workspace,
    identifier: Identifier | None,
    type: str,
    name: str,
    attributes: dict[str, Any],
    *,
    id: str | None,
    timestamp: int | None,
    received_at: float,
) -> None:
    """Store an event, unless its id repeats one already received."""
    person: Person | None = None
    held: Identifier | None = None
    anonymous_id = ""
    if identifier is not None and identifier.kind == "anonymous_id":
        anonymous_id = identifier.value
        person = find(workspace, identifier) if anonymous_id and workspace.settings.anonymous_merge else None
    elif identifier is not None:
        if is_suppressed(workspace, identifier):
            return
        unknown = workspace.settings.event_unknown_person
        person = find(workspace, identifier)
        if person is None and unknown == "create":
            person = create(workspace, identifier, int(workspace.now()))
        elif person is None and unknown == "hold" and identifier.kind != "cio_id":
            held = identifier
        if person is None and held is None:
            data = {"name": name, identifier.kind: identifier.value, "reason": "no person matches"}
            workspace.log("failed_event", data, nobody_known_as(identifier), name=name)
            return
    if id is not None and _repeats(workspace, id, person.cio_id if person else anonymous_id, received_at):
        return
    when = int(received_at) if timestamp is None else timestamp
    if when > received_at and workspace.settings.future_events == "now":
        when = int(received_at)
    workspace.store.run(
        "INSERT INTO events (id, type, name, cio_id, anonymous_id, held_kind, held_key, timestamp, received_at,"
        " attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        type,
        name,
        person.cio_id if person else None,
        anonymous_id or None,
        held.kind if held else None,
        match_key(*held) if held else None,
        when,
        int(received_at),
        dump(attributes),
    )
    if person:
        workspace.log(type, attributes, person.who, name=name, timestamp=when)


def _repeats(workspace: Workspace, id: str, owner: str, received_at: float) -> bool:
    """Whether an event id was received before, in the scope and the time for which ids are remembered.

    Source: Customer.io's Track OpenAPI, components.schemas.dedupe_id; scope and time are not documented.
    """
    settings = workspace.settings
    if not is_ulid(id):
        if settings.invalid_event_id == "accept":
            return False
    else:
        id = id.upper()
    scope = owner if settings.dedupe_scope == "person" else ""
    if settings.dedupe_hours:
        expired = received_at - settings.dedupe_hours * 3600
        workspace.store.run("DELETE FROM event_ids WHERE scope = ? AND id = ? AND received_at < ?", scope, id, expired)
    added = workspace.store.run("INSERT OR IGNORE INTO event_ids VALUES (?, ?, ?)", scope, id, received_at).rowcount
    return added == 0
