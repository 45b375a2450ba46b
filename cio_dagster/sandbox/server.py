"""The server: both APIs and the sandbox's own pages on one port."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from cio_dagster.sandbox.answers import Refused, app_error, not_found_page, unauthorized, v1_error
from cio_dagster.sandbox.app_collections import AppCollections
from cio_dagster.sandbox.app_customers import AppCustomers
from cio_dagster.sandbox.app_exports import AppExports
from cio_dagster.sandbox.app_objects import AppObjects
from cio_dagster.sandbox.app_segments import AppSegments
from cio_dagster.sandbox.auth import Credentials
from cio_dagster.sandbox.faults import Faults
from cio_dagster.sandbox.inspect import Inspect
from cio_dagster.sandbox.intake import Intake
from cio_dagster.sandbox.requests import RequestLog
from cio_dagster.sandbox.settings import Settings
from cio_dagster.sandbox.store import Store
from cio_dagster.sandbox.track_v1 import TrackV1
from cio_dagster.sandbox.track_v2 import TrackV2
from cio_dagster.sandbox.ui.pages import Pages
from cio_dagster.sandbox.workspace import Workspace

REQUEST_BYTES = 256 * 1024 * 1024
"""What the server reads at most; the APIs' own limits are far below and answer in their own words."""

_OPEN = ("/unsubscribe/", "/api/v1/metrics", "/api/v1/push/events")
"""The Track calls that ask for no credentials. Source: Customer.io's Track OpenAPI."""


def application(store: Store, settings: Settings, credentials: Credentials) -> web.Application:
    """The sandbox as an aiohttp application."""
    workspace = Workspace(store, settings)
    intake = Intake(workspace)
    faults, log = Faults(), RequestLog()
    gate = _Gate(settings, credentials, faults, log)
    app = web.Application(middlewares=[gate], client_max_size=REQUEST_BYTES)
    for part in (
        TrackV1(workspace, intake),
        TrackV2(workspace, intake),
        AppCustomers(workspace),
        AppSegments(workspace),
        AppObjects(workspace),
        AppCollections(workspace),
        AppExports(workspace, intake),
        Inspect(workspace, intake, faults, log),
        Pages(workspace, log),
    ):
        app.add_routes(part.routes())

    async def apply_accepted(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(intake.run())
        task.add_done_callback(_raise_unless_cancelled)
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.close()

    app.cleanup_ctx.append(apply_accepted)
    return app


def _raise_unless_cancelled(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        raise error


def api_of(path: str) -> str | None:
    """Which API a path belongs to: ``track``, ``app``, or None for the sandbox's own pages."""
    if path == "/" or path.startswith("/_sandbox/"):
        return None
    return "app" if path.startswith("/v1/") else "track"


class _Gate:
    """Everything before a handler: the log, the faults, unknown paths, credentials, the App API's rate limit."""

    # Tells aiohttp that this middleware is of the current kind.
    __middleware_version__ = 1

    def __init__(self, settings: Settings, credentials: Credentials, faults: Faults, log: RequestLog) -> None:
        self._settings = settings
        self._credentials = credentials
        self._faults = faults
        self._log = log
        self._app_requests: deque[float] = deque()

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        api = api_of(request.rel_url.raw_path)
        if api is None:
            return await _answered(request, handler)
        request["api"] = api
        came = time.time()
        response: web.StreamResponse | None = None

        async def admitted(request: web.Request) -> web.StreamResponse:
            return await self._admit(api, request, handler)

        body = b""
        try:
            body = await request.read()
            fault = self._faults.befalling(request)
            response = await (fault.befall(request, admitted) if fault else admitted(request))
            return response
        except ConnectionError:
            # The client left before it had sent its request, so nobody waits for an answer.
            request["answered"] = False
            return web.Response()
        except web.RequestPayloadError as error:
            response = app_error(str(error)) if api == "app" else v1_error(str(error))
            return response
        finally:
            self._log.add(
                time=came,
                api=api,
                method=request.method,
                path=request.rel_url.raw_path_qs,
                status=response.status if response is not None and request.get("answered", True) else None,
                bytes=len(body),
                operations=request.get("operations", 0),
            )

    async def _admit(self, api: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if request.match_info.http_exception is not None:
            return not_found_page()
        if not path.startswith(_OPEN) and not self._credentials.admits(api, request.headers.get("Authorization")):
            return unauthorized(api)
        limit = self._settings.app_requests_per_second
        if api == "app" and limit and not self._within(limit):
            # Source: Customer.io's App document, components.responses.429.
            detail = f"rate limited to {limit} requests per 1s"
            return app_error(detail, 429, {"Retry-After": "1"})
        return await _answered(request, handler)

    def _within(self, limit: int) -> bool:
        now = time.monotonic()
        while self._app_requests and now - self._app_requests[0] >= 1:
            self._app_requests.popleft()
        if len(self._app_requests) >= limit:
            return False
        self._app_requests.append(now)
        return True


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.response
    except web.HTTPNotFound:
        return not_found_page()
    except web.HTTPMethodNotAllowed:
        return not_found_page()
