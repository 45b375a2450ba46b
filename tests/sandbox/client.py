"""A plain HTTP client for these tests, so that nothing of the package's own sender is trusted here."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

BASIC = "Basic " + base64.b64encode(b"site:key").decode()
BEARER = "Bearer app-key"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Calls a sandbox; dictionaries and lists are sent as JSON, bytes as they are."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        default = BEARER if path.startswith("/v1/") else BASIC
        sent = {"Authorization": default, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if not sent["Authorization"]:
            del sent["Authorization"]
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, body=raw, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.call("POST", path, body, **headers)

    def put(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.call("PUT", path, body, **headers)

    def delete(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.call("DELETE", path, body, **headers)

    def batch(self, *operations: object) -> Answer:
        return self.post("/api/v2/batch", {"batch": list(operations)})

    def entity(self, **operation: object) -> Answer:
        return self.post("/api/v2/entity", operation)

    def identify(self, identifiers: dict[str, Any], **attributes: object) -> Answer:
        return self.entity(type="person", action="identify", identifiers=identifiers, attributes=attributes)

    def event(self, identifiers: dict[str, Any], name: str = "bought", **rest: object) -> Answer:
        return self.entity(type="person", action="event", identifiers=identifiers, name=name, **rest)

    def object(self, object_id: str, type_id: str = "1", **rest: object) -> Answer:
        identifiers = {"object_type_id": type_id, "object_id": object_id}
        return self.entity(type="object", action="identify", identifiers=identifiers, **rest)
