"""Segments: the members mirrored with churn."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.cases.figures import count, full, seconds
from benchmarks.results import Row
from cio_dagster.limits import SEGMENT_IDS_PER_REQUEST

LOOKUPS = 2


def segments(bench: Bench) -> Iterator[Row]:
    """1 % of the members are others."""
    found, members = bench.segment, f"{count(bench.rows)} members"
    yield Row("segment-first", f"{members}, first sync", "s", seconds(found.first), bench.rows)
    yield Row("segment", f"{members} mirrored, 1 % others", "s", seconds(found.mirrored), bench.rows, full(bench, 10))
    calls = [float(one["requests"]) for one in found.mirrored]
    least = 2 * math.ceil(bench.rows / 100 / SEGMENT_IDS_PER_REQUEST)
    note = f"{least} of at most {SEGMENT_IDS_PER_REQUEST:,} ids, and {LOOKUPS} that look for the segment and make it"
    yield Row("segment-requests", "requests of it", "requests", calls, target=least + LOOKUPS, note=note)
