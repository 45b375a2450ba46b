"""Several workers of one workspace: what they do together, until the rate or the processor ends it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import source
from benchmarks.bench import LIMIT, PEOPLE, Bench, Found
from benchmarks.cases.figures import count
from benchmarks.measured.ours import UNLIMITED
from benchmarks.measured.workers import sync_side_by_side
from benchmarks.results import Row
from cio_dagster import Event
from cio_dagster.specs import AnySpec

WORKERS = (1, 2, 4)

VIEWS = Event(row_id="view_id", key="anonymous_id", column="visitor", name="page_viewed", start="all")
"""Anonymous events, of which each is a request."""

IN_FLIGHT = 3
"""Of a worker: with answers after 50 ms it makes less than 60 requests a second, whatever it may."""


def workers(bench: Bench) -> Iterator[Row]:
    """The same rows by 1, 2 and 4 processes: events that wait for their answers, and people that the processor compares."""
    rows = max(bench.rows // 500, 200)
    people = source.people(bench.database, bench.rows)
    query = f"select 'v' || i as view_id, 'visitor' || i as visitor, i from range({rows}) t(i)"
    settings = {"requests_per_second": LIMIT, "burst": 1, "concurrency": IN_FLIGHT}
    what, rates = f"{count(rows)} anonymous events, 50 ms an answer", dict[int, list[float]]()
    for number in WORKERS:
        rates[number] = _rates(bench, f"{what}, {number} workers", query, rows, VIEWS, number, settings, delay=50)
    yield from _rows("workers-events", what, rates)
    limited = [rate / LIMIT for rate in rates[WORKERS[-1]]]
    yield Row(
        "workers-limit",
        f"{WORKERS[-1]} workers of the limit of {LIMIT} requests/s",
        "x",
        limited,
        note="the start of their processes, all at once, is part of it",
    )

    what, rates = f"{count(bench.rows)} people, first, without limits", {}
    settings = {"requests_per_second": UNLIMITED, "burst": UNLIMITED}
    for number in WORKERS:
        rates[number] = _rates(bench, f"{what}, {number} workers", people, bench.rows, PEOPLE, number, settings)
    yield from _rows("workers-people", what, rates)


def _rates(
    bench: Bench, what: str, query: str, rows: int, spec: AnySpec, number: int, settings: dict[str, int], **more: int
) -> list[float]:
    """Rows a second of each run, where so many workers have a part of the rows each."""
    key = "view_id" if spec is VIEWS else "customer_id"
    parts = [f"select * from ({query}) where hash({key}) % {number} = {part}" for part in range(number)]
    found = list[Found]()
    for _ in range(bench.large_runs):
        found.append(
            bench.measure(
                what,
                sync_side_by_side,
                database=str(bench.database),
                queries=parts,
                spec=spec.model_dump(mode="json"),
                settings=settings,
                state=str(bench.new_state()),
                **more,
            )
        )
        if found[-1]["sent"] != rows:
            raise RuntimeError(f"{what}: {rows:,} rows were to be sent: {found[-1]['sent']:,}")
    return [rows / one["seconds"] for one in found]


def _rows(name: str, what: str, rates: dict[int, list[float]]) -> Iterator[Row]:
    yield Row(f"{name}-1", f"{what}, by 1 worker", "rows/s", rates[1], note="without the start of its process")
    for number in WORKERS[1:]:
        against = [rate / one for rate, one in zip(rates[number], rates[1], strict=True)]
        yield Row(f"{name}-{number}", f"{what}, by {number} workers", "rows/s", rates[number])
        yield Row(f"{name}-{number}-ratio", f"{number} workers against one", "x", against)
