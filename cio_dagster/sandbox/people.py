"""People: who an operation is about, and what identify, delete, suppress and merge do to them.

The rules are those of Customer.io's Track OpenAPI, ``PUT /api/v1/customers/{identifier}`` and
``POST /api/v1/merge_customers``. v2 states none of its own for identifiers in ``attributes``, so v1's hold there too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cio_dagster.sandbox import limits
from cio_dagster.sandbox.identity import PERSON_IDENTIFIERS, Identifier, is_phone, match_key, new_cio_id
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Who, Workspace

_COLUMNS = {"id": "id", "email": "email_key", "phone": "phone", "cio_id": "cio_id", "anonymous_id": "anonymous_id"}
_CONTROLS = ("cio_id", "_update", "_timestamp", "cio_relationships")
_TOPIC = "cio_subscription_preferences.topics."
ANONYMOUS_DAYS = 30
"""How far back anonymous events join a person. Source: Customer.io's Track OpenAPI, /api/v1/events."""


@dataclass
class Person:
    """A person; ``attributes`` leaves the identifiers out, ``set_at`` says when each one was last set."""

    cio_id: str
    id: str | None
    email: str | None
    phone: str | None
    anonymous_id: str | None
    attributes: dict[str, Any]
    set_at: dict[str, int]
    created_at: int
    updated_at: int

    @classmethod
    def read(cls, row: sqlite3.Row) -> Person:
        """A person from the people table."""
        return cls(
            row["cio_id"],
            row["id"],
            row["email"],
            row["phone"],
            row["anonymous_id"],
            json.loads(row["attributes"]),
            json.loads(row["set_at"]),
            row["created_at"],
            row["updated_at"],
        )

    @property
    def identifiers(self) -> dict[str, str | None]:
        """The three identifiers that App API answers show."""
        return {"email": self.email, "id": self.id, "cio_id": self.cio_id}

    @property
    def who(self) -> Who:
        """The person as :meth:`Workspace.log` takes it."""
        return Who(self.cio_id, self.id, self.email)


def nobody_known_as(identifier: Identifier) -> Who:
    """Whom an activity names when an operation found nobody."""
    kind, value = identifier
    return Who(None, value if kind == "id" else None, value if kind == "email" else None)


def find(workspace: Workspace, identifier: Identifier) -> Person | None:
    """The person with an identifier."""
    row = workspace.store.row(f"SELECT * FROM people WHERE {_COLUMNS[identifier.kind]} = ?", match_key(*identifier))
    return Person.read(row) if row else None


def is_suppressed(workspace: Workspace, identifier: Identifier) -> bool:
    """Whether an identifier is suppressed, so that operations on it are ignored."""
    found = workspace.store.row("SELECT 1 FROM suppressed WHERE kind = ? AND key = ?", identifier.kind, match_key(*identifier))
    return found is not None


def create(workspace: Workspace, identifier: Identifier, now: int) -> Person | None:
    """Add a person known by one identifier; nobody, if it is a ``cio_id`` (those are never reused) or suppressed."""
    kind, value = identifier
    if kind not in PERSON_IDENTIFIERS or is_suppressed(workspace, identifier):
        return None
    person = Person(new_cio_id(), None, None, None, None, {}, {}, now, now)
    setattr(person, kind, value)
    person.set_at = {kind: now, "cio_id": now}
    workspace.store.run(
        "INSERT INTO people (cio_id, id, email, email_key, phone, attributes, set_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, '{}', ?, ?, ?)",
        person.cio_id,
        person.id,
        person.email,
        match_key("email", person.email) if person.email else None,
        person.phone,
        dump(person.set_at),
        now,
        now,
    )
    workspace.log("profile_create", {}, person.who)
    _take_held_events(workspace, person, identifier)
    return person


def find_or_create(workspace: Workspace, identifier: Identifier, create_unknown: bool) -> Person | None:
    """The person with an identifier, made if that is wanted and may be."""
    return find(workspace, identifier) or (create(workspace, identifier, int(workspace.now())) if create_unknown else None)


def save(workspace: Workspace, person: Person) -> None:
    """Write a changed person back."""
    workspace.store.run(
        "UPDATE people SET id = ?, email = ?, email_key = ?, phone = ?, anonymous_id = ?, attributes = ?, set_at = ?,"
        " updated_at = ? WHERE cio_id = ?",
        person.id,
        person.email,
        match_key("email", person.email) if person.email else None,
        person.phone,
        person.anonymous_id,
        dump(person.attributes),
        dump(person.set_at),
        person.updated_at,
        person.cio_id,
    )


def identify(
    workspace: Workspace, identifier: Identifier, attributes: Mapping[str, Any], timestamp: int | None, surface: str
) -> Person | None:
    """Add or update a person, and return them; nobody, if the operation was dropped."""
    settings = workspace.settings
    now = int(workspace.now())
    # A time to come would make every later update stale, so it counts as now.
    when = now if timestamp is None else min(timestamp, now)
    given = _given_identifiers(workspace, attributes)
    apart = {*_CONTROLS, *(each.kind for each in given), *_empty_identifiers(workspace, attributes)}
    # What is left of the identifiers has no value that could identify anybody; only a phone may be just an attribute.
    unfit = (settings.enabled_identifiers | {"anonymous_id"}) - apart
    if any(is_suppressed(workspace, each) for each in (identifier, *given)):
        return None
    person = find(workspace, identifier)
    if person is None and identifier.kind != "cio_id":
        person = _relabel(workspace, identifier, given, now)
    if person is None and attributes.get("_update") is True:
        if settings.update_miss_activity in (surface, "both"):
            data = {identifier.kind: _change(None, identifier.value)}
            workspace.log("failed_attribute_change", data, nobody_known_as(identifier))
        return None
    if person is None:
        person = create(workspace, identifier, now)
        if person is None:
            return None
        person.updated_at = when

    if settings.stale_timestamps == "profile" and when < person.updated_at:
        workspace.log("skipped_update", {"timestamp": when, "last_update": person.updated_at}, person.who)
        return person
    changes: dict[str, dict[str, str]] = {}
    failures: dict[str, dict[str, str]] = {}
    stale: list[str] = []
    for each in given:
        _set_identifier(workspace, person, each, identifier, now, changes, failures)
    for name, value in attributes.items():
        if name in apart:
            continue
        if name in unfit and (name != "phone" or person.phone is not None):
            failures[name] = _change(getattr(person, name), value)
            continue
        if settings.stale_timestamps == "attribute" and when < person.set_at.get(name, 0):
            stale.append(name)
            continue
        _set_attribute(workspace, person, name, value, when, changes, failures)
    if changes or person.updated_at < when:
        person.updated_at = max(person.updated_at, when)
    save(workspace, person)
    if changes:
        workspace.log("attribute_change", changes, person.who, timestamp=when)
    if failures:
        workspace.log("failed_attribute_change", failures, person.who)
    if stale:
        workspace.log("skipped_update", {"attributes": stale, "timestamp": when}, person.who)
    return person


def _given_identifiers(workspace: Workspace, attributes: Mapping[str, Any]) -> list[Identifier]:
    """The identifiers in a call's attributes; a null or empty one says nothing about who is meant."""
    given = []
    for kind in PERSON_IDENTIFIERS:
        value = attributes.get(kind)
        if not isinstance(value, str) or not value.strip() or kind not in workspace.settings.enabled_identifiers:
            continue
        if kind != "phone" or is_phone(value):
            given.append(Identifier(kind, value))
    anonymous_id = attributes.get("anonymous_id")
    if isinstance(anonymous_id, str) and anonymous_id:
        given.append(Identifier("anonymous_id", anonymous_id))
    return given


def _empty_identifiers(workspace: Workspace, attributes: Mapping[str, Any]) -> list[str]:
    """The identifiers given as null or empty, which leave the person's own alone."""
    kinds = (*workspace.settings.enabled_identifiers, "anonymous_id")
    return [kind for kind in kinds if kind in attributes and attributes[kind] in (None, "")]


def _relabel(workspace: Workspace, identifier: Identifier, given: list[Identifier], now: int) -> Person | None:
    """The person whom the call's attributes name, given the identifier that addresses them from now on."""
    for each in given:
        person = find(workspace, each) if each.kind in PERSON_IDENTIFIERS else None
        if person:
            before = getattr(person, identifier.kind)
            setattr(person, identifier.kind, identifier.value)
            person.set_at[identifier.kind] = now
            save(workspace, person)
            workspace.log("attribute_change", {identifier.kind: _change(before, identifier.value)}, person.who)
            _take_held_events(workspace, person, identifier)
            return person
    return None


def _set_identifier(
    workspace: Workspace,
    person: Person,
    given: Identifier,
    addressed_by: Identifier,
    now: int,
    changes: dict[str, dict[str, str]],
    failures: dict[str, dict[str, str]],
) -> None:
    kind, value = given
    current: str | None = getattr(person, kind)
    if current == value:
        return
    owner = find(workspace, given)
    same_in_other_spelling = owner is not None and owner.cio_id == person.cio_id
    may_change = (
        current is None
        or addressed_by.kind == "cio_id"
        or kind == "anonymous_id"
        or same_in_other_spelling
        or (kind == "email" and addressed_by.kind == "id" and workspace.settings.email_update_by_id)
    )
    if not may_change or (owner is not None and not same_in_other_spelling):
        failures[kind] = _change(current, value)
        return
    setattr(person, kind, value)
    person.attributes.pop(kind, None)
    person.set_at[kind] = now
    changes[kind] = _change(current, value)
    _take_held_events(workspace, person, given)
    if kind == "anonymous_id":
        _take_anonymous(workspace, person, value)


def _set_attribute(
    workspace: Workspace,
    person: Person,
    name: str,
    value: Any,
    when: int,
    changes: dict[str, dict[str, str]],
    failures: dict[str, dict[str, str]],
) -> None:
    attributes = person.attributes
    if name.startswith(_TOPIC):
        # The one documented dotted name: it changes one topic and leaves the others.
        before = attributes.get("cio_subscription_preferences")
        known = before if isinstance(before, dict) else {}
        topics = known.get("topics") or {}
        name, value = "cio_subscription_preferences", {**known, "topics": {**topics, name[len(_TOPIC) :]: value}}
    removes = {"both": (None, ""), "null": (None,), "empty": ("",), "none": ()}[workspace.settings.person_unset]
    current = attributes.get(name)
    if value in removes:
        person.set_at[name] = when
        if name in attributes:
            del attributes[name]
            changes[name] = _change(current, "")
        return
    if workspace.settings.nested_attributes == "merge":
        value = merge_nested(current, value)
    if name not in attributes and len(attributes) >= limits.ATTRIBUTES:
        failures[name] = _change(None, value)
        return
    person.set_at[name] = when
    if name not in attributes or current != value or type(current) is not type(value):
        attributes[name] = value
        changes[name] = _change(current, value)


def merge_nested(current: Any, value: Any) -> Any:
    """A nested value laid over the one that was there."""
    if not isinstance(current, dict) or not isinstance(value, dict):
        return value
    return {**current, **{name: merge_nested(current.get(name), each) for name, each in value.items()}}


def as_text(value: Any) -> str:
    """A value as App API answers show it: attributes are all strings there.

    Source: Customer.io's Track OpenAPI, components.schemas.customerAttributesObject.
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else limits.encoded(value)


def _change(before: Any, after: Any) -> dict[str, str]:
    return {"from": as_text(before), "to": as_text(after)}


def delete(workspace: Workspace, identifier: Identifier) -> Person | None:
    """Remove a person and everything of theirs; their ``cio_id`` is never found again."""
    person = find(workspace, identifier)
    if person:
        _remove(workspace, person)
        workspace.log("profile_delete", {}, person.who)
    return person


def _remove(workspace: Workspace, person: Person) -> None:
    for table in ("people", "devices", "events", "segment_members", "relationships"):
        workspace.store.run(f"DELETE FROM {table} WHERE cio_id = ?", person.cio_id)


def suppress(workspace: Workspace, identifier: Identifier) -> None:
    """Delete a person for good and block the identifier; both their id and email, if they have both."""
    person = delete(workspace, identifier)
    blocked = {identifier} if identifier.kind in PERSON_IDENTIFIERS else set()
    if person:
        own = [Identifier(kind, getattr(person, kind) or "") for kind in PERSON_IDENTIFIERS]
        blocked.update(each for each in own if each.value)
    together = new_cio_id()
    workspace.store.run_many(
        "INSERT OR REPLACE INTO suppressed (kind, key, together) VALUES (?, ?, ?)",
        [(each.kind, match_key(*each), together) for each in blocked],
    )


def unsuppress(workspace: Workspace, identifier: Identifier) -> None:
    """Free an identifier and those that were suppressed with it; the person does not come back."""
    workspace.store.run(
        "DELETE FROM suppressed WHERE together = (SELECT together FROM suppressed WHERE kind = ? AND key = ?)",
        identifier.kind,
        match_key(*identifier),
    )


def merge(workspace: Workspace, primary: Identifier, secondary: Identifier) -> None:
    """Merge the secondary person into the primary and delete them; without a primary nothing happens."""
    kept, gone = find(workspace, primary), find(workspace, secondary)
    if kept is None or gone is None or kept.cio_id == gone.cio_id:
        return
    store = workspace.store
    now = int(workspace.now())
    changes = {}
    for name, value in gone.attributes.items():
        if kept.attributes.get(name) in (None, "") and len(kept.attributes) < limits.ATTRIBUTES:
            changes[name] = _change(kept.attributes.get(name), value)
            kept.attributes[name] = value
            kept.set_at[name] = now
    for table in ("devices", "events", "segment_members", "relationships"):
        store.run(f"UPDATE OR IGNORE {table} SET cio_id = ? WHERE cio_id = ?", kept.cio_id, gone.cio_id)
    _remove(workspace, gone)
    for kind in (*PERSON_IDENTIFIERS, "anonymous_id"):
        value = getattr(gone, kind)
        if value and getattr(kept, kind) is None:
            setattr(kept, kind, value)
            changes[kind] = _change(None, value)
    kept.updated_at = now
    save(workspace, kept)
    workspace.log("profile_merge", {"secondary": gone.identifiers}, kept.who)
    if changes:
        workspace.log("attribute_change", changes, kept.who)


def _take_anonymous(workspace: Workspace, person: Person, anonymous_id: str) -> None:
    """Give a person the anonymous events and object relationships that carry their anonymous_id."""
    store = workspace.store
    store.run(
        "UPDATE OR IGNORE relationships SET cio_id = ?, anonymous_id = NULL WHERE anonymous_id = ?",
        person.cio_id,
        anonymous_id,
    )
    if not workspace.settings.anonymous_merge:
        return
    since = int(workspace.now()) - ANONYMOUS_DAYS * 86_400
    joined = store.run(
        "UPDATE events SET cio_id = ? WHERE anonymous_id = ? AND cio_id IS NULL AND received_at >= ?",
        person.cio_id,
        anonymous_id,
        since,
    ).rowcount
    if joined:
        workspace.log("anon_merge", {"anonymous_id": anonymous_id, "events": joined}, person.who)


def _take_held_events(workspace: Workspace, person: Person, identifier: Identifier) -> None:
    """Give a person the events that waited for their identifier."""
    if workspace.settings.event_unknown_person == "hold":
        workspace.store.run(
            "UPDATE events SET cio_id = ?, held_kind = NULL, held_key = NULL WHERE held_kind = ? AND held_key = ?",
            person.cio_id,
            identifier.kind,
            match_key(*identifier),
        )
