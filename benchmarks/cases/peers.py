"""Peers: other ways to send the same rows to the same sink, and what another product publishes of itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.bench import LIMIT, Bench, Found
from benchmarks.cases.figures import full, seconds
from benchmarks.measured import peers as measured
from benchmarks.results import Row

FIVETRAN = "https://fivetran.com/docs/activations/destinations/available-destinations/customer.io"
FIVETRAN_RECORDS_A_MINUTE = 7_000
"""What that page says (Sync Speed), at 150 calls a second."""


@dataclass(frozen=True)
class Peer:
    """`rows` by the milliseconds of an answer: as many as show its speed, which does not depend on how many there are."""

    name: str
    what: str
    send: Callable[..., Found]
    rows: dict[int, int]


PEERS = (
    Peer("customerio", "customerio, one person a call", measured.customerio_calls, {0: 1_000, 50: 100}),
    Peer("customerio-batch", "customerio, in batches", measured.customerio_batches, {0: 50_000, 50: 50_000}),
    Peer("async", "async-customerio, one person a call, 8 in flight", measured.async_calls, {0: 1_000, 50: 1_000}),
    Peer("async-batch", "async-customerio, in batches, 8 in flight", measured.async_batches, {0: 100_000, 50: 100_000}),
    Peer("drt", "drt-core to its REST destination, in batches", measured.drt_batches, {0: 50_000, 50: 50_000}),
)


def peers(bench: Bench) -> Iterator[Row]:
    """With answers at once, and after 50 ms."""
    ours = {0: seconds(bench.people.first), 50: seconds(bench.people.limited)}
    for delay in (0, 50):
        rates = [_rates(bench, peer, delay) for peer in PEERS]
        for peer, found in zip(PEERS, rates, strict=True):
            note = f"from {min(peer.rows[delay], bench.rows):,} rows"
            yield Row(f"peer-{peer.name}-{delay}", f"{peer.what}, {delay} ms an answer", "rows/s", found, note=note)
        fastest = max(rates, key=statistics.median)
        ratios = [bench.rows / taken / rate for taken, rate in zip(ours[delay], fastest, strict=True)]
        what = f"our first sync against the fastest of them, {delay} ms an answer"
        note = (
            "ours also checks, compares, writes a plan, logs answers and commits"
            + f"; and keeps to {LIMIT} requests/s" * bool(delay)
        )
        target = full(bench, 3) if delay else None
        yield Row(f"peers-ratio-{delay}", what, "x", ratios, target=target, at_least=True, note=note)
    published = FIVETRAN_RECORDS_A_MINUTE / 60
    note = f"{FIVETRAN_RECORDS_A_MINUTE:,} records a minute ({FIVETRAN})"
    yield Row("fivetran", f"Fivetran Activations as it publishes, {LIMIT} calls/s", "rows/s", [published], note=note)
    ratios = [bench.rows / taken / published for taken in ours[50]]
    what = f"our first sync against that, {LIMIT} requests/s and 50 ms an answer"
    yield Row("fivetran-ratio", what, "x", ratios, target=full(bench, 500), at_least=True)


def _rates(bench: Bench, peer: Peer, delay: int) -> list[float]:
    rows, what = min(peer.rows[delay], bench.rows), f"{peer.what}, {delay} ms an answer"
    arguments = {"database": str(bench.database), "table": f"people_{bench.rows}"}
    found = [bench.measure(what, peer.send, delay=delay, rows=rows, **arguments) for _ in range(bench.runs)]
    return [rows / taken for taken in seconds(found)]
