"""Limits: what no sync on this machine can pass."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import source
from benchmarks.bench import Bench
from benchmarks.cases.figures import count, ratios, seconds
from benchmarks.measured.limits import encoding, sending
from benchmarks.results import Row


def limits(bench: Bench) -> Iterator[Row]:
    """JSON alone, and HTTP alone."""
    sink = [one["sink_seconds"] for one in bench.people.first]
    yield Row("sink", "processor time of the sink in a first sync", "s", sink, note="on the same cores as the sync")
    query, rows = source.people(bench.database, bench.rows), f"{count(bench.rows)} people"
    for name, what, function in (
        ("encoding", f"JSON of {rows} alone, by Polars, in memory", encoding),
        ("sending", f"JSON of {rows} sent alone, by aiohttp, from memory", sending),
    ):
        found = [bench.measure(what, function, database=str(bench.database), query=query) for _ in range(bench.runs)]
        yield Row(name, what, "s", seconds(found), bench.rows)
        yield Row(f"{name}-ratio", "a first sync against it", "x", ratios(bench.people.first, found))
