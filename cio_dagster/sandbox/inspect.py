"""What the sandbox shows under ``/_sandbox/``: everything it holds, with attributes in their real JSON types."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from cio_dagster.sandbox import segments
from cio_dagster.sandbox.answers import json_answer
from cio_dagster.sandbox.faults import Faults, InvalidFault
from cio_dagster.sandbox.intake import Intake, read_json
from cio_dagster.sandbox.requests import RequestLog
from cio_dagster.sandbox.settings import InvalidSetting
from cio_dagster.sandbox.workspace import Workspace

_PERSON = "people.id AS person_id, people.email AS person_email"
_COUNTED = ("people", "devices", "events", "segments", "segment_members", "objects", "relationships", "collections")


class Inspect:
    """The handlers of ``/_sandbox/``."""

    def __init__(self, workspace: Workspace, intake: Intake, faults: Faults, log: RequestLog) -> None:
        self._workspace = workspace
        self._intake = intake
        self._faults = faults
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        lists: dict[str, Callable[[str], Iterator[dict[str, Any]]]] = {
            "people": self._people,
            "suppressed": self._suppressed,
            "devices": self._devices,
            "events": self._events,
            "segments": self._segments,
            "objects": self._objects,
            "relationships": self._relationships,
            "collections": self._collections,
            "activities": self._activities,
            "deliveries": self._deliveries,
        }
        return [
            *(web.get(f"/_sandbox/{name}", _listing(name, rows)) for name, rows in lists.items()),
            web.get("/_sandbox/requests", self.requests),
            web.get("/_sandbox/counts", self.counts),
            web.get("/_sandbox/settings", self.settings),
            web.post("/_sandbox/settings", self.change_settings),
            web.get("/_sandbox/faults", self.faults),
            web.post("/_sandbox/faults", self.arm_faults),
            web.post("/_sandbox/segments", self.make_segment),
            web.post("/_sandbox/reset", self.reset),
        ]

    def _rows(self, sql: str, page: str) -> Iterator[Any]:
        return iter(self._workspace.store.rows(sql + page))

    def _people(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT * FROM people ORDER BY seq", page):
            yield {
                "cio_id": row["cio_id"],
                "id": row["id"],
                "email": row["email"],
                "phone": row["phone"],
                "anonymous_id": row["anonymous_id"],
                "attributes": json.loads(row["attributes"]),
                "created_at": row["created_at"],
                "updated_at": row["updated_at"],
            }

    def _suppressed(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT kind, key FROM suppressed ORDER BY kind, key", page):
            yield {"kind": row["kind"], "value": row["key"]}

    def _devices(self, page: str) -> Iterator[dict[str, Any]]:
        sql = f"SELECT devices.*, {_PERSON} FROM devices LEFT JOIN people USING (cio_id) ORDER BY devices.seq"
        for row in self._rows(sql, page):
            yield {
                "token": row["token"],
                "platform": row["platform"],
                "last_used": row["last_used"],
                "attributes": json.loads(row["attributes"]),
                "person": _person(row),
            }

    def _events(self, page: str) -> Iterator[dict[str, Any]]:
        sql = (
            f"SELECT events.*, events.id AS event_id, {_PERSON} FROM events LEFT JOIN people USING (cio_id) ORDER BY events.seq"
        )
        for row in self._rows(sql, page):
            yield {
                "id": row["event_id"],
                "type": row["type"],
                "name": row["name"],
                "timestamp": row["timestamp"],
                "received_at": row["received_at"],
                "attributes": json.loads(row["attributes"]),
                "person": _person(row) if row["cio_id"] else None,
                "anonymous_id": row["anonymous_id"],
                "held_for": {row["held_kind"]: row["held_key"]} if row["held_kind"] else None,
            }

    def _segments(self, page: str) -> Iterator[dict[str, Any]]:
        for row in list(self._rows("SELECT * FROM segments ORDER BY id", page)):
            members = self._workspace.store.rows(
                f"SELECT cio_id, {_PERSON} FROM segment_members JOIN people USING (cio_id)"
                " WHERE segment_id = ? ORDER BY people.seq",
                row["id"],
            )
            yield {**segments.described(row), "members": [_person(member) for member in members]}

    def _objects(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT * FROM objects ORDER BY seq", page):
            yield {
                "object_type_id": row["object_type_id"],
                "object_id": row["object_id"],
                "cio_object_id": row["cio_object_id"],
                "attributes": json.loads(row["attributes"]),
                "created_at": row["created_at"],
                "updated_at": row["updated_at"],
            }

    def _relationships(self, page: str) -> Iterator[dict[str, Any]]:
        sql = (
            f"SELECT relationships.*, objects.object_type_id, objects.object_id, {_PERSON} FROM relationships"
            " JOIN objects USING (cio_object_id)"
            " LEFT JOIN people ON people.cio_id = relationships.cio_id ORDER BY relationships.seq"
        )
        for row in self._rows(sql, page):
            yield {
                "object_type_id": row["object_type_id"],
                "object_id": row["object_id"],
                "cio_object_id": row["cio_object_id"],
                "person": _person(row) if row["cio_id"] else None,
                "anonymous_id": row["anonymous_id"],
                "attributes": json.loads(row["attributes"]),
            }

    def _collections(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT * FROM collections ORDER BY id", page):
            yield {
                "id": row["id"],
                "name": row["name"],
                "key_field": row["key_field"],
                "data": json.loads(row["data"]),
                "created_at": row["created_at"],
                "updated_at": row["updated_at"],
            }

    def _activities(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT * FROM activities ORDER BY seq", page):
            yield {
                "id": row["id"],
                "type": row["type"],
                "name": row["name"],
                "person": _person(row) if any(_person(row).values()) else None,
                "timestamp": row["timestamp"],
                "data": json.loads(row["data"]),
            }

    def _deliveries(self, page: str) -> Iterator[dict[str, Any]]:
        for row in self._rows("SELECT * FROM deliveries ORDER BY seq", page):
            yield {
                "delivery_id": row["delivery_id"],
                "metric": row["metric"],
                "timestamp": row["timestamp"],
                "data": json.loads(row["data"]),
            }

    async def requests(self, request: web.Request) -> web.Response:
        """The request log."""
        return json_answer({"requests": self._log.entries()})

    async def counts(self, request: web.Request) -> web.Response:
        """How much there is of everything."""
        store = self._workspace.store
        counts = {table: store.value(f"SELECT count(*) FROM {table}") for table in _COUNTED}
        activities = store.value("SELECT count(*) FROM activities")
        return json_answer({**counts, "activities": activities, "waiting": self._intake.waiting(), **self._log.totals()})

    async def settings(self, request: web.Request) -> web.Response:
        """Every setting."""
        return json_answer({"settings": self._workspace.settings.as_dict()})

    async def change_settings(self, request: web.Request) -> web.Response:
        """Change settings by name."""
        body = await _script(request)
        if isinstance(body, web.Response):
            return body
        if not isinstance(body, dict):
            return json_answer({"error": "settings are an object of names and values"}, 400)
        try:
            self._workspace.settings.update(body)
        except InvalidSetting as error:
            return json_answer({"error": str(error)}, 400)
        self._intake.follow_settings()
        return json_answer({"settings": self._workspace.settings.as_dict()})

    async def faults(self, request: web.Request) -> web.Response:
        """The armed faults, and how often each fired."""
        return json_answer({"faults": self._faults.as_list()})

    async def arm_faults(self, request: web.Request) -> web.Response:
        """Replace the armed faults."""
        body = await _script(request)
        if isinstance(body, web.Response):
            return body
        try:
            self._faults.arm(body)
        except InvalidFault as error:
            return json_answer({"error": str(error)}, 400)
        return json_answer({"faults": self._faults.as_list()})

    async def make_segment(self, request: web.Request) -> web.Response:
        """Make a segment as the UI would, a data-driven one too: ``{"name","type":"dynamic"|"manual"}``."""
        body = await _script(request)
        if isinstance(body, web.Response):
            return body
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            return json_answer({"error": "a segment needs a name"}, 400)
        if body.get("type", "dynamic") not in ("dynamic", "manual"):
            return json_answer({"error": "type is dynamic or manual"}, 400)
        with self._workspace.change():
            id = segments.create(self._workspace, body["name"], "", body.get("type", "dynamic"))
        return json_answer({"id": id})

    async def reset(self, request: web.Request) -> web.Response:
        """Empty the workspace, the faults and the request log; settings stay."""
        self._workspace.store.empty()
        self._faults.clear()
        self._log.clear()
        self._intake.follow_settings()
        return json_answer({})


def _person(row: Any) -> dict[str, str | None]:
    return {"id": row["person_id"], "email": row["person_email"], "cio_id": row["cio_id"]}


def _listing(name: str, rows: Callable[[str], Iterator[dict[str, Any]]]) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        limit, offset = request.query.get("limit", "-1"), request.query.get("offset", "0")
        if not limit.lstrip("-").isdecimal() or not offset.isdecimal():
            return json_answer({"error": "limit and offset are whole numbers"}, 400)
        return json_answer({name: list(rows(f" LIMIT {int(limit)} OFFSET {int(offset)}"))})

    return answer


async def _script(request: web.Request) -> Any:
    """The posted JSON, or the answer that says it is none."""
    try:
        return read_json(await request.read())
    except ValueError as error:
        return json_answer({"error": f"not JSON: {error}"}, 400)
