"""App API: exports of people, and imports of CSV.

Sources: Customer.io's App OpenAPI, exports; its Track OpenAPI, components.schemas.import_request and import_object.
"""

from __future__ import annotations

import csv
import io
import json
import secrets
import sqlite3
from typing import Any

from aiohttp import web

from cio_dagster.sandbox import checks
from cio_dagster.sandbox.answers import Refused, app_error, json_answer, not_found_page
from cio_dagster.sandbox.app_customers import matching_people, seen_attributes
from cio_dagster.sandbox.app_requests import numeric_id, object_of
from cio_dagster.sandbox.download import DownloadFailed, download_rows
from cio_dagster.sandbox.filters import InvalidFilter
from cio_dagster.sandbox.identity import Identifier
from cio_dagster.sandbox.intake import Intake
from cio_dagster.sandbox.limits import Invalid
from cio_dagster.sandbox.objects import find_object
from cio_dagster.sandbox.people import Person, as_text, find
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Workspace

LINK_SECONDS = 15 * 60
IMPORT_BYTES = 100 * 1024 * 1024
_TYPES = ("people", "event", "object", "relationship")
_PROCESS = ("all", "only_new", "only_existing")


class AppExports:
    """The handlers of the App API's exports and imports."""

    def __init__(self, workspace: Workspace, intake: Intake) -> None:
        self._workspace = workspace
        self._intake = intake

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        return [
            web.get("/v1/exports", self.list, allow_head=False),
            web.post("/v1/exports/customers", self.export_customers),
            web.get("/v1/exports/{export_id}", self.get, allow_head=False),
            web.get("/v1/exports/{export_id}/download", self.download, allow_head=False),
            web.get("/_sandbox/exports/{token}", self.file, allow_head=False),
            web.post("/v1/imports", self.import_file),
            web.get("/v1/imports/{import_id}", self.get_import, allow_head=False),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All exports."""
        rows = self._workspace.store.rows("SELECT * FROM exports ORDER BY id")
        return json_answer({"exports": [self._described(row) for row in rows]})

    async def export_customers(self, request: web.Request) -> web.Response:
        """Start an export of the people whom a filter lets through."""
        filters = (await object_of(request)).get("filters")
        try:
            people = [seen_attributes(Person.read(row)) for row in matching_people(self._workspace, filters)]
        except InvalidFilter as error:
            return app_error(str(error))
        names = list(dict.fromkeys(["id", "email", "cio_id", *(name for person in people for name in person)]))
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([as_text(person.get(name)) for name in names] for person in people)
        with self._workspace.change():
            id = self._workspace.store.run(
                "INSERT INTO exports (type, filters, description, content, total, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                "customers",
                dump(filters),
                "Customers",
                file.getvalue(),
                len(people),
                self._workspace.now(),
            ).lastrowid
        row = self._workspace.store.row("SELECT * FROM exports WHERE id = ?", id)
        assert row is not None
        return json_answer({"export": self._described(row)})

    def _export(self, request: web.Request) -> sqlite3.Row:
        id = numeric_id(request, "export_id")
        row = self._workspace.store.row("SELECT * FROM exports WHERE id = ?", id)
        if row is None:
            raise Refused(app_error(f"export {id} does not exist", 404))
        return row

    async def get(self, request: web.Request) -> web.Response:
        """One export."""
        return json_answer({"export": self._described(self._export(request))})

    async def download(self, request: web.Request) -> web.Response:
        """A link to an export's file that works for 15 minutes."""
        row = self._export(request)
        if not self._is_done(row):
            return app_error(f"export {row['id']} is not done", 404)
        token = secrets.token_urlsafe(24)
        with self._workspace.change():
            self._workspace.store.run(
                "INSERT INTO export_links VALUES (?, ?, ?)", token, row["id"], self._workspace.now() + LINK_SECONDS
            )
            self._workspace.store.run("UPDATE exports SET downloads = downloads + 1 WHERE id = ?", row["id"])
        return json_answer({"url": f"{request.scheme}://{request.host}/_sandbox/exports/{token}"})

    async def file(self, request: web.Request) -> web.Response:
        """The file behind a link."""
        content = self._workspace.store.value(
            "SELECT content FROM export_links JOIN exports ON exports.id = export_id WHERE token = ? AND expires_at > ?",
            request.match_info["token"],
            self._workspace.now(),
        )
        return not_found_page() if content is None else web.Response(text=content, content_type="text/csv")

    def _is_done(self, row: sqlite3.Row) -> bool:
        return bool(row["created_at"] + self._workspace.settings.export_delay <= self._workspace.now())

    def _described(self, row: sqlite3.Row) -> dict[str, Any]:
        done, created = self._is_done(row), int(row["created_at"])
        return {
            "id": row["id"],
            "user_id": 0,
            "user_email": "sandbox@example.com",
            "total": row["total"] if done else 0,
            "deduplicate_id": f"{row['id']}:{created}",
            "type": row["type"],
            "failed": False,
            "status": "done" if done else "pending",
            "description": row["description"],
            "downloads": row["downloads"],
            "created_at": created,
            "updated_at": created,
        }

    async def import_file(self, request: web.Request) -> web.Response:
        """Import CSV from a URL; the sandbox does it before it answers."""
        body = await object_of(request)
        given = body["import"] if isinstance(body.get("import"), dict) else body
        type = given.get("type")
        if type not in _TYPES:
            return app_error(f"type must be one of {', '.join(_TYPES)}")
        for name in ("name", "data_file_url", "object_type_id" if type == "object" else "identifier"):
            if not isinstance(given.get(name), str) or not given[name]:
                return app_error(f"{name} is required")
        process = given.get("data_to_process", given.get("people_to_process", "all"))
        if process not in _PROCESS or (type == "event" and process == "only_new"):
            return app_error(f"data_to_process must be one of {', '.join(_PROCESS)}")
        if type != "object" and given["identifier"] not in ("id", "email", "cio_id"):
            return app_error("identifier must be id, email or cio_id")
        outcome = await self._run(given, process)
        now = int(self._workspace.now())
        shown = {
            "name": given["name"],
            "description": given.get("description", ""),
            "type": type,
            "data_to_process": process,
            "people_to_process": process,
            **{name: given[name] for name in ("identifier", "object_type_id") if name in given},
            **outcome,
        }
        with self._workspace.change():
            id = self._workspace.store.run(
                "INSERT INTO imports (request, created_at) VALUES (?, ?)", dump(shown), now
            ).lastrowid
        return json_answer({"import": {"id": id, "created_at": now, "updated_at": now, **shown}})

    async def get_import(self, request: web.Request) -> web.Response:
        """One import."""
        id = numeric_id(request, "import_id")
        row = self._workspace.store.row("SELECT * FROM imports WHERE id = ?", id)
        if row is None:
            return app_error(f"import {id} does not exist", 404)
        created = row["created_at"]
        shown = json.loads(row["request"])
        return json_answer({"import": {"id": id, "created_at": created, "updated_at": created, **shown}})

    async def _run(self, given: dict[str, Any], process: str) -> dict[str, Any]:
        try:
            rows = await download_rows(given["data_file_url"], IMPORT_BYTES)
        except DownloadFailed as error:
            return {"state": "failed", "rows_to_import": 0, "rows_imported": 0, "error": str(error)}
        operations, error_text = [], ""
        for number, row in enumerate(rows, start=1):
            try:
                operation = checks.check(self._workspace, _operation(given, row))
            except (Invalid, KeyError, ValueError) as error:
                error_text = error_text or f"row {number}: {error}"
                continue
            exists = self._exists(given["type"], operation)
            if process == "all" or exists == (process == "only_existing"):
                operations.append(operation)
        if operations:
            self._intake.accept(operations)
        outcome = {"state": "imported", "rows_to_import": len(rows), "rows_imported": len(operations)}
        return {**outcome, "error": error_text} if error_text else outcome

    def _exists(self, type: str, operation: dict[str, Any]) -> bool:
        if type in ("object", "relationship"):
            return find_object(self._workspace, operation["identifiers"]) is not None
        [(kind, value)] = operation["identifiers"].items()
        return find(self._workspace, Identifier(kind, value)) is not None


def _operation(given: dict[str, Any], row: dict[str, str]) -> dict[str, Any]:
    """A row of a CSV file as the v2 operation that does the same; empty cells are left out."""
    cells = {name: value for name, value in row.items() if name and value}
    type, identifier = given["type"], str(given.get("identifier"))
    if type == "object":
        object = {"object_type_id": given["object_type_id"], "object_id": cells.pop("object_id")}
        return {"type": "object", "action": "identify", "identifiers": object, "attributes": cells}
    person = {identifier: cells.pop(identifier)}
    if type == "people":
        return {"type": "person", "action": "identify", "identifiers": person, "attributes": cells}
    if type == "event":
        timestamp = cells.pop("timestamp", None)
        event = {"name": cells.pop("name"), "timestamp": int(timestamp) if timestamp else None, "attributes": cells}
        return {"type": "person", "action": "event", "identifiers": person, **event}
    object = {"object_type_id": cells.pop("object_type_id"), "object_id": cells.pop("object_id")}
    related = [{"identifiers": person, "relationship_attributes": cells}]
    return {"type": "object", "action": "add_relationships", "identifiers": object, "cio_relationships": related}
