"""App API: object types, objects and their relationships. Source: Customer.io's App OpenAPI, objects."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cio_dagster.sandbox.answers import Refused, app_error, json_answer
from cio_dagster.sandbox.app_requests import limit_of, object_of, page, start_of
from cio_dagster.sandbox.filters import Filter, InvalidFilter, attribute_condition, read_filter
from cio_dagster.sandbox.objects import Object, find_object
from cio_dagster.sandbox.people import as_text
from cio_dagster.sandbox.workspace import Workspace

DEFAULT, MOST = 50, 1000


class AppObjects:
    """The handlers of the App API's objects."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        one = "/v1/objects/{object_type_id}/{object_id}"
        return [
            web.get("/v1/object_types", self.types, allow_head=False),
            web.post("/v1/objects", self.search),
            web.get(f"{one}/attributes", self.attributes, allow_head=False),
            web.get(f"{one}/relationships", self.relationships, allow_head=False),
        ]

    async def types(self, request: web.Request) -> web.Response:
        """The object types."""
        shown = []
        for id, name in self._workspace.object_types().items():
            slug = name.lower().replace(" ", "-")
            shown.append(
                {
                    "id": id,
                    "name": name,
                    "singular_name": name.removesuffix("s"),
                    "slug": slug,
                    "singular_slug": slug.removesuffix("s"),
                    "enabled": True,
                    "icon": "box",
                }
            )
        return json_answer({"types": shown})

    async def search(self, request: web.Request) -> web.Response:
        """The objects of a type that a filter lets through; both must be given."""
        body = await object_of(request)
        type_id = str(body.get("object_type_id"))
        if type_id not in self._workspace.object_types():
            return app_error(f"object type {type_id} does not exist")
        limit, start = limit_of(request, DEFAULT, MOST), start_of(request)

        def object_attribute(given: object) -> Filter:
            if not isinstance(given, dict) or str(given.get("type_id")) != type_id:
                raise InvalidFilter("object_attribute needs a type_id, which is the object_type_id")
            return attribute_condition(given)

        try:
            passes = read_filter(body.get("filter"), {"object_attribute": object_attribute})
        except InvalidFilter as error:
            return app_error(str(error))
        rows = self._workspace.store.rows(
            "SELECT * FROM objects WHERE object_type_id = ? AND seq > ? ORDER BY seq", type_id, start
        )
        matching = (row for row in rows if passes(seen_attributes(Object.read(row))))
        found, next = page(matching, limit, self._workspace.settings.page_repeats)
        identifiers = [{"cio_object_id": row["cio_object_id"], "object_id": row["object_id"]} for row in found]
        return json_answer({"identifiers": identifiers, "ids": [row["object_id"] for row in found], "next": next})

    def _object(self, request: web.Request) -> Object:
        id_type, value = request.query.get("id_type", "object_id"), request.match_info["object_id"]
        if id_type not in ("object_id", "cio_object_id"):
            raise Refused(app_error("id_type must be object_id or cio_object_id"))
        type_id = request.match_info["object_type_id"]
        identifiers = {"cio_object_id": value}
        if id_type == "object_id":
            identifiers = {"object_type_id": type_id, "object_id": value}
        found = find_object(self._workspace, identifiers)
        if found is None or found.object_type_id != type_id:
            raise Refused(app_error(f"object {value} of type {type_id} does not exist", 404))
        return found

    async def attributes(self, request: web.Request) -> web.Response:
        """An object's attributes, all as strings."""
        found = self._object(request)
        shown = seen_attributes(found)
        return json_answer(
            {
                "object": {
                    "object_type_id": found.object_type_id,
                    "identifiers": {"cio_object_id": found.cio_object_id, "object_id": found.object_id},
                    "attributes": {name: as_text(value) for name, value in shown.items()},
                    "timestamps": {name: when for name, when in found.set_at.items() if name in shown},
                }
            }
        )

    async def relationships(self, request: web.Request) -> web.Response:
        """The people related to an object; the document shows no attributes of theirs."""
        found = self._object(request)
        limit = limit_of(request, DEFAULT, MOST)
        rows = self._workspace.store.rows(
            "SELECT relationships.*, people.id AS person_id, people.email FROM relationships"
            " JOIN people USING (cio_id) WHERE cio_object_id = ? AND relationships.seq > ?"
            " ORDER BY relationships.seq LIMIT ?",
            found.cio_object_id,
            start_of(request),
            limit + 1,
        )
        related, next = page(rows, limit, self._workspace.settings.page_repeats)
        shown = [
            {
                "object_type_id": found.object_type_id,
                "identifiers": {"cio_id": row["cio_id"], "id": row["person_id"], "email": row["email"]},
                "object_type_disabled": False,
            }
            for row in related
        ]
        return json_answer({"cio_relationships": shown, "next": next})


def seen_attributes(object: Object) -> dict[str, Any]:
    """What counts as an object's attributes where they are read or filtered: the identifiers too."""
    return {
        **object.attributes,
        "object_type_id": object.object_type_id,
        "object_id": object.object_id,
        "cio_object_id": object.cio_object_id,
    }
