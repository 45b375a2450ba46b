"""Events: new ones into a ledger of twenty times as many."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import DAYS, Bench
from benchmarks.cases.figures import count, full, megabytes, ratios, seconds
from benchmarks.results import Row


def events(bench: Bench) -> Iterator[Row]:
    """By day partitions, against the same with no earlier events; and in one partition."""
    found, rows = bench.events, bench.rows
    new, earlier = f"{count(rows)} new events", count(rows * DAYS)
    yield Row("ledger", f"{earlier} earlier events recorded, none sent", "s", seconds(found.recorded), rows * DAYS)
    yield Row("ledger-by-day", "the same in day partitions", "s", seconds(found.recorded_by_day), rows * DAYS)
    yield Row("events-alone", f"{new}, no earlier ones", "s", seconds(found.alone), rows)
    yield Row("events-by-day", f"{new}, {earlier} earlier ones in {DAYS} day partitions", "s", seconds(found.by_day), rows)
    yield Row(
        "events-ratio", "the last against the one before", "x", ratios(found.by_day, found.alone), target=full(bench, 1.2)
    )
    what = f"{new}, {earlier} earlier ones in the same partition"
    yield Row("events-whole", what, "s", seconds(found.whole), rows, full(bench, 30))
    yield Row("events-whole-memory", "peak memory of it", "MB", megabytes(found.whole))
