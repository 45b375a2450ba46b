"""HTTP as it goes over the wire: paths are sent as they are written, and nothing is added but what HTTP needs."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit

SITE_ID, TRACK_KEY, APP_KEY = "site-1", "track-key-1", "app-key-1"
NOTHING: Any = object()
"""No body at all, which is not the same as a JSON null."""


def basic(site_id: str = SITE_ID, key: str = TRACK_KEY) -> str:
    """The Track API's ``Authorization``."""
    return "Basic " + base64.b64encode(f"{site_id}:{key}".encode()).decode()


def bearer(key: str = APP_KEY) -> str:
    """The App API's ``Authorization``."""
    return f"Bearer {key}"


def segment(value: object) -> str:
    """A value as one segment of a path."""
    return quote(str(value), safe="")


@dataclass(frozen=True)
class Call:
    """One request: its path is percent-encoded already, and a query is part of it; bytes are sent as they are."""

    method: str
    path: str
    body: Any = NOTHING
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> bytes | None:
        """The body's bytes."""
        if self.body is NOTHING:
            return None
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def sent_headers(self) -> dict[str, str]:
        """All headers; an ``Authorization`` of the right API unless one is given, and none if it is empty."""
        headers = {"Authorization": bearer() if self.path.startswith("/v1/") else basic()}
        if self.body is not NOTHING:
            headers["Content-Type"] = "application/json"
        headers.update(self.headers)
        return {name: value for name, value in headers.items() if value}

    def with_headers(self, **headers: str) -> Call:
        """The same call with other headers; underscores stand for dashes."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        """The media type without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class Wire:
    """Sends calls to one server."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc

    def send(self, call: Call) -> Answer:
        """Send a call on a connection of its own."""
        connection = http.client.HTTPConnection(self._host, timeout=20)
        try:
            connection.request(call.method, call.path, body=call.raw, headers=call.sent_headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()
