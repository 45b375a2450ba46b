"""What no sync on this machine can pass: encoding the same rows alone, and sending prepared bodies alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import duckdb
import polars as pl

BATCH_ROWS = 2_000
IN_FLIGHT = 32


def encoding(*, database: str, query: str, url: str) -> dict[str, Any]:
    """The rows, in memory, as the JSON of operations, by Polars; as one string a request. Nothing is sent."""
    frame = _frame(database, query)
    begun = time.perf_counter()
    _bodies(frame)
    return {"seconds": time.perf_counter() - begun}


def sending(*, database: str, query: str, url: str) -> dict[str, Any]:
    """The bodies of requests, in memory, to the last answer, by aiohttp."""
    bodies = [body.encode() for body in _bodies(_frame(database, query))]

    async def send() -> float:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

            async def worker() -> None:
                while bodies:
                    async with session.post(f"{url}/api/v2/batch", data=bodies.pop()) as answer:
                        await answer.read()

            begun = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
            return time.perf_counter() - begun

    return {"seconds": asyncio.run(send())}


def _frame(database: str, query: str) -> pl.DataFrame:
    with duckdb.connect(database, read_only=True) as connection:
        frame = pl.DataFrame(connection.execute(query).to_arrow_table())
    return frame.with_columns(pl.col("created_at").dt.epoch("s"))


def _bodies(frame: pl.DataFrame) -> list[str]:
    operation = pl.struct(
        type=pl.lit("person"),
        action=pl.lit("identify"),
        identifiers=pl.struct(id="customer_id"),
        attributes=pl.struct(pl.exclude("customer_id")),
    )
    bodies: list[str] = []
    for part in frame.iter_slices(BATCH_ROWS * 50):
        encoded = part.select(operation.struct.json_encode().alias("body"))["body"]
        starts = range(0, len(encoded), BATCH_ROWS)
        bodies += [f'{{"batch":[{encoded[start : start + BATCH_ROWS].str.join(",").item()}]}}' for start in starts]
    return bodies
