"""What the App API's calls have in common: bodies, ids, identifiers and pages."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from cio_dagster.sandbox.answers import Refused, app_error
from cio_dagster.sandbox.identity import Identifier, bare_cio_id
from cio_dagster.sandbox.intake import read_json
from cio_dagster.sandbox.people import Person, find
from cio_dagster.sandbox.workspace import Workspace


async def body_of(request: web.Request) -> Any:
    """The request's JSON.

    Raises:
        Refused: It is not JSON.
    """
    try:
        return read_json(await request.read())
    except ValueError as error:
        raise Refused(app_error("request body is not valid JSON")) from error


async def object_of(request: web.Request) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        Refused: It is something else.
    """
    body = await body_of(request)
    if not isinstance(body, dict):
        raise Refused(app_error("request body must be a JSON object"))
    return body


def numeric_id(request: web.Request, name: str) -> int:
    """A number in the path; anything else names nothing."""
    text = request.match_info[name]
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise Refused(app_error(f"{name} {text} does not exist", 404))
    return int(text)


def person_of(workspace: Workspace, request: web.Request) -> Person:
    """The person in the path, found by the ``id_type`` of the query.

    Raises:
        Refused: There is nobody, or the workspace does not have that identifier.
    """
    identifier = identifier_of(workspace, request, request.match_info["customer_id"])
    person = find(workspace, identifier)
    if person is None:
        raise Refused(app_error(f"customer {identifier.value} does not exist", 404))
    return person


def identifier_of(workspace: Workspace, request: web.Request, value: str) -> Identifier:
    """A value as the kind of identifier that the query's ``id_type`` names, ``id`` by default.

    Source: docs.customer.io, App API, getPersonAttributes: 400 for an identifier that is not enabled.

    Raises:
        Refused: The kind does not exist or is not enabled.
    """
    kind = request.query.get("id_type", "id")
    if kind not in workspace.settings.enabled_identifiers:
        raise Refused(app_error(f"id_type {kind} is not an identifier of this workspace"))
    return Identifier(kind, bare_cio_id(value) if kind == "cio_id" else value)


def limit_of(request: web.Request, default: int, most: int) -> int:
    """The page size that the query asks for.

    Raises:
        Refused: It is not between 1 and the most.
    """
    text = request.query.get("limit", str(default))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(app_error(f"limit must be between 1 and {most}"))
    return int(text)


def start_of(request: web.Request) -> int:
    """Where the page begins: after this number.

    Raises:
        Refused: It is no ``next`` that was given before.
    """
    token = request.query.get("start", "")
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Refused(app_error("start is not the next value of an earlier page")) from error


def page(rows: Iterable[sqlite3.Row], limit: int, repeats: int = 0) -> tuple[list[sqlite3.Row], str]:
    """Up to ``limit`` rows and the ``next`` that follows them, empty at the end. Rows have a ``seq``."""
    taken: list[sqlite3.Row] = []
    for row in rows:
        if len(taken) == limit:
            # Objects' pages may repeat entries, so the next page can be made to begin inside this one.
            last = taken[max(len(taken) - 1 - repeats, 0)]["seq"]
            return taken, base64.urlsafe_b64encode(str(last).encode()).decode().rstrip("=")
        taken.append(row)
    return taken, ""
