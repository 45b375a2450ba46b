"""Track API v2: one operation (``entity``) or many (``batch``).

Source: Customer.io's Track OpenAPI, /api/v2/entity and /api/v2/batch.
"""

from __future__ import annotations

from aiohttp import web

from cio_dagster.sandbox.answers import accepted, described, v2_errors
from cio_dagster.sandbox.checks import check
from cio_dagster.sandbox.intake import Intake, read_json
from cio_dagster.sandbox.limits import Invalid, encoded, utf8_bytes
from cio_dagster.sandbox.workspace import Workspace


class TrackV2:
    """The handlers of Track v2."""

    def __init__(self, workspace: Workspace, intake: Intake) -> None:
        self._workspace = workspace
        self._intake = intake

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        return [web.post("/api/v2/entity", self.entity), web.post("/api/v2/batch", self.batch)]

    async def entity(self, request: web.Request) -> web.Response:
        """Take one operation."""
        raw = await request.read()
        if len(raw) > self._workspace.settings.entity_bytes:
            return self._oversize("request", self._workspace.settings.entity_bytes)
        try:
            operation = check(self._workspace, read_json(raw))
        except Invalid as error:
            return v2_errors([described(error)])
        except ValueError:
            return v2_errors([described(_NOT_JSON)])
        request["operations"] = 1
        self._intake.accept([operation])
        return accepted()

    async def batch(self, request: web.Request) -> web.Response:
        """Take many operations: the valid ones are accepted, the others are named in a 207."""
        settings = self._workspace.settings
        raw = await request.read()
        if len(raw) > settings.batch_bytes:
            return self._oversize("request", settings.batch_bytes)
        try:
            body = read_json(raw)
        except ValueError:
            return v2_errors([described(_NOT_JSON)])
        batch = body.get("batch") if isinstance(body, dict) else None
        if not isinstance(batch, list):
            return v2_errors([described(Invalid("batch", "batch must be an array of operations", "required"))])
        if not batch and settings.empty_batch == "400":
            return v2_errors([described(Invalid("batch", "batch must not be empty"))])
        request["operations"] = len(batch)
        operations, errors = [], []
        for index, given in enumerate(batch):
            # A request that is no larger than one operation may be holds no operation that is.
            if len(raw) > settings.entity_bytes and utf8_bytes(encoded(given)) > settings.entity_bytes:
                if settings.oversize != "discard":
                    errors.append(described(_too_large("operation", settings.entity_bytes), index))
                continue
            try:
                operations.append(check(self._workspace, given))
            except Invalid as error:
                errors.append(described(error, index))
        if operations:
            self._intake.accept(operations)
        return v2_errors(errors, 207) if errors else accepted()

    def _oversize(self, what: str, most: int) -> web.Response:
        oversize = self._workspace.settings.oversize
        return accepted() if oversize == "discard" else v2_errors([described(_too_large(what, most))], int(oversize))


_NOT_JSON = Invalid("", "request body is not valid JSON")


def _too_large(what: str, most: int) -> Invalid:
    return Invalid("", f"{what} cannot be larger than {most} bytes")
