"""App API: collections, and the queued writes to them.

Sources: Customer.io's App OpenAPI, collections; docs.customer.io, App API, submitCollectionWrite and
getCollectionWrite. Those pages show ``replace``, a failed write and that keyed writes are all or nothing; the other
modes' bodies, the path of the submission and the states besides ``failed`` are choices, named in docs/sandbox.md.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from aiohttp import web

from cio_dagster.sandbox import limits
from cio_dagster.sandbox.answers import Refused, app_error, json_answer
from cio_dagster.sandbox.app_requests import body_of, numeric_id, object_of
from cio_dagster.sandbox.download import DownloadFailed, download_rows
from cio_dagster.sandbox.identity import new_ulid
from cio_dagster.sandbox.limits import encoded, utf8_bytes
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Workspace

Row = dict[str, Any]

MODES = ("replace", "add", "upsert", "update", "delete")
RESULT_SECONDS = 24 * 3600
"""How long the result of a write is kept. Source: docs.customer.io, App API, getCollectionWrite."""


class AppCollections:
    """The handlers of the App API's collections."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        one = "/v1/collections/{collection_id}"
        return [
            web.get("/v1/collections", self.list, allow_head=False),
            web.post("/v1/collections", self.create),
            web.get(one, self.get, allow_head=False),
            web.put(one, self.update),
            web.delete(one, self.delete),
            web.get(f"{one}/content", self.content, allow_head=False),
            web.put(f"{one}/content", self.replace_content),
            web.post(f"{one}/writes", self.submit_write),
            web.get(f"{one}/writes/{{write_id}}", self.get_write, allow_head=False),
        ]

    def _collection(self, request: web.Request) -> sqlite3.Row:
        self._apply_due_writes()
        id = numeric_id(request, "collection_id")
        row = self._workspace.store.row("SELECT * FROM collections WHERE id = ?", id)
        if row is None:
            raise Refused(app_error(f"collection {id} does not exist", 404))
        return row

    def _answer(self, id: int) -> web.Response:
        row = self._workspace.store.row("SELECT * FROM collections WHERE id = ?", id)
        assert row is not None
        return json_answer({"collection": described(row)})

    async def list(self, request: web.Request) -> web.Response:
        """All collections, without their rows."""
        self._apply_due_writes()
        rows = self._workspace.store.rows("SELECT * FROM collections ORDER BY id")
        return json_answer({"collections": [described(row) for row in rows]})

    async def create(self, request: web.Request) -> web.Response:
        """Make a collection of rows, or of what a URL holds."""
        body = await object_of(request)
        store = self._workspace.store
        name = self._name(body.get("name"))
        data = await _rows_of(body)
        if data is None:
            return app_error("data or url is required")
        if store.value("SELECT count(*) FROM collections") >= self._workspace.settings.collections:
            return app_error(f"a workspace has at most {self._workspace.settings.collections} collections")
        now = int(self._workspace.now())
        with self._workspace.change():
            id = store.run(
                "INSERT INTO collections (name, data, created_at, updated_at) VALUES (?, ?, ?, ?)",
                name,
                dump(data),
                now,
                now,
            ).lastrowid
        assert id is not None
        return self._answer(id)

    async def get(self, request: web.Request) -> web.Response:
        """A collection's metadata."""
        return json_answer({"collection": described(self._collection(request))})

    async def update(self, request: web.Request) -> web.Response:
        """Rename a collection, or replace all its rows."""
        body = await object_of(request)
        collection = self._collection(request)
        name = self._name(body["name"], collection["id"]) if "name" in body else collection["name"]
        data = await _rows_of(body)
        with self._workspace.change():
            self._workspace.store.run(
                "UPDATE collections SET name = ?, data = ?, updated_at = ? WHERE id = ?",
                name,
                collection["data"] if data is None else dump(data),
                int(self._workspace.now()),
                collection["id"],
            )
        return self._answer(collection["id"])

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a collection."""
        id = self._collection(request)["id"]
        with self._workspace.change():
            self._workspace.store.run("DELETE FROM collections WHERE id = ?", id)
            self._workspace.store.run("DELETE FROM collection_writes WHERE collection_id = ?", id)
        return web.Response(status=204)

    async def content(self, request: web.Request) -> web.Response:
        """A collection's rows."""
        return json_answer(json.loads(self._collection(request)["data"]))

    async def replace_content(self, request: web.Request) -> web.Response:
        """Replace all rows; the documents say object in one place and rows in another, so both are taken."""
        body = await body_of(request)
        id = self._collection(request)["id"]
        if isinstance(body, dict):
            body = body["data"] if set(body) == {"data"} and isinstance(body["data"], list) else [body]
        data = check_rows(body)
        with self._workspace.change():
            self._workspace.store.run(
                "UPDATE collections SET data = ?, updated_at = ? WHERE id = ?",
                dump(data),
                int(self._workspace.now()),
                id,
            )
        return self._answer(id)

    async def submit_write(self, request: web.Request) -> web.Response:
        """Queue a write, and answer its id at once."""
        body = await object_of(request)
        collection = self._collection(request)
        mode, key_field = body.get("mode"), body.get("key_field")
        if mode not in MODES:
            return app_error(f"mode must be one of {', '.join(MODES)}")
        if key_field is not None and (not isinstance(key_field, str) or not key_field):
            return app_error("key_field must be a string")
        if mode != "replace" and (key_field is not None or collection["key_field"] is None):
            return app_error(f"{mode} needs a collection with a key field, which a replace sets")
        data = await _rows_of(body)
        if data is None:
            return app_error("data or url is required")
        id = new_ulid(int(self._workspace.now() * 1000))
        due = self._workspace.now() + self._workspace.settings.export_delay
        with self._workspace.change():
            self._workspace.store.run(
                "INSERT INTO collection_writes (id, collection_id, body, due) VALUES (?, ?, ?, ?)",
                id,
                collection["id"],
                dump({"mode": mode, "key_field": key_field, "data": data}),
                due,
            )
        return json_answer({"write": {"id": id, "state": "pending"}}, 202)

    async def get_write(self, request: web.Request) -> web.Response:
        """How a write went, for 24 hours."""
        collection = self._collection(request)
        id = request.match_info["write_id"]
        row = self._workspace.store.row(
            "SELECT * FROM collection_writes WHERE id = ? AND collection_id = ?", id, collection["id"]
        )
        if row is None or (row["result"] and self._workspace.now() - row["finished_at"] >= RESULT_SECONDS):
            return app_error(f"write {id} does not exist", 404)
        result = json.loads(row["result"]) if row["result"] else {"state": "pending"}
        return json_answer({"write": {"id": id, **result}})

    def _name(self, name: object, own_id: int | None = None) -> str:
        if not isinstance(name, str) or not name.strip():
            raise Refused(app_error("name is required"))
        if self._workspace.settings.duplicate_collection_names == "reject":
            other = self._workspace.store.value("SELECT id FROM collections WHERE name = ?", name)
            if other is not None and other != own_id:
                raise Refused(app_error(f"a collection named {name} exists"))
        return name

    def _apply_due_writes(self) -> None:
        """Apply the writes that are due, each collection's in the order in which they came."""
        store, now = self._workspace.store, self._workspace.now()
        due = store.rows("SELECT * FROM collection_writes WHERE result IS NULL AND due <= ? ORDER BY rowid", now).fetchall()
        if not due:
            return
        with self._workspace.change():
            for write in due:
                collection = store.row("SELECT * FROM collections WHERE id = ?", write["collection_id"])
                assert collection is not None
                result = self._write(collection, json.loads(write["body"]))
                store.run(
                    "UPDATE collection_writes SET result = ?, finished_at = ?, body = '' WHERE id = ?",
                    dump(result),
                    now,
                    write["id"],
                )

    def _write(self, collection: sqlite3.Row, body: Row) -> Row:
        mode = body["mode"]
        key_field = body["key_field"] if mode == "replace" else collection["key_field"]
        current = [] if mode == "replace" else json.loads(collection["data"])
        data, items = write_rows(current, body["data"], mode, key_field)
        if items:
            first = items[0]
            message = f"item {first['index']} ({json.dumps(first['key'])}): {first['code']}"
            return {"state": "failed", "code": "items", "items": items, "message": message}
        if utf8_bytes(encoded(data)) > limits.COLLECTION_BYTES:
            message = f"collection cannot be larger than {limits.COLLECTION_BYTES} bytes"
            return {"state": "failed", "code": "too-large", "message": message}
        self._workspace.store.run(
            "UPDATE collections SET data = ?, key_field = ?, updated_at = ? WHERE id = ?",
            dump(data),
            key_field or collection["key_field"],
            int(self._workspace.now()),
            collection["id"],
        )
        return {"state": "done"}


def write_rows(current: list[Row], given: list[Row], mode: str, key_field: str | None) -> tuple[list[Row], list[Row]]:
    """The rows after a write, and the items that were wrong with it; any item means that nothing changes."""
    if key_field is None:
        return given, []
    kept = {_key(row, key_field): row for row in current}
    seen: set[object] = set()
    items: list[Row] = []
    for index, row in enumerate(given):
        key = _key(row, key_field)
        code = None
        if key is None:
            code = "invalid-key"
        elif key in seen:
            code = "duplicate-key"
        elif mode == "add" and key in kept:
            code = "key-already-exists"
        elif mode == "update" and key not in kept:
            code = "key-not-found"
        if code:
            items.append({"index": index, "key": row.get(key_field), "code": code})
            continue
        seen.add(key)
        if mode == "delete":
            kept.pop(key, None)
        else:
            kept[key] = {**kept[key], **row} if mode == "update" else row
    return list(kept.values()), items


def _key(row: Row, key_field: str) -> tuple[str, Any] | None:
    """A row's key: a non-empty string or a number of up to 1,024 bytes; None if it is none."""
    value = row.get(key_field)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        return None
    if limits.value_bytes(value) > limits.COLLECTION_KEY_BYTES:
        return None
    return ("text" if isinstance(value, str) else "number", value)


async def _rows_of(body: Row) -> list[Row] | None:
    """The rows that a call brings, itself or by URL; None if it brings none."""
    if body.get("data") is not None and body.get("url") is not None:
        raise Refused(app_error("send data or url, not both"))
    if body.get("url") is not None:
        if not isinstance(body["url"], str):
            raise Refused(app_error("url must be a string"))
        try:
            return check_rows(await download_rows(body["url"], limits.COLLECTION_BYTES))
        except DownloadFailed as error:
            raise Refused(app_error(str(error))) from error
    return None if body.get("data") is None else check_rows(body["data"])


def check_rows(data: object) -> list[Row]:
    """Check a collection's rows.

    Raises:
        Refused: They are not an array of objects, or too large.
    """
    if not isinstance(data, list):
        raise Refused(app_error("data must be an array of objects"))
    total = 2 + max(len(data) - 1, 0)
    for index, row in enumerate(data):
        if not isinstance(row, dict):
            raise Refused(app_error(f"data[{index}] must be an object"))
        size = utf8_bytes(encoded(row))
        if size > limits.COLLECTION_ROW_BYTES:
            raise Refused(app_error(f"data[{index}] cannot be larger than {limits.COLLECTION_ROW_BYTES} bytes"))
        total += size
    if total > limits.COLLECTION_BYTES:
        raise Refused(app_error(f"collection cannot be larger than {limits.COLLECTION_BYTES} bytes"))
    return data


def described(row: sqlite3.Row) -> Row:
    """A collection as the App API shows it: its schema is every top-level key seen."""
    data = json.loads(row["data"])
    described = {
        "id": row["id"],
        "name": row["name"],
        "bytes": utf8_bytes(encoded(data)),
        "rows": len(data),
        "schema": sorted({name for each in data for name in each}),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
    return {**described, "key_field": row["key_field"]} if row["key_field"] else described
