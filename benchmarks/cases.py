"""The figures: each function measures some and returns their rows, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.bench import LIMIT, Bench, Found, People
from benchmarks.results import Row

FULL = 1_000_000
"""The rows that the targets in seconds and megabytes are for."""


def people(bench: Bench) -> Iterator[Row]:
    """First and unchanged syncs, with and without limits, and their memory."""
    found = bench.people
    yield Row(
        "first",
        f"{_count(found.rows)} people, first sync",
        "s",
        _seconds(found.first),
        found.rows,
        _full(bench, found.rows / 150_000),
    )
    yield Row("limited", f"the same at {LIMIT} requests/s and 50 ms an answer", "s", _seconds(found.limited), found.rows)
    ratios = [slow / fast for slow, fast in zip(_seconds(found.limited), _seconds(found.first), strict=True)]
    yield Row("limited-ratio", "the last against the one before", "x", ratios, target=_full(bench, 1.2))
    yield Row(
        "unchanged", f"{_count(found.rows)} people, unchanged", "s", _seconds(found.unchanged), found.rows, _full(bench, 5)
    )
    yield Row("changed", f"{_count(found.rows)} people, 1 % changed, 0.1 % gone", "s", _seconds(found.changed), found.rows)
    yield from _memory(found, _full(bench, 700))


def many(bench: Bench) -> Iterator[Row]:
    """The same at ten times the size."""
    found = bench.many_people
    yield Row("many-first", f"{_count(found.rows)} people, first sync", "s", _seconds(found.first), found.rows)
    yield Row(
        "many-unchanged",
        f"{_count(found.rows)} people, unchanged",
        "s",
        _seconds(found.unchanged),
        found.rows,
        _full(bench, 45),
    )
    yield Row(
        "many-changed",
        f"{_count(found.rows)} people, 1 % changed, 0.1 % gone",
        "s",
        _seconds(found.changed),
        found.rows,
        _full(bench, 60),
    )
    yield from _memory(found, _full(bench, 2_000))
    largest = [max(one["peak_mb"] for one in each) for each in (found.first, found.changed, found.unchanged)]
    yield Row(
        "memory-growth",
        "memory with all rows changed against none",
        "x",
        [largest[0] / largest[2]],
        target=_full(bench, 1.2),
        note="the largest of all runs of each",
    )


def _memory(found: People, target: float | None) -> Iterator[Row]:
    imports = min(one["imports_mb"] for one in found.first)
    for name, measured in (("first", found.first), ("unchanged", found.unchanged), ("changed", found.changed)):
        peaks = [one["peak_mb"] for one in measured]
        what = {"first": "first sync", "unchanged": "unchanged", "changed": "1 % changed, 0.1 % gone"}[name]
        yield Row(
            f"memory-{name}-{found.rows}",
            f"peak memory, {_count(found.rows)} people, {what}",
            "MB",
            peaks,
            target=target,
            note=f"{imports:.0f} MB of it are imports",
        )


def _seconds(measured: Iterable[Found]) -> list[float]:
    return [one["seconds"] for one in measured]


def _full(bench: Bench, target: float) -> float | None:
    return target if bench.rows == FULL else None


def _count(rows: int) -> str:
    return f"{rows / 1e6:g} million" if rows >= 100_000 else f"{rows:,}"
