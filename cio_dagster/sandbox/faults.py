"""Scripted failures: which requests fail, how, and how often."""

from __future__ import annotations

import asyncio
import fnmatch
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any

from aiohttp import web

from cio_dagster.sandbox.answers import app_error, json_answer, unauthorized, v1_single_error

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class InvalidFault(ValueError):
    """A fault script that makes no sense."""


@dataclass
class Fault:
    """One scripted failure. docs/sandbox.md says what each key does."""

    path: str | None = None
    method: str | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    delay: float = 0.0
    reset: bool = False
    drop_answer: bool = False
    reset_mid_body: bool = False
    garbage: bool = False
    apply: bool = False
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        self.matched = 0
        self.fired = 0
        self._random = random.Random(self.seed)

    @classmethod
    def read(cls, given: object) -> Fault:
        """Read one fault of a script.

        Raises:
            InvalidFault: Saying what is wrong.
        """
        if not isinstance(given, dict):
            raise InvalidFault(f"a fault is an object, not {given!r}")
        names = [each.name for each in fields(cls)]
        if unknown := sorted(set(given) - set(names)):
            raise InvalidFault(f"no fault has {', '.join(unknown)}; it may have {', '.join(names)}")
        for name, value in given.items():
            _check(name, value)
        fault = cls(**given)
        kinds = [name for name in ("status", "reset", "drop_answer", "reset_mid_body", "garbage") if given.get(name)]
        if len(kinds) > 1:
            raise InvalidFault(f"a fault does one of {', '.join(kinds)}, not several")
        if not kinds and not fault.delay:
            raise InvalidFault("a fault needs a status, delay, reset, drop_answer, reset_mid_body or garbage")
        if fault.status is None and (fault.headers or fault.body is not None or fault.apply):
            raise InvalidFault("headers, body and apply go with a status")
        return fault

    def takes(self, request: web.Request) -> bool:
        """Whether this fault befalls a request; counts it."""
        path = request.rel_url.raw_path
        if self.method is not None and self.method.upper() != request.method:
            return False
        if self.path is not None and not (path.startswith(self.path) or fnmatch.fnmatchcase(path, self.path)):
            return False
        self.matched += 1
        if self.matched <= self.after or (self.times is not None and self.fired >= self.times):
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """What is scripted, and how often it matched and fired."""
        scripted = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**scripted, "matched": self.matched, "fired": self.fired}

    async def befall(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request the way this fault says."""
        if self.reset:
            await asyncio.sleep(self.delay)
            return _cut(request)
        answer: web.StreamResponse | None = None
        if self.status is None or self.apply:
            answer = await handler(request)
        await asyncio.sleep(self.delay)
        if self.drop_answer:
            return _cut(request)
        if self.reset_mid_body:
            return await _half_answer(request, answer)
        if self.garbage:
            return web.Response(text="<html>upstream said: \x00\ufffd{]", content_type="text/html")
        if self.status is not None:
            return self._scripted_answer(request)
        assert answer is not None
        return answer

    def _scripted_answer(self, request: web.Request) -> web.Response:
        assert self.status is not None
        response = _usual_answer(self.status, request["api"]) if self.body is None else None
        if isinstance(self.body, str):
            response = web.Response(text=self.body, status=self.status)
        elif response is None:
            response = json_answer(self.body, self.status)
        response.headers.update(self.headers)
        return response


def _usual_answer(status: int, api: str) -> web.Response:
    """What a status looks like when the script gives no body: the API's own shape."""
    if status == 401:
        return unauthorized(api)
    message = f"scripted {status}"
    return app_error(message, status) if api == "app" else v1_single_error(message, status)


class Faults:
    """The faults that are armed."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, script: object) -> None:
        """Replace the armed faults by a script: ``{"faults":[...]}``, or one fault.

        Raises:
            InvalidFault: Saying what is wrong; what was armed stays.
        """
        if not isinstance(script, dict):
            raise InvalidFault('a script is {"faults":[...]} or one fault')
        entries = script.get("faults", [script])
        if not isinstance(entries, list) or ("faults" in script and len(script) > 1):
            raise InvalidFault("faults is an array, and stands alone")
        armed = []
        for index, entry in enumerate(entries):
            try:
                armed.append(Fault.read(entry))
            except InvalidFault as error:
                raise InvalidFault(f"faults[{index}]: {error}") from error
        self._armed = armed

    def clear(self) -> None:
        """Disarm everything."""
        self._armed = []

    def as_list(self) -> list[dict[str, Any]]:
        """What is armed."""
        return [fault.as_dict() for fault in self._armed]

    def befalling(self, request: web.Request) -> Fault | None:
        """The first armed fault that takes a request."""
        return next((fault for fault in self._armed if fault.takes(request)), None)


_TEXTS, _FLAGS = ("path", "method"), ("reset", "drop_answer", "reset_mid_body", "garbage", "apply")
_COUNTS, _NUMBERS = ("times", "after", "seed", "status"), ("delay", "probability")


def _check(name: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _TEXTS and not isinstance(value, str):
        raise InvalidFault(f"{name} is a string, not {value!r}")
    if name in _FLAGS and not isinstance(value, bool):
        raise InvalidFault(f"{name} is true or false, not {value!r}")
    if name in _COUNTS and (not number or not isinstance(value, int) or (value < 0 and name != "seed")):
        raise InvalidFault(f"{name} is a whole number, not {value!r}")
    if name == "status" and not (isinstance(value, int) and 200 <= value <= 599):
        raise InvalidFault(f"status is between 200 and 599, not {value!r}")
    if name in _NUMBERS and not (isinstance(value, (int, float)) and number and value >= 0):
        raise InvalidFault(f"{name} is a number that is not negative, not {value!r}")
    if name == "probability" and isinstance(value, (int, float)) and value > 1:
        raise InvalidFault(f"probability is between 0 and 1, not {value!r}")
    if name == "headers" and not (
        isinstance(value, dict) and all(isinstance(each, str) for pair in value.items() for each in pair)
    ):
        raise InvalidFault(f"headers is an object of strings, not {value!r}")


def _cut(request: web.Request) -> web.Response:
    """Close the connection with a reset and without an answer."""
    if request.transport is not None:
        connection: socket.socket | None = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    request["answered"] = False
    return web.Response()


async def _half_answer(request: web.Request, answer: web.StreamResponse | None) -> web.StreamResponse:
    """Send the head and a part of the body, then close the connection."""
    body = answer.body if isinstance(answer, web.Response) else None
    whole = body if isinstance(body, bytes) and body else b"{}"
    half = web.StreamResponse(status=answer.status if answer else 200)
    half.content_type = answer.content_type if answer else "application/json"
    half.content_length = len(whole) + 1
    await half.prepare(request)
    await half.write(whole[: max(len(whole) // 2, 1)])
    if request.transport is not None:
        request.transport.close()
    request["answered"] = False
    return half
