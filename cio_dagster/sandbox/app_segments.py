"""App API: segments. Source: Customer.io's App OpenAPI, segments."""

from __future__ import annotations

import sqlite3

from aiohttp import web

from cio_dagster.sandbox import segments
from cio_dagster.sandbox.answers import Refused, app_error, json_answer
from cio_dagster.sandbox.app_requests import limit_of, numeric_id, object_of, page, start_of
from cio_dagster.sandbox.workspace import Workspace

MEMBERS_DEFAULT, MEMBERS_MOST = 1000, 30_000


class AppSegments:
    """The handlers of the App API's segments."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        one = "/v1/segments/{segment_id}"
        return [
            web.get("/v1/segments", self.list, allow_head=False),
            web.post("/v1/segments", self.create),
            web.get(one, self.get, allow_head=False),
            web.delete(one, self.delete),
            web.get(f"{one}/used_by", self.used_by, allow_head=False),
            web.get(f"{one}/customer_count", self.customer_count, allow_head=False),
            web.get(f"{one}/membership", self.membership, allow_head=False),
        ]

    def _segment(self, request: web.Request) -> sqlite3.Row:
        id = numeric_id(request, "segment_id")
        segment = segments.find_segment(self._workspace, id)
        if segment is None:
            raise Refused(app_error(f"segment {id} does not exist", 404))
        return segment

    async def list(self, request: web.Request) -> web.Response:
        """All segments; no paging is documented."""
        rows = self._workspace.store.rows("SELECT * FROM segments ORDER BY id")
        return json_answer({"segments": [segments.described(row) for row in rows]})

    async def create(self, request: web.Request) -> web.Response:
        """Make an empty manual segment."""
        body = await object_of(request)
        given = body.get("segment")
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(name, str) or not name.strip():
            return app_error("segment.name is required")
        description = given.get("description") or ""
        if not isinstance(description, str):
            return app_error("segment.description must be a string")
        reject = self._workspace.settings.duplicate_segment_names == "reject"
        if reject and self._workspace.store.row("SELECT 1 FROM segments WHERE name = ?", name):
            return app_error(f"a segment named {name} exists")
        with self._workspace.change():
            id = segments.create(self._workspace, name, description)
        row = segments.find_segment(self._workspace, id)
        assert row is not None
        return json_answer({"segment": segments.described(row)})

    async def get(self, request: web.Request) -> web.Response:
        """One segment."""
        return json_answer({"segment": segments.described(self._segment(request))})

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a manual segment."""
        segment = self._segment(request)
        if segment["type"] != "manual":
            return app_error(f"segment {segment['id']} is not a manual segment")
        with self._workspace.change():
            segments.delete(self._workspace, segment["id"])
        return web.Response(status=204)

    async def used_by(self, request: web.Request) -> web.Response:
        """What uses a segment; the sandbox has no campaigns or newsletters."""
        id = self._segment(request)["id"]
        return json_answer({"segment_id": id, "used_by": {"campaigns": [], "sent_newsletters": [], "draft_newsletters": []}})

    async def customer_count(self, request: web.Request) -> web.Response:
        """How many people are in a segment."""
        id = self._segment(request)["id"]
        count = self._workspace.store.value("SELECT count(*) FROM segment_members WHERE segment_id = ?", id)
        return json_answer({"segment_id": id, "count": count})

    async def membership(self, request: web.Request) -> web.Response:
        """The people in a segment; ``ids`` has an empty string for those without an id."""
        id = self._segment(request)["id"]
        limit = limit_of(request, MEMBERS_DEFAULT, MEMBERS_MOST)
        rows = self._workspace.store.rows(
            "SELECT people.* FROM segment_members JOIN people USING (cio_id)"
            " WHERE segment_id = ? AND people.seq > ? ORDER BY people.seq LIMIT ?",
            id,
            start_of(request),
            limit + 1,
        )
        members, next = page(rows, limit)
        identifiers = [{"id": row["id"], "email": row["email"], "cio_id": row["cio_id"]} for row in members]
        return json_answer({"ids": [row["id"] or "" for row in members], "identifiers": identifiers, "next": next})
