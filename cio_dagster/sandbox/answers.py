"""Answers: the shapes in which each API says that something is wrong.

Sources: Customer.io's Track OpenAPI, components.responses; docs.customer.io/journeys/invalid-api-requests; the App
document's appApiError. The 401 and 404 bodies are as others have observed them, since no document shows them.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from cio_dagster.sandbox.limits import Invalid

NOT_FOUND_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>404 Not Found</title></head>
<body><h1>404 Not Found</h1><p>The page you were looking for does not exist.</p></body></html>
"""


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.text)
        self.response = response


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


def accepted() -> web.Response:
    """The Track API's answer to everything that it takes."""
    return json_answer({})


def v1_error(*messages: str, status: int = 400) -> web.Response:
    """A Track v1 error: ``{"meta":{"errors":[...]}}``."""
    return json_answer({"meta": {"errors": list(messages)}}, status)


def v1_single_error(message: str, status: int = 400) -> web.Response:
    """A Track v1 error in the other shape, ``{"meta":{"error":...}}``: merges and 401s."""
    return json_answer({"meta": {"error": message}}, status)


def v2_errors(errors: list[dict[str, Any]], status: int = 400) -> web.Response:
    """A Track v2 error, or the 207 of a batch."""
    return json_answer({"errors": errors}, status)


def described(error: Invalid, batch_index: int | None = None) -> dict[str, Any]:
    """An invalid operation as v2 describes it."""
    entry: dict[str, Any] = {} if batch_index is None else {"batch_index": batch_index}
    return {**entry, "reason": error.reason, "field": error.field, "message": error.message}


def app_error(detail: str, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    """An App API error: ``{"errors":[{"detail":...,"status":"400"}]}``."""
    return json_answer({"errors": [{"detail": detail, "status": str(status)}]}, status, headers)


def unauthorized(api: str) -> web.Response:
    """The 401 of either API: the same for missing, malformed and wrong credentials."""
    challenge = {"WWW-Authenticate": 'Basic realm="Customer.io edge event collection"'} if api == "track" else None
    return json_answer({"meta": {"error": "Unauthorized request"}}, 401, challenge)


def not_found_page() -> web.Response:
    """The 404 of a path or method that does not exist: a page, not JSON."""
    return web.Response(text=NOT_FOUND_PAGE, status=404, content_type="text/html")
