"""DELIVER: a plan's operations become requests; every answer is read back to rows and logged.

The only room that knows HTTP. Nothing here decides what to send: that is the plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

import polars as pl

from cio_dagster.answers import AnswerLog, Refusal
from cio_dagster.deliver.client import Answer, Client, Connection, Traffic, raise_for
from cio_dagster.deliver.packing import Batch, pack
from cio_dagster.deliver.targets import objects, replace_collection, segment_id, segment_members
from cio_dagster.errors import CredentialsRefused, DeliveryError, RequestRefused
from cio_dagster.limits import SEGMENT_IDS_PER_REQUEST
from cio_dagster.lock import Held
from cio_dagster.plan import Plan
from cio_dagster.specs import AnySpec, Collection, Event, ManualSegment, Object

__all__ = ["Client", "Connection", "Traffic", "check_connection", "deliver", "read_baseline"]

T = TypeVar("T")

CHUNK_ROWS = 16_384
"""Operations read from the plan at a time: what is in memory is this, and the requests in flight."""

UNACCEPTABLE = (400, 413, 422)
"""Statuses that say something in the request is wrong, not the request itself: it is split until the offending rows are found."""

HOPELESS = 1_000
"""So many operations, each refused in a request of its own, and none accepted: the plan as a whole is wrong, and no more is sent."""

LAST_ANSWERS = 5.0
"""Seconds. When a request ends the run, others that are under way are given so long to be answered, so that what they did is known."""

Progress = Callable[[int, int], None]
"""Called with the operations answered so far and their whole number, on the caller's thread."""


def check_connection(connection: Connection) -> int:
    """Check credentials and region by one call; return the workspace's environment id. Raises DeliveryError."""

    async def call() -> int:
        async with Client(connection) as client:
            return await client.environment_id()

    return run_async(call)


def read_baseline(connection: Connection, spec: ManualSegment | Object) -> pl.DataFrame:
    """What a segment or an object type holds in Customer.io now: `_key` and the identifier (see `targets`)."""

    async def call() -> pl.DataFrame:
        async with Client(connection) as client:
            return await (segment_members(client, spec) if isinstance(spec, ManualSegment) else objects(client, spec))

    return run_async(call)


def deliver(
    plan: Plan,
    spec: AnySpec,
    connection: Connection,
    traffic: Traffic,
    progress: Progress | None = None,
    held: Held = lambda: None,
) -> None:
    """Send a plan, log each answer in the plan's folder as it comes, and count in `traffic` what is sent, as long as the lock is held.

    Refused rows are in the log, not raised. Raises DeliveryError when the plan cannot be sent to its end; what the log holds by then
    was answered, and the rest is pending.
    """
    done, log, total = _Count(), AnswerLog(plan.answers_path, plan.copied_to), plan.planned - plan.deferred

    async def call() -> None:
        async with Client(connection, traffic, held) as client:
            with log:
                await _Delivery(client, spec, log, done).send(plan)

    def tick() -> None:
        held()
        log.copy()
        if progress:
            progress(done.value, total)

    run_async(call, tick)


class _Count:
    value = 0


class _Delivery:
    def __init__(self, client: Client, spec: AnySpec, log: AnswerLog, done: _Count) -> None:
        self._client, self._spec, self._log, self._done = client, spec, log, done
        self._segment: int | None = None
        self._accepted = self._refused_alone = 0

    async def send(self, plan: Plan) -> None:
        if isinstance(self._spec, Collection):
            await self._send_collection(plan)
            return
        in_flight: set[asyncio.Task[None]] = set()
        try:
            await self._send_batches(plan, in_flight)
        except CredentialsRefused:
            raise
        except DeliveryError:
            if talking := in_flight & self._client.stop():
                await asyncio.wait(talking, timeout=LAST_ANSWERS)
            raise
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def _send_batches(self, plan: Plan, in_flight: set[asyncio.Task[None]]) -> None:
        for batch in self._batches(plan):
            if isinstance(self._spec, ManualSegment) and self._segment is None:
                self._segment = await segment_id(self._client, self._spec)
            if len(in_flight) >= self._client.connection.concurrency:
                await _settle(in_flight, asyncio.FIRST_COMPLETED)
            self._client.traffic.begun = batch.stop
            in_flight.add(asyncio.create_task(self._send_batch(batch)))
        await _settle(in_flight, asyncio.ALL_COMPLETED)

    def _batches(self, plan: Plan) -> Iterator[Batch]:
        limits, spec = self._client.connection, self._spec
        chunks = _bodies(plan)
        start, records = plan.counts.left_out, limits.records_per_second
        most = max(int(records), 1) if records else 2**31
        if isinstance(spec, ManualSegment):
            rows = min(SEGMENT_IDS_PER_REQUEST, most)
            return pack(
                chunks, max_bytes=limits.batch_bytes, max_rows=rows, wrapping=len(b'{"ids":[]}'), mixed=False, start=start
            )
        rows = 1 if isinstance(spec, Event) and spec.single else most
        return pack(chunks, max_bytes=limits.batch_bytes, max_rows=rows, wrapping=len(b'{"batch":[]}'), mixed=True, start=start)

    async def _send_batch(self, batch: Batch) -> None:
        answer = await self._request(batch)
        refused = _refusals(answer, batch)
        if refused is not None:
            self._log.append(batch.start, batch.stop, refused)
            self._done.value += len(batch.bodies)
            self._accepted += len(batch.bodies) - len(refused)
        elif len(batch.bodies) > 1:
            for half in batch.halves():
                await self._send_batch(half)
        else:
            self._log.append(batch.start, batch.stop, [_refusal(batch.start, answer)])
            self._done.value += 1
            self._refused_alone += 1
            if self._refused_alone >= HOPELESS and not self._accepted:
                message = f"Customer.io refused all of the first {self._refused_alone:,} operations; the last with status"
                raise RequestRefused(f"{message} {answer.status}: {answer.error_text()}", status=answer.status)

    async def _request(self, batch: Batch) -> Answer:
        joined, rows = batch.bodies.str.join(",").item(), len(batch.bodies)
        if isinstance(self._spec, ManualSegment):
            verb = "remove_customers" if batch.operation == "delete" else "add_customers"
            path = f"/api/v1/segments/{self._segment}/{verb}?id_type={self._spec.key}"
            return await self._client.track("POST", path, f'{{"ids":[{joined}]}}'.encode(), rows=rows)
        if isinstance(self._spec, Event) and self._spec.single:
            return await self._client.track("POST", "/api/v1/events", joined.encode(), rows=rows)
        return await self._client.track("POST", "/api/v2/batch", f'{{"batch":[{joined}]}}'.encode(), rows=rows)

    async def _send_collection(self, plan: Plan) -> None:
        rows = plan.operations().select("_body").collect()
        joined = rows["_body"].drop_nulls().str.join(",").item() or ""
        self._client.traffic.begun = len(rows)
        answer = await replace_collection(self._client, self._spec, f"[{joined}]")  # type: ignore[arg-type]
        refused = [] if answer.ok else [_refusal(position, answer) for position in range(len(rows))]
        if not answer.ok and (answer.status not in UNACCEPTABLE or rows.is_empty()):
            raise_for(answer, f"Replacing collection {self._spec.identity['collection']!r}")
        self._log.append(0, len(rows), refused)
        self._done.value += len(rows)


def _bodies(plan: Plan) -> Iterator[pl.DataFrame]:
    """What is to be sent, in order: all but the first operations, which need no request, and the last, which a limit leaves out."""
    import pyarrow.parquet as pq  # Slow to import, so where it is used.

    skipped, left = plan.counts.left_out, plan.stop - plan.counts.left_out
    for path in plan.operations_paths:
        with pq.ParquetFile(path) as file:
            for arrow in file.iter_batches(CHUNK_ROWS, columns=["_operation", "_body"]):
                frame = pl.from_arrow(arrow)
                assert isinstance(frame, pl.DataFrame)
                rows, skipped = frame[skipped:][:left], max(skipped - len(frame), 0)
                left -= len(rows)
                if rows["_body"].null_count():
                    # Positions are counted, so answers would be read to the wrong rows.
                    raise ValueError(f"{path} has an operation without a body among those to be sent")
                if not rows.is_empty():
                    yield rows


def _refusals(answer: Answer, batch: Batch) -> list[Refusal] | None:
    """The operations of a batch that were refused; None where the answer does not tell which, so that the batch must be split.

    Raises RequestRefused where it is not about rows at all.
    """
    if answer.status in UNACCEPTABLE:
        return None
    if not answer.ok:
        raise RequestRefused(
            f"Customer.io refused a request with status {answer.status}: {answer.error_text()}", status=answer.status
        )
    refused: dict[int, Refusal] = {}
    for error in answer.errors:
        index = error.get("batch_index")
        if type(index) is not int or not 0 <= index < len(batch.bodies):
            return None
        refused.setdefault(index, _from_error(batch.start + index, error))
    if answer.status == 207 and not refused:
        return None
    return list(refused.values())


def _refusal(position: int, answer: Answer) -> Refusal:
    """The refusal of one operation that was a request of its own."""
    return _from_error(position, answer.errors[0]) if answer.errors else Refusal(position, f"status {answer.status}", "", "")


def _from_error(position: int, error: dict[str, Any]) -> Refusal:
    message = error.get("message") or error.get("detail") or ""
    return Refusal(position, str(error.get("reason") or "refused"), str(error.get("field") or ""), str(message))


async def _settle(tasks: set[asyncio.Task[None]], when: str) -> None:
    """Wait for tasks, take out those that are done, and raise what they raised."""
    if not tasks:
        return
    first = asyncio.FIRST_EXCEPTION if when == asyncio.ALL_COMPLETED else when
    done, _ = await asyncio.wait(tasks, return_when=first)
    for task in done:
        task.result()
    tasks -= done


def run_async(call: Callable[[], Coroutine[Any, Any, T]], tick: Callable[[], None] = lambda: None) -> T:
    """Run a coroutine on a thread with a loop of its own, so that it works inside a running loop too, and signals reach the caller.

    Every half second `tick` is called on the caller's thread. If the caller is interrupted, the coroutine is cancelled, and has ended
    when this returns.
    """
    cancel: list[Callable[[], object]] = []

    async def main() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        return await call()

    with ThreadPoolExecutor(1, thread_name_prefix="customerio") as pool:
        future = pool.submit(lambda: asyncio.run(main()))
        try:
            while not future.done():
                wait([future], timeout=0.5)
                tick()
            return future.result()
        finally:
            while not future.done():
                # Once, as soon as there is a task: what is cancelled again would not clean up.
                if cancel:
                    with suppress(RuntimeError):  # The loop has just closed.
                        cancel.pop()()
                wait([future], timeout=0.05)
