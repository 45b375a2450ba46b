"""Other ways to send the same rows of the same DuckDB table to the same sink, each as fast as its settings let it be.

They have no TLS to do, get their times as the Unix seconds that are to be sent, keep their connections open, wait for no rate, and fill their
batches as far as Customer.io's 500,000 bytes allow. None of them compares, checks limits, reads answers back to rows or commits anything.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

Row = dict[str, Any]

BATCH_ROWS = 1_800
"""People in a batch of nearly 500,000 bytes, as the clients write them."""

ATTRIBUTES = ("email", "first_name", "plan", "lifetime_value", "orders", "created_at", "opted_in")

IN_FLIGHT = 8


def customerio_calls(*, database: str, table: str, rows: int, url: str) -> Row:
    """PyPI `customerio`: a call for each person."""
    client, begun = _customerio(url), time.perf_counter()
    for row in itertools.chain.from_iterable(_people(database, table, rows)):
        client.identify(row.pop("customer_id"), **row)
    return {"seconds": time.perf_counter() - begun}


def customerio_batches(*, database: str, table: str, rows: int, url: str) -> Row:
    """PyPI `customerio`: its batch call."""
    client, begun = _customerio(url), time.perf_counter()
    for people in _people(database, table, rows):
        client.batch([_operation(row) for row in people])
    return {"seconds": time.perf_counter() - begun}


def async_calls(*, database: str, table: str, rows: int, url: str) -> Row:
    """PyPI `async-customerio`: a call for each person, 8 in flight."""
    client = _async_customerio(url)
    everybody = itertools.chain.from_iterable(_people(database, table, rows))

    async def send() -> None:
        for row in everybody:
            await client.identify(row.pop("customer_id"), **row)

    return asyncio.run(_side_by_side(client, send))


def async_batches(*, database: str, table: str, rows: int, url: str) -> Row:
    """PyPI `async-customerio`: its batch call, 8 in flight."""
    client = _async_customerio(url)
    batches = _people(database, table, rows)

    async def send() -> None:
        for people in batches:
            await client.v2.send_batch([_operation(row) for row in people])

    return asyncio.run(_side_by_side(client, send))


def drt_batches(*, database: str, table: str, rows: int, url: str) -> Row:
    """PyPI `drt-core`: a sync from its DuckDB source to its REST destination, in batches that SQL has given their shape."""
    from drt.config.base import BasicAuth, RateLimitConfig
    from drt.config.destinations_saas import RestApiDestinationConfig
    from drt.config.profiles import DuckDBProfile
    from drt.config.sync_options import SyncConfig, SyncOptions
    from drt.destinations.rest_api import RestApiDestination
    from drt.engine.sync import run_sync
    from drt.sources.duckdb import DuckDBSource

    os.environ |= {"BENCH_SITE": "site", "BENCH_KEY": "key"}
    attributes = ", ".join(f"'{name}': {_column(name)}" for name in ATTRIBUTES)
    operation = f"'person' as type, 'identify' as action, {{'id': customer_id}} as identifiers, {{{attributes}}} as attributes"
    destination = RestApiDestinationConfig(
        type="rest_api",
        url=f"{url}/api/v2/batch",
        body_mode="batch",
        batch_template='{"batch": {{ rows | tojson_safe }}}',
        max_records_per_request=BATCH_ROWS,
        auth=BasicAuth(type="basic", username_env="BENCH_SITE", password_env="BENCH_KEY"),
    )
    # Each of its own batches has connections of its own, so they are large.
    options = SyncOptions(batch_size=BATCH_ROWS * 50, rate_limit=RateLimitConfig(requests_per_second=0))
    config = SyncConfig(
        name="people", model=f"select {operation} from {table} limit {rows}", destination=destination, sync=options
    )
    begun = time.perf_counter()
    done = run_sync(
        config, DuckDBSource(), RestApiDestination(), DuckDBProfile(type="duckdb", database=database), Path(database).parent
    )
    seconds = time.perf_counter() - begun
    if done.success != rows:
        raise RuntimeError(f"drt sent {done.success} of {rows} rows: {done.row_errors[:3]}")
    return {"seconds": seconds}


def _people(database: str, table: str, rows: int) -> Iterator[list[Row]]:
    """The rows as dicts, a batch at a time."""
    columns = ", ".join(("customer_id", *(f"{_column(name)} as {name}" for name in ATTRIBUTES)))
    with duckdb.connect(database, read_only=True) as connection:
        reader: Any = connection.execute(f"select {columns} from {table} limit {rows}").to_arrow_reader(50_000)
        for batch in reader:
            frame = pl.DataFrame(batch)
            for start in range(0, len(frame), BATCH_ROWS):
                yield frame[start : start + BATCH_ROWS].to_dicts()


def _column(name: str) -> str:
    return "epoch(created_at)::bigint" if name == "created_at" else name


def _operation(row: Row) -> Any:
    return {"type": "person", "action": "identify", "identifiers": {"id": row.pop("customer_id")}, "attributes": row}


def _customerio(url: str) -> Any:
    import customerio

    class Plain(customerio.CustomerIO):  # type: ignore[misc]
        """Without TLS, which it insists on."""

        def send_request(self, method: str, url: str, data: Any) -> Any:
            return super().send_request(method, url.replace("https:", "http:", 1), data)

    host, port = _host(url)
    return Plain("site", "key", host=host, port=port)


def _async_customerio(url: str) -> Any:
    from async_customerio import AsyncCustomerIO

    class Plain(AsyncCustomerIO):  # type: ignore[misc]
        """Without TLS, which it insists on."""

        @staticmethod
        def setup_base_url(host: str, port: int, prefix: str) -> str:
            return f"http://{host}:{port}{prefix}"

    host, port = _host(url)
    return Plain("site", "key", host=host, port=port)


async def _side_by_side(client: Any, send: Any) -> Row:
    async with client:
        begun = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
        return {"seconds": time.perf_counter() - begun}


def _host(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)
