"""People: first, unchanged and changed syncs, with their memory, and how both grow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from benchmarks.bench import LIMIT, Bench, Found, People
from benchmarks.cases.figures import count, full, megabytes, ratios, seconds
from benchmarks.results import Row

CHANGED = "1 % changed, 0.1 % gone"


def people(bench: Bench) -> Iterator[Row]:
    """At the size that most figures are about, with and without limits."""
    found, rows = bench.people, bench.rows
    what, fastest = f"{count(rows)} people", full(bench, rows / 150_000)
    yield Row("first", f"{what}, first sync", "s", seconds(found.first), rows, fastest, note="150,000 rows/s")
    yield Row("limited", f"the same at {LIMIT} requests/s and 50 ms an answer", "s", seconds(found.limited), rows)
    yield Row(
        "limited-ratio", "the last against the one before", "x", ratios(found.limited, found.first), target=full(bench, 1.2)
    )
    note = f"of which {found.steady[0]['requests'] / LIMIT:.2f} s are the rate itself"
    yield Row("steady", "the same without the default burst of 600 requests", "s", seconds(found.steady), rows, note=note)
    yield Row("unchanged", f"{what}, unchanged", "s", seconds(found.unchanged), rows, full(bench, 5))
    yield Row("changed", f"{what}, {CHANGED}", "s", seconds(found.changed), rows)
    yield from _memory("memory", found, full(bench, 700))


def many(bench: Bench) -> Iterator[Row]:
    """At ten times that size."""
    found, rows = bench.many_people, bench.many_people.rows
    what = f"{count(rows)} people"
    yield Row("many-first", f"{what}, first sync", "s", seconds(found.first), rows)
    yield Row("many-unchanged", f"{what}, unchanged", "s", seconds(found.unchanged), rows, full(bench, 45))
    yield Row("many-changed", f"{what}, {CHANGED}", "s", seconds(found.changed), rows, full(bench, 60))
    yield from _memory("many-memory", found, full(bench, 2_000))
    most, least = max(megabytes(found.first + found.changed)), min(megabytes(found.unchanged))
    yield Row(
        "memory-by-change", "memory with all or 1 % of these changed against none", "x", [most / least], target=full(bench, 1.2)
    )


def growth(bench: Bench) -> Iterator[Row]:
    """Time and memory against the number of rows: the slope of the line through their logarithms."""
    points = growth_points(bench)
    sizes = ", ".join(count(point["rows"]) for point in points)
    for sync, words in (("first", "a first"), ("unchanged", "an unchanged")):
        for unit, what in (("s", "time"), ("mb", "memory")):
            logs = [[math.log(point[name]) for point in points] for name in ("rows", f"{sync}_{unit}")]
            slope = statistics.linear_regression(*logs).slope
            note = f"1 is in proportion, 0 is none; from {sizes}"
            yield Row(
                f"growth-{sync}-{unit}", f"growth of the {what} of {words} sync with its rows", "slope", [slope], note=note
            )


def growth_points(bench: Bench) -> list[dict[str, float]]:
    """Medians at each number of rows: `rows`, `first_s`, `first_mb`, `unchanged_s`, `unchanged_mb`."""
    sizes = (bench.few_people, bench.people, bench.many_people, bench.most_people)
    return [_point(found) for found in sizes if found is not None]


def _point(found: People) -> dict[str, float]:
    point: dict[str, float] = {"rows": found.rows}
    for name, measured in (("first", found.first), ("unchanged", found.unchanged)):
        point[f"{name}_s"] = statistics.median(seconds(measured))
        point[f"{name}_mb"] = statistics.median(megabytes(measured))
    return point


def _memory(name: str, found: People, target: float | None) -> Iterator[Row]:
    each: list[tuple[str, str, list[Found]]] = [
        ("first", "first sync", found.first),
        ("unchanged", "unchanged", found.unchanged),
        ("changed", CHANGED, found.changed),
    ]
    for sync, words, measured in each:
        note = f"{statistics.median(one['imports_mb'] for one in measured):.0f} MB of it after imports"
        what = f"peak memory, {count(found.rows)} people, {words}"
        yield Row(f"{name}-{sync}", what, "MB", megabytes(measured), target=target, note=note)
