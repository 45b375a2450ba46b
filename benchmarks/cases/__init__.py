"""The figures: each case measures, and yields the rows of the table in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.cases.events import events
from benchmarks.cases.limits import limits
from benchmarks.cases.peers import peers
from benchmarks.cases.people import growth, many, people
from benchmarks.cases.segments import segments
from benchmarks.cases.small import small
from benchmarks.cases.state import state
from benchmarks.cases.workers import workers
from benchmarks.results import Row

CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    case.__name__: case for case in (people, many, growth, events, segments, state, workers, small, peers, limits)
}
"""By the name that `--only` takes."""
