"""The sink: answers 200 to everything and counts it, so that a benchmark measures the sender alone."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from cio_dagster.sandbox.answers import json_answer
from cio_dagster.sandbox.intake import read_json
from cio_dagster.sandbox.settings import Settings, object_types


def sink_application(settings: Settings, delay: float) -> web.Application:
    """The sandbox's fast mode as an aiohttp application."""
    sink = _Sink(settings, delay)
    app = web.Application()
    app.router.add_route("*", "/api/v1/accounts/region", sink.region)
    app.router.add_get("/_sandbox/counts", sink.counts)
    app.router.add_post("/_sandbox/reset", sink.reset)
    app.router.add_get("/v1/object_types", sink.object_types)
    app.router.add_route("*", "/v1/{list:segments|collections}{rest:.*}", sink.named)
    app.router.add_route("*", "/{rest:.*}", sink.swallow)
    return app


class _Sink:
    def __init__(self, settings: Settings, delay: float) -> None:
        self._settings = settings
        self._delay = delay
        self._clear()

    def _clear(self) -> None:
        self._requests = 0
        self._bytes = 0
        self._named: dict[str, list[dict[str, object]]] = {"segments": [], "collections": []}

    async def _count(self, request: web.Request) -> None:
        self._requests += 1
        async for chunk in request.content.iter_any():
            self._bytes += len(chunk)
        if self._delay:
            await asyncio.sleep(self._delay)

    async def swallow(self, request: web.Request) -> web.Response:
        await self._count(request)
        return json_answer({})

    async def region(self, request: web.Request) -> web.Response:
        await self._count(request)
        settings = self._settings
        return json_answer({"url": settings.track_url, "region": settings.region, "environment_id": settings.environment_id})

    async def object_types(self, request: web.Request) -> web.Response:
        await self._count(request)
        types = object_types(self._settings.object_types)
        return json_answer({"types": [{"id": id, "name": name, "enabled": True} for id, name in types.items()]})

    async def named(self, request: web.Request) -> web.Response:
        """Segments and collections are looked up by name before they are filled, so their names are remembered."""
        what, rest = request.match_info["list"], request.match_info["rest"].strip("/")
        kept, one = self._named[what], what[:-1]
        if rest or request.method not in ("GET", "POST"):
            await self._count(request)
            if rest.endswith("membership"):
                return json_answer({"ids": [], "identifiers": [], "next": ""})
            found = next((each for each in kept if str(each["id"]) == rest.partition("/")[0]), None)
            return json_answer({one: found} if found else {})
        if request.method == "GET":
            await self._count(request)
            return json_answer({what: kept})
        body = await request.read()
        self._requests += 1
        self._bytes += len(body)
        given = read_json(body)
        entry = given.get(one, given) if isinstance(given, dict) else {}
        now = int(time.time())
        new: dict[str, object] = {
            "id": len(kept) + 1,
            "name": entry.get("name") if isinstance(entry, dict) else None,
            "created_at": now,
            "updated_at": now,
        }
        new.update({"type": "manual", "state": "finished"} if what == "segments" else {"rows": 0, "bytes": 0})
        kept.append(new)
        return json_answer({one: new})

    async def counts(self, request: web.Request) -> web.Response:
        return json_answer({"requests": self._requests, "bytes": self._bytes})

    async def reset(self, request: web.Request) -> web.Response:
        self._clear()
        return json_answer({})
