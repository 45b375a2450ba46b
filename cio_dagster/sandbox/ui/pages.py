"""The handlers of the sandbox's web pages: ``/``, and ``/_sandbox/ui/``."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import datetime, timezone
from importlib.resources import files
from math import ceil
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cio_dagster.sandbox.answers import Refused
from cio_dagster.sandbox.requests import RequestLog
from cio_dagster.sandbox.ui.listings import LISTINGS, ROWS, Page
from cio_dagster.sandbox.ui.rates import is_failure, rates
from cio_dagster.sandbox.workspace import Workspace

BASE = "/_sandbox/ui"
LISTS = ("people", "devices", "events", "segments", "objects", "relationships", "collections", "activities")
WINDOWS = {"all": None, "hour": 3600, "10 minutes": 600, "minute": 60}
SHORT = 20
"""Rows of a list that is a part of another page."""

_HEADERS = {
    # Values are escaped; should one ever not be, the browser runs and loads nothing for it.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Pages:
    """The handlers of the web pages."""

    def __init__(self, workspace: Workspace, log: RequestLog) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._log = log
        self._style = files(__package__).joinpath("style.css").read_text("utf-8")
        self._templates = Environment(
            loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters |= {"when": _when, "json": _json, "fields": json.loads, "type": _type}
        self._templates.globals |= {"base": BASE, "lists": LISTS}

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        return [
            web.get("/", self.overview),
            web.get(f"{BASE}/style.css", self.style),
            web.get(f"{BASE}/requests", self.requests),
            web.get(f"{BASE}/{{name:{'|'.join(LISTS)}}}", self.listing),
            web.get(f"{BASE}/people/{{cio_id}}", self.person),
            web.get(f"{BASE}/segments/{{id:[0-9]+}}", self.segment),
            web.get(f"{BASE}/objects/{{cio_object_id}}", self.object),
            web.get(f"{BASE}/collections/{{id:[0-9]+}}", self.collection),
        ]

    def _answer(self, template: str, here: str = "", *, status: int = 200, **values: object) -> web.Response:
        """A page made of a template; ``here`` is the part of the navigation that it belongs to."""
        text = self._templates.get_template(template).render(values, here=here)
        return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)

    def _one(self, sql: str, id: str, what: str) -> sqlite3.Row:
        row = self._store.row(sql, id)
        if row is None:
            raise Refused(self._answer("missing.html", status=404, what=what, id=id))
        return row

    def _some(self, name: str, where: str, *values: object) -> Page:
        """The first rows of a list, for a page about something else."""
        return LISTINGS[name].page(self._store, where=where, values=values, rows=SHORT)

    async def style(self, request: web.Request) -> web.Response:
        """The style sheet."""
        return web.Response(text=self._style, content_type="text/css")

    async def overview(self, request: web.Request) -> web.Response:
        """How much there is of everything, requests over time, and the last activities."""
        entries = self._log.entries()
        return self._answer(
            "overview.html",
            counts={name: self._store.value(f"SELECT count(*) FROM {name}") for name in LISTS},
            waiting=self._store.value("SELECT count(*) FROM accepted"),
            totals=self._log.totals(),
            refused=sum(map(is_failure, entries)),
            rates=rates(entries),
            failures=LISTINGS["activities"].page(self._store, failed=True, rows=SHORT // 2),
            activities=LISTINGS["activities"].page(self._store, rows=SHORT // 2),
        )

    async def listing(self, request: web.Request) -> web.Response:
        """A page of one of the lists."""
        name, search, failed = request.match_info["name"], _search(request), "failed" in request.query
        page = LISTINGS[name].page(self._store, _number(request), search=search, failed=failed)
        return self._answer("listing.html", name, name=name, page=page, search=search, failed=failed)

    async def person(self, request: web.Request) -> web.Response:
        """Everything about one person."""
        cio_id = request.match_info["cio_id"]
        person = self._one("SELECT * FROM people WHERE cio_id = ?", cio_id, "person")
        return self._answer(
            "person.html",
            "people",
            person=person,
            devices=self._some("devices", "cio_id = ?", cio_id),
            events=self._some("events", "cio_id = ?", cio_id),
            segments=self._some("segments", "id IN (SELECT segment_id FROM segment_members WHERE cio_id = ?)", cio_id),
            relationships=self._some("relationships", "relationships.cio_id = ?", cio_id),
            activities=self._some("activities", "cio_id = ?", cio_id),
        )

    async def segment(self, request: web.Request) -> web.Response:
        """A segment and its members."""
        segment = self._one("SELECT * FROM segments WHERE id = ?", request.match_info["id"], "segment")
        search = _search(request)
        page = LISTINGS["members"].page(
            self._store, _number(request), search=search, where="segment_id = ?", values=(segment["id"],)
        )
        return self._answer("segment.html", "segments", segment=segment, page=page, search=search)

    async def object(self, request: web.Request) -> web.Response:
        """An object and who is related to it."""
        id = request.match_info["cio_object_id"]
        found = self._one("SELECT * FROM objects WHERE cio_object_id = ?", id, "object")
        return self._answer(
            "object.html",
            "objects",
            object=found,
            type=self._workspace.object_types().get(found["object_type_id"], "?"),
            relationships=self._some("relationships", "cio_object_id = ?", id),
        )

    async def collection(self, request: web.Request) -> web.Response:
        """A collection's rows."""
        found = self._one("SELECT * FROM collections WHERE id = ?", request.match_info["id"], "collection")
        data, number = json.loads(found["data"]), _number(request)
        last = max(ceil(len(data) / ROWS), 1)
        number = min(number, last)
        rows = data[(number - 1) * ROWS : number * ROWS]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        page = Page(rows, number, last, len(data))
        return self._answer("collection.html", "collections", collection=found, page=page, columns=columns)

    async def requests(self, request: web.Request) -> web.Response:
        """The request log, newest first, and its rates over a window of time."""
        failed, entries = "failed" in request.query, self._log.entries()
        window = request.query.get("window", "all")
        seconds = WINDOWS.get(window)
        if seconds:
            entries = [each for each in entries if each["time"] >= time.time() - seconds]
        shown = [each for each in entries if is_failure(each)] if failed else entries
        last = max(ceil(len(shown) / ROWS), 1)
        number = min(_number(request), last)
        rows = shown[::-1][(number - 1) * ROWS : number * ROWS]
        page = Page(rows, number, last, len(shown))
        shown_rates = rates(entries)
        return self._answer(
            "requests.html", "requests", page=page, failed=failed, rates=shown_rates, window=window, windows=WINDOWS
        )


def _number(request: web.Request) -> int:
    """The page that is asked for; the first, if that is no number."""
    text = request.query.get("page", "1")
    return max(int(text), 1) if text.isascii() and text.isdecimal() and len(text) < 12 else 1


def _search(request: web.Request) -> str:
    return request.query.get("q", "").strip()


def _when(seconds: float) -> str:
    """A time, to the second in UTC; the number itself where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _type(value: Any) -> str:
    """What JSON calls a value."""
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _json(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
