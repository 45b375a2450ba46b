"""The HTTP client: hosts, credentials, rate limits and retries of Customer.io's Track and App APIs.

Sources: hosts, authentication and the region call by Customer.io's Track API document (servers, securitySchemes,
/api/v1/accounts/region); Retry-After by the App API's 429. Which statuses are retried follows Customer.io's own Node client.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeAlias

import stamina
from aiolimiter import AsyncLimiter
from pydantic import SecretStr
from typing_extensions import Self

from cio_dagster.errors import CredentialsRefused, RegionMismatch, RequestRefused, Unavailable
from cio_dagster.lock import Held

Region: TypeAlias = Literal["us", "eu"]
TRACK_HOSTS: dict[Region, str] = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}
APP_HOSTS: dict[Region, str] = {"us": "https://api.customer.io", "eu": "https://api-eu.customer.io"}

LONGEST_WAIT = 300.0
"""Seconds. A Retry-After beyond this is cut to it, as Customer.io's Node client does."""


AT_ONCE = 0.001
"""Seconds; no pause worth the name."""

FIRST_BACKOFF = 0.25
"""Seconds; each further pause is twice the one before, and the client's `longest_backoff` at most."""


@dataclass(frozen=True)
class Connection:
    """How to reach one workspace, and how hard it may be driven.

    Rates are a second's; `burst` is how many requests may go at once after a pause. `records_per_second` also limits rows, for
    workspaces whose campaigns cannot take a flood. `timeout` and `longest_backoff` are seconds; `attempts` counts the first. What was not
    sent before `since` (by time.monotonic()) is not saved up for a burst: the budget was another's until then.

    A run that gets no usable answer any more ends within 2 x attempts x (timeout + 2 x pause) seconds, whatever `concurrency` is, where
    pause is the longer of `longest_backoff` and of the Retry-After that Customer.io asks for (LONGEST_WAIT at most): a request has so
    many attempts before and after tries are made one at a time, each with a pause of its own and one of the API's (see `_Breaker`).
    """

    site_id: str
    track_api_key: SecretStr
    app_api_key: SecretStr
    region: Region = "us"
    track_url: str | None = None
    app_url: str | None = None
    requests_per_second: float = 150
    burst: int = 600
    app_requests_per_second: float = 10
    records_per_second: float | None = None
    concurrency: int = 32
    timeout: float = 30
    attempts: int = 8
    longest_backoff: float = 30
    since: float = -math.inf
    batch_bytes: int = 500_000
    operation_bytes: int = 32_000

    @property
    def track(self) -> str:
        """The Track API's address."""
        return (self.track_url or TRACK_HOSTS[self.region]).rstrip("/")

    @property
    def app(self) -> str:
        """The App API's address."""
        return (self.app_url or APP_HOSTS[self.region]).rstrip("/")


class _Limit:
    """So many units at once, and then a rate a second.

    aiolimiter's buckets belong to one event loop each. How full the last one was is kept for the process, so that a run of many
    partitions, each with a loop of its own, does not begin each with a new burst. `since` is as of a Connection.
    """

    _empty_at: ClassVar[dict[tuple[str, str, str], float]] = {}

    def __init__(self, name: tuple[str, str, str], rate: float, burst: float, since: float) -> None:
        self._name, self._rate = name, rate
        self.burst = burst
        self._bucket = AsyncLimiter(burst, burst / rate)
        self._empty_at[name] = max(self._empty_at.get(name, -math.inf), since + burst / rate)

    async def resume(self) -> None:
        """Fill the bucket as the last loop's would be filled by now. To be called once, first."""
        left = (self._empty_at[self._name] - time.monotonic()) * self._rate
        await self._bucket.acquire(min(max(left, 0.0), self.burst))

    async def acquire(self, units: float = 1) -> None:
        """Wait for a turn. More units than `burst` count as `burst`."""
        units = min(units, self.burst)
        await self._bucket.acquire(units)
        begins = max(self._empty_at[self._name], time.monotonic())
        self._empty_at[self._name] = begins + units / self._rate


class _Breaker:
    """Keeps many workers from driving an API that fails, and ends what is hopeless.

    As many failed tries in a row as there are workers, with no answer between, and they try one at a time, with growing pauses. As many
    of those in a row as a request has attempts, and nothing is tried any more. Any answer makes all of it forgotten.
    """

    def __init__(self, at: Connection) -> None:
        self._workers, self._attempts, self._longest = at.concurrency, at.attempts, at.longest_backoff
        self._failed = self._failed_alone = 0
        self._one = asyncio.Lock()

    async def call(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """Try once, when it is this worker's turn. Raises Unavailable where it is hopeless."""
        if self._failed >= self._workers:
            async with self._one:
                if self._failed >= self._workers:
                    return await self._alone(once)
        return await self._counted(once)

    async def _alone(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._failed_alone >= self._attempts:
            raise Unavailable(
                f"No usable answer came to {self._failed:,} tries in a row, the last {self._failed_alone} of them one at a time: given up."
            )
        await asyncio.sleep(min(FIRST_BACKOFF * 2**self._failed_alone, self._longest))
        try:
            return await self._counted(once)
        except _TryAgain:
            self._failed_alone += 1
            raise

    async def _counted(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            answer = await once()
        except _TryAgain:
            self._failed += 1
            raise
        self._failed = self._failed_alone = 0
        return answer


@dataclass(frozen=True)
class Answer:
    """An answer that a retry would not change: its status, its JSON (an empty object where it has none), and its errors."""

    status: int
    content: Any
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the request as a whole was taken."""
        return self.status < 300

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Customer.io's error objects, whichever of its shapes they came in: `errors`, `meta.errors`, `meta.error` or plain text."""
        content: dict[str, Any] = self.content if isinstance(self.content, dict) else {}
        meta = content.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        found = content.get("errors") or meta.get("errors") or ([meta["error"]] if meta.get("error") else [])
        if not found and not self.ok:
            found = [self.text.strip()[:200] or f"HTTP status {self.status}"]
        return [each if isinstance(each, dict) else {"message": str(each)} for each in found]

    def error_text(self) -> str:
        """The errors in words, for messages."""
        return "; ".join(str(each.get("message") or each.get("detail") or each.get("reason") or each) for each in self.errors)


@dataclass
class Traffic:
    """What was sent: requests and body bytes; retries; seconds spent waiting for the rate limits; and how far in the plan that was."""

    requests: int = 0
    bytes: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    begun: int = 0
    """The position after the last operation that a request was begun for."""


class _TryAgain(Exception):
    def __init__(self, reason: str, *, status: int | None = None, after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.after = after


@dataclass
class Client:
    """One workspace's APIs, inside one event loop. Use as `async with`."""

    connection: Connection
    traffic: Traffic = field(default_factory=Traffic)
    held: Held = lambda: None
    """Asked before each request, which is not sent where it raises."""

    async def __aenter__(self) -> Self:
        import aiohttp  # Here and below: an eighth of a second that only what sends has to wait for.

        at = self.connection
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=at.timeout),
            connector=aiohttp.TCPConnector(limit=at.concurrency),
            headers={"Content-Type": "application/json", "User-Agent": "cio_dagster"},
        )
        self._track_limit = _Limit(("track", at.track, at.site_id), at.requests_per_second, at.burst, at.since)
        # Without a burst: a full bucket and its refill would be twice the limit in the first second.
        self._app_limit = _Limit(("app", at.app, at.site_id), at.app_requests_per_second, 1, at.since)
        records = at.records_per_second
        self._record_limit = _Limit(("records", at.track, at.site_id), records, max(records, 1), at.since) if records else None
        for limit in (self._track_limit, self._app_limit, self._record_limit):
            if limit is not None:
                await limit.resume()
        self._held_until = {"track": 0.0, "app": 0.0}
        self._breakers = {"track": _Breaker(at), "app": _Breaker(at)}
        self._talking: set[asyncio.Task[Any] | None] = set()
        self._stopping = False
        return self

    def stop(self) -> set[asyncio.Task[Any] | None]:
        """Send nothing more. Returns the tasks whose requests are waiting for their answers."""
        self._stopping = True
        return set(self._talking)

    async def __aexit__(self, *_: tuple[type[BaseException], BaseException, TracebackType] | None) -> None:
        await self._session.close()

    async def track(self, method: str, path: str, body: bytes | None = None, *, rows: int = 0) -> Answer:
        """Call the Track API. `rows` is how many records the request holds, for the limit in records."""
        # A key from a file often ends with a line break, which no key has.
        user, key = self.connection.site_id.strip(), self.connection.track_api_key.get_secret_value().strip()
        if not user or not key or ":" in user:
            raise CredentialsRefused(
                "The Track API needs a Site ID (without a colon) and a key: set CIO_SITE_ID and CIO_TRACK_API_KEY."
            )
        headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}
        return await self._call("track", method, self.connection.track + path, headers, body, rows=rows)

    async def app(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        body: bytes | None = None,
        params: dict[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Call the App API with JSON content, or a ready body. A call that is not `repeatable` is tried again after a 429 only."""
        key = self.connection.app_api_key.get_secret_value().strip()
        if not self.has_app_key:
            raise CredentialsRefused("This sync needs the App API, but no App API key is configured: set CIO_APP_API_KEY.")
        body = json.dumps(content).encode() if content is not None else body
        headers = {"Authorization": f"Bearer {key}"}
        return await self._call("app", method, self.connection.app + path, headers, body, params=params, repeatable=repeatable)

    @property
    def has_app_key(self) -> bool:
        """Whether the App API can be called at all."""
        return bool(self.connection.app_api_key.get_secret_value().strip())

    async def environment_id(self) -> int:
        """Check the Track credentials and the region; return the workspace's id. Raises CredentialsRefused or RegionMismatch."""
        answer = await self.track("GET", "/api/v1/accounts/region")
        found = answer.content if isinstance(answer.content, dict) else {}
        if not answer.ok or "region" not in found:
            raise RequestRefused(
                f"{self.connection.track} did not answer the region call as Customer.io does (status {answer.status}: "
                f"{answer.error_text() or 'no region in it'}). Check the address.",
                status=answer.status,
            )
        if found["region"] != self.connection.region:
            raise RegionMismatch(
                f"The workspace is in region {found['region']!r}, but {self.connection.region!r} is configured: "
                f"set CIO_REGION={found['region']}, so that data does not pass through the other region."
            )
        return int(found.get("environment_id") or 0)

    def attempts(self, on: Callable[[Exception], bool | float]) -> AsyncIterator[stamina.Attempt]:
        """Attempts with growing, jittered pauses between them. `on` says whether an error is worth another, or after how many seconds."""
        at = self.connection
        return aiter(
            stamina.retry_context(
                on=on,
                attempts=at.attempts,
                timeout=None,
                wait_initial=FIRST_BACKOFF,
                wait_max=at.longest_backoff,
                wait_jitter=1.0,
            )
        )

    async def _call(
        self,
        api: str,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        *,
        rows: int = 0,
        params: dict[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        def again(error: Exception) -> bool | float:
            if not isinstance(error, _TryAgain) or self._stopping:
                return False
            # A 429 was turned away unread, so even what must not be done twice may be sent again.
            return (error.after or True) if repeatable or error.status == 429 else False

        async def once() -> Answer:
            await self._wait(api, rows)
            return await self._once(api, method, url, headers, body, params)

        try:
            async for attempt in self.attempts(again):
                with attempt:
                    self.traffic.retries += attempt.num > 1
                    return await self._breakers[api].call(once)
        except _TryAgain as error:
            tries = f"{attempt.num} times" if repeatable or error.status == 429 else "once, because repeating it is not safe"
            message = f"{method} {_public(url)} got no usable answer ({error}); it was tried {tries}."
            raise Unavailable(message, status=error.status) from None
        raise AssertionError("the retry loop ends by returning or raising")

    async def _wait(self, api: str, rows: int) -> None:
        begun = time.monotonic()
        if rows and self._record_limit:
            await self._record_limit.acquire(rows)
        # Another request's 429 may hold the API while this one waits for its turn: then it waits for a new turn.
        while True:
            while (pause := self._held_until[api] - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            await (self._track_limit if api == "track" else self._app_limit).acquire()
            if self._held_until[api] <= time.monotonic():
                break
        self.traffic.throttled_seconds += time.monotonic() - begun

    async def _once(
        self, api: str, method: str, url: str, headers: dict[str, str], body: bytes | None, params: dict[str, str] | None
    ) -> Answer:
        import aiohttp

        if self._stopping:
            raise Unavailable(f"{method} {_public(url)} was not sent: another request ended the run.")
        self.held()
        self.traffic.requests += 1
        self.traffic.bytes += len(body or b"")
        self._talking.add(asyncio.current_task())
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, params=params, allow_redirects=False
            ) as response:
                text = (await response.read()).decode("utf-8", errors="replace")
                status, after, location = (
                    response.status,
                    response.headers.get("Retry-After"),
                    response.headers.get("Location", ""),
                )
        except asyncio.TimeoutError:
            raise _TryAgain(f"no answer within {self.connection.timeout:g} s") from None
        except aiohttp.ClientSSLError as error:
            raise Unavailable(f"{_public(url)} could not be reached safely, so nothing was sent to it: {error}.") from None
        except ValueError:
            raise RequestRefused(f"{_public(url)} is no address that can be called (keys do not go in it).") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TryAgain(f"{type(error).__name__}: {error}") from None
        finally:
            self._talking.discard(asyncio.current_task())
        return self._judge(api, url, status, text, after, location)

    def _judge(self, api: str, url: str, status: int, text: str, after: str | None, location: str) -> Answer:
        if status in (408, 429) or status >= 500:
            seconds = _seconds(after)
            if status == 429 and seconds:
                # The whole API is held, not this request alone: the limit is the workspace's. So this request need not wait by itself.
                self._held_until[api], seconds = max(self._held_until[api], time.monotonic() + seconds), AT_ONCE
            raise _TryAgain(f"status {status}", status=status, after=seconds)
        if status in (401, 403):
            names = "CIO_SITE_ID and CIO_TRACK_API_KEY" if api == "track" else "CIO_APP_API_KEY, and the key's scope"
            message = f"{_public(url)} refused the credentials (status {status}): check {names}, and that they belong to the workspace."
            raise CredentialsRefused(message, status=status)
        if 300 <= status < 400:
            message = (
                f"{_public(url)} redirects to {_public(location)}, which is not followed: check CIO_REGION and the addresses."
            )
            raise RegionMismatch(message, status=status)
        try:
            content = json.loads(text) if text.strip() else {}
        except ValueError:
            if status < 300:
                raise _TryAgain(f"status {status} with an answer that is no JSON", status=status) from None
            content = {}
        return Answer(status, content, text)


def raise_for(answer: Answer, doing: str) -> Answer:
    """The answer, if the request was taken. Raises RequestRefused with what was being done and Customer.io's words."""
    if not answer.ok:
        raise RequestRefused(f"{doing}: Customer.io answered {answer.status}: {answer.error_text()}", status=answer.status)
    return answer


def _seconds(after: str | None) -> float | None:
    """A Retry-After header, in seconds or as a date, as seconds from now."""
    if after is None:
        return None
    try:
        seconds = float(after)
    except ValueError:
        moment = email.utils.parsedate_tz(after)
        seconds = email.utils.mktime_tz(moment) - time.time() if moment else 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT) or None if math.isfinite(seconds) else None


def _public(url: str) -> str:
    """An address without what may be secret or personal: no user, no query."""
    return url.split("?", 1)[0].split("@", 1)[-1]
