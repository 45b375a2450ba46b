"""App API: people and their activities, and the workspace's counts.

Source: Customer.io's App OpenAPI, customers, activities and workspaces.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from cio_dagster.sandbox import devices, limits, segments
from cio_dagster.sandbox.answers import app_error, json_answer
from cio_dagster.sandbox.app_requests import identifier_of, limit_of, object_of, page, person_of, start_of
from cio_dagster.sandbox.filters import Filter, InvalidFilter, attribute_condition, read_filter
from cio_dagster.sandbox.identity import match_key
from cio_dagster.sandbox.people import Person, as_text, find
from cio_dagster.sandbox.workspace import Workspace

PEOPLE_DEFAULT, PEOPLE_MOST = 50, 1000
ACTIVITIES_DEFAULT, ACTIVITIES_MOST = 10, 100
ACTIVITY_DAYS = 30


class AppCustomers:
    """The handlers of the App API's customers, activities and workspaces."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        one = "/v1/customers/{customer_id}"
        return [
            web.get("/v1/customers", self.by_email, allow_head=False),
            web.post("/v1/customers", self.search),
            web.post("/v1/customers/attributes", self.attributes_of_many),
            web.get(f"{one}/attributes", self.attributes, allow_head=False),
            web.get(f"{one}/activities", self.activities_of_one, allow_head=False),
            web.get(f"{one}/segments", self.segments, allow_head=False),
            web.get(f"{one}/relationships", self.relationships, allow_head=False),
            web.get(f"{one}/messages", self.messages, allow_head=False),
            web.get(f"{one}/subscription_preferences", self.subscription_preferences, allow_head=False),
            web.get("/v1/activities", self.activities, allow_head=False),
            web.get("/v1/workspaces", self.workspaces, allow_head=False),
        ]

    async def by_email(self, request: web.Request) -> web.Response:
        """The people with an email; an unencoded plus is a space and finds nobody, as documented."""
        email = request.query.get("email")
        if email is None:
            return app_error("email is required")
        rows = self._workspace.store.rows("SELECT email, id, cio_id FROM people WHERE email_key = ?", email.lower())
        return json_answer({"results": [dict(row) for row in rows]})

    async def search(self, request: web.Request) -> web.Response:
        """The people whom a filter lets through."""
        body = await object_of(request)
        limit, start = limit_of(request, PEOPLE_DEFAULT, PEOPLE_MOST), start_of(request)
        try:
            people = matching_people(self._workspace, body.get("filter"), start)
        except InvalidFilter as error:
            return app_error(str(error))
        found, next = page(people, limit)
        identifiers = [{"cio_id": row["cio_id"], "id": row["id"], "email": row["email"]} for row in found]
        return json_answer({"identifiers": identifiers, "ids": [row["id"] or "" for row in found], "next": next})

    async def attributes(self, request: web.Request) -> web.Response:
        """A person's attributes, all as strings, and devices."""
        return json_answer({"customer": self._described(person_of(self._workspace, request))})

    async def attributes_of_many(self, request: web.Request) -> web.Response:
        """The same for up to 100 people; unknown ones are left out."""
        ids = (await object_of(request)).get("ids")
        if not isinstance(ids, list) or not 1 <= len(ids) <= limits.PEOPLE_BY_ID:
            return app_error(f"ids must be an array of 1 to {limits.PEOPLE_BY_ID} customer ids")
        if not all(isinstance(each, str) for each in ids):
            return app_error("ids must be strings")
        people = (find(self._workspace, identifier_of(self._workspace, request, each)) for each in ids)
        return json_answer({"customers": [{"customer": self._described(person)} for person in people if person]})

    def _described(self, person: Person) -> dict[str, Any]:
        shown = seen_attributes(person)
        return {
            "id": person.id or "",
            "identifiers": person.identifiers,
            "attributes": {name: as_text(value) for name, value in shown.items()},
            "timestamps": {name: when for name, when in person.set_at.items() if name in shown},
            "unsubscribed": is_unsubscribed(person.attributes),
            "devices": devices.of_person(self._workspace, person.cio_id),
        }

    async def activities_of_one(self, request: web.Request) -> web.Response:
        """A person's activities, newest first."""
        return self._activities(request, person_of(self._workspace, request).cio_id)

    async def activities(self, request: web.Request) -> web.Response:
        """Activities of the workspace, newest first; a ``cio_id`` has its prefix here, as documented."""
        customer_id = request.query.get("customer_id")
        if customer_id is None:
            return self._activities(request, None)
        identifier = identifier_of(self._workspace, request, customer_id)
        if identifier.kind == "cio_id" and identifier.value == customer_id:
            return app_error("a cio_id has the prefix cio_ here")
        person = find(self._workspace, identifier)
        if person is None and request.query.get("deleted") == "true":
            column = {"id": "person_id", "email": "lower(person_email)", "cio_id": "cio_id"}.get(identifier.kind)
            gone = column and self._workspace.store.value(
                f"SELECT cio_id FROM activities WHERE {column} = ? ORDER BY seq DESC LIMIT 1", match_key(*identifier)
            )
            return self._activities(request, gone or "")
        return self._activities(request, person.cio_id if person else "")

    def _activities(self, request: web.Request, cio_id: str | None) -> web.Response:
        limit, start = limit_of(request, ACTIVITIES_DEFAULT, ACTIVITIES_MOST), start_of(request)
        wanted = ["timestamp >= ?"]
        values: list[object] = [int(self._workspace.now()) - ACTIVITY_DAYS * 86_400]
        for column, value in (
            ("type", request.query.get("type")),
            ("name", request.query.get("name")),
            ("cio_id", cio_id),
        ):
            if value is not None:
                wanted.append(f"{column} = ?")
                values.append(value)
        if request.query.get("deleted") != "true":
            wanted.append("(cio_id IS NULL OR cio_id IN (SELECT cio_id FROM people))")
        if start:
            wanted.append("seq < ?")
            values.append(start)
        rows = self._workspace.store.rows(
            f"SELECT * FROM activities WHERE {' AND '.join(wanted)} ORDER BY seq DESC LIMIT ?", *values, limit + 1
        )
        found, next = page(rows, limit)
        return json_answer({"activities": [_activity(row) for row in found], "next": next})

    async def segments(self, request: web.Request) -> web.Response:
        """The segments that a person is in."""
        rows = self._workspace.store.rows(
            "SELECT segments.* FROM segment_members JOIN segments ON segments.id = segment_id"
            " WHERE cio_id = ? ORDER BY segments.id",
            person_of(self._workspace, request).cio_id,
        )
        shown = [{"id": row["id"], "name": row["name"], "description": row["description"]} for row in rows]
        return json_answer({"segments": shown})

    async def relationships(self, request: web.Request) -> web.Response:
        """The objects that a person is related to."""
        person = person_of(self._workspace, request)
        limit = limit_of(request, PEOPLE_DEFAULT, PEOPLE_MOST)
        rows = self._workspace.store.rows(
            "SELECT relationships.*, object_type_id, object_id FROM relationships JOIN objects USING (cio_object_id)"
            " WHERE cio_id = ? AND relationships.seq > ? ORDER BY relationships.seq LIMIT ?",
            person.cio_id,
            start_of(request),
            limit + 1,
        )
        found, next = page(rows, limit)
        shown = [
            {
                "object_type_id": row["object_type_id"],
                "identifiers": {"cio_object_id": row["cio_object_id"], "object_id": row["object_id"]},
                "object_type_disabled": False,
            }
            for row in found
        ]
        return json_answer({"cio_relationships": shown, "next": next})

    async def messages(self, request: web.Request) -> web.Response:
        """The messages sent to a person: none, since the sandbox sends none."""
        person_of(self._workspace, request)
        return json_answer({"messages": [], "next": ""})

    async def subscription_preferences(self, request: web.Request) -> web.Response:
        """A person's preferences, for the topics that they have one for."""
        person = person_of(self._workspace, request)
        preferences = person.attributes.get("cio_subscription_preferences")
        topics = preferences.get("topics") if isinstance(preferences, dict) else None
        shown = [
            {"id": int(name.removeprefix("topic_")), "name": name, "description": "", "subscribed": value is True}
            for name, value in (topics or {}).items()
            if name.removeprefix("topic_").isdecimal()
        ]
        about = {"id": person.id or "", "identifiers": person.identifiers}
        return json_answer({"customer": {**about, "topics": shown, "unsubscribed": is_unsubscribed(person.attributes)}})

    async def workspaces(self, request: web.Request) -> web.Response:
        """The workspace's counts; Customer.io's are up to two hours old, the sandbox's are of this moment."""
        store = self._workspace.store
        shown = {
            "id": self._workspace.settings.environment_id,
            "name": "Sandbox",
            "messages_sent": 0,
            "billable_messages_sent": 0,
            "people": store.value("SELECT count(*) FROM people"),
            "object_types": len(self._workspace.object_types()),
            "objects": store.value("SELECT count(*) FROM objects"),
        }
        return json_answer({"workspaces": [shown]})


def seen_attributes(person: Person) -> dict[str, Any]:
    """What counts as a person's attributes where they are read or filtered: the identifiers too."""
    own: dict[str, Any] = {
        "id": person.id,
        "email": person.email,
        "phone": person.phone,
        "cio_id": person.cio_id,
        "anonymous_id": person.anonymous_id,
        "_created_in_customerio_at": person.created_at,
        **person.attributes,
    }
    return {name: value for name, value in own.items() if value is not None}


def is_unsubscribed(attributes: dict[str, Any]) -> bool:
    """Whether ``unsubscribed`` says so: ``true`` in any case, or 1. Source: Customer.io's Track OpenAPI, identify."""
    return as_text(attributes.get("unsubscribed")).lower() in ("true", "1")


def matching_people(workspace: Workspace, filter: object, start: int = 0) -> Iterator[sqlite3.Row]:
    """The people whom a filter lets through, from a place on.

    Raises:
        InvalidFilter: The filter is not one of the contract's.
    """

    def segment_condition(given: object) -> Filter:
        id = given.get("id") if isinstance(given, dict) else None
        if not isinstance(id, int) or isinstance(id, bool):
            raise InvalidFilter("a segment condition needs a segment's id")
        if segments.find_segment(workspace, id) is None:
            raise InvalidFilter(f"segment {id} does not exist")
        rows = workspace.store.rows("SELECT cio_id FROM segment_members WHERE segment_id = ?", id)
        members = {row["cio_id"] for row in rows}
        return lambda record: record["cio_id"] in members

    passes = read_filter(filter, {"segment": segment_condition, "attribute": attribute_condition})
    rows = workspace.store.rows("SELECT * FROM people WHERE seq > ? ORDER BY seq", start)
    return (row for row in rows if passes(seen_attributes(Person.read(row))))


def _activity(row: sqlite3.Row) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row["id"],
        "type": row["type"],
        "timestamp": row["timestamp"],
        "data": json.loads(row["data"]),
        "customer_id": row["person_id"] or "",
    }
    if row["cio_id"] or row["person_id"] or row["person_email"]:
        identifiers = {"id": row["person_id"], "email": row["person_email"], "cio_id": row["cio_id"] or ""}
        shown["customer_identifiers"] = identifiers
    # Source: components.schemas.activityObject: a name for events and screens, a url for pages.
    if row["type"] in ("event", "screen"):
        shown["name"] = row["name"]
    elif row["type"] == "page":
        shown["url"] = row["name"]
    return shown
