"""A day of partitions on workers, event by event: how late a change arrives, and whether the waves keep up.

The slots of a pool share its rate budget evenly, whether the others send or not, with what a step saved up of the burst before it sends; and
a slot is held for a whole step, not only while it sends: so is `cio_dagster.pool`. A worker that dies takes its run along; once that is noticed the run begins anew, here from its beginning (in
truth it does not send again what was answered).
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import polars as pl

from benchmarks.scale.model import (
    BILLION,
    CHANGES,
    DAY,
    REQUESTS_PER_SECOND,
    Assumed,
    Measured,
    Run,
    full_run,
    incremental_run,
)
from cio_dagster import CustomerIO


@dataclass(frozen=True)
class Plant:
    """What there is: people in partitions, workers with a slot each, and how hard Customer.io may be driven.

    changes
        Rows a day that change, evenly over the day and the partitions.
    waves
        Runs of each partition a day, at even times; 1 is one nightly wave.
    rows_per_second
        How many rows a second the workspace takes.
    stragglers, slow
        The share of runs that take so many times as long before and after they send: a busy node, a cold cache.
    dies_after, noticed
        Seconds into the wave at noon (or the only one) at which one of several workers dies for good, and until its run begins anew.
    """

    people: float = BILLION
    changes: float = CHANGES
    partitions: int = 100
    waves: int = 24
    workers: int = 4
    requests_per_second: float = REQUESTS_PER_SECOND
    rows_per_second: float = math.inf
    incremental: bool = False
    stragglers: float = 0.02
    slow: float = 5
    dies_after: float = 300
    noticed: float = 120
    seed: int = 7


@dataclass(frozen=True)
class Outcome:
    """What became of the day.

    latencies
        Of each run: seconds from a change to its acceptance at the least and at the most, evenly in between, and rows.
    skipped
        The share of the runs that were due while the partition's last one was not done. What they would have taken, the next one takes.
    busy
        The share of the workers' time in which they had a run.
    """

    latencies: Sequence[tuple[float, float, float]]
    skipped: float
    over: bool
    """Whether the last wave ended after the next one is due."""
    busy: float
    backlog: Sequence[tuple[float, float]]
    """Seconds into the day, and rows that changed and are not accepted: before and after each run's end."""

    @property
    def keeps_up(self) -> bool:
        """Whether partitions are done before they are due again, but for a straggler here and there."""
        return self.skipped < 0.01 and not self.over

    def latency(self, share: float) -> float:
        """Seconds within which this share of the changes arrived, to 1 %."""
        runs = pl.DataFrame(self.latencies, schema=["least", "most", "rows"], orient="row")
        total, low, high = float(runs["rows"].sum()), 0.0, max(most for _, most, _ in self.latencies)
        while high - low > high / 100:
            middle = (low + high) / 2
            within = ((middle - runs["least"]) / (runs["most"] - runs["least"])).clip(0, 1)
            low, high = (middle, high) if (within * runs["rows"]).sum() < share * total else (low, middle)
        return high


def simulate(plant: Plant, measured: Measured, assumed: Assumed) -> Outcome:
    """Let the day pass."""
    return _Day(plant, measured, assumed).outcome()


def most_changes(plant: Plant, measured: Measured, assumed: Assumed) -> float:
    """The most changes a day that keep up, to 2 %; at most one of everybody."""
    low, high = 0.0, plant.people
    if simulate(replace(plant, changes=high), measured, assumed).keeps_up:
        return high
    while high - low > high / 50 and high > 1:
        middle = (low + high) / 2
        keeps_up = simulate(replace(plant, changes=middle), measured, assumed).keeps_up
        low, high = (middle, high) if keeps_up else (low, middle)
    return low


def fewest_workers(plant: Plant, measured: Measured, assumed: Assumed, most: int = 64) -> int | None:
    """The fewest workers that keep up; None where not even so many do."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        keeps_up = simulate(replace(plant, workers=middle), measured, assumed).keeps_up
        low, high = (low, middle) if keeps_up else (middle, high)
    return high if high <= most else None


@lru_cache(maxsize=4096)
def _model(plant: Plant, measured: Measured, assumed: Assumed, rows: int) -> Run:
    whole = plant.people / plant.partitions
    return (incremental_run if plant.incremental else full_run)(measured, assumed, whole, min(rows, whole))


@dataclass
class _Run:
    partition: int
    since: float
    """When its partition was read before."""
    began: float
    ends: float
    rows: float
    lost: bool = False


@dataclass
class _Day:
    plant: Plant
    measured: Measured
    assumed: Assumed
    now: float = 0
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    queue: dict[int, None] = field(default_factory=dict)
    """Partitions that wait for a worker, in order."""
    running: dict[int, _Run] = field(default_factory=dict)
    done: list[_Run] = field(default_factory=list)
    skipped: int = 0

    def __post_init__(self) -> None:
        self.order, self.chance, self.alive = itertools.count(), random.Random(self.plant.seed), self.plant.workers
        self.read_at = dict.fromkeys(range(self.plant.partitions), 0.0)
        for wave, partition in itertools.product(range(1, self.plant.waves + 1), self.read_at):
            self._at(wave * DAY / self.plant.waves, lambda partition=partition: self._due(partition))  # type: ignore[misc]
        if self.plant.workers > 1:
            self._at(max(self.plant.waves // 2, 1) * DAY / self.plant.waves + self.plant.dies_after, self._die)

    def outcome(self) -> Outcome:
        while self.events:
            self.now, _, act = heapq.heappop(self.events)
            act()
            while self.queue and len(self.running) < self.alive:
                partition = next(iter(self.queue))
                del self.queue[partition]
                self._begin(partition)
        latencies = [(run.ends - run.began, run.ends - run.since, run.rows) for run in self.done]
        skipped, over = self.skipped / self.plant.partitions / self.plant.waves, self.now > DAY + DAY / self.plant.waves
        busy = sum(run.ends - run.began for run in self.done) / self.plant.workers / max(DAY, self.now)
        return Outcome(latencies, skipped, over, busy, self._backlog())

    def _backlog(self) -> list[tuple[float, float]]:
        points, accepted = [(0.0, 0.0)], 0.0
        for run in self.done:
            before = min(run.ends, DAY) / DAY * self.plant.changes - accepted
            points += [(run.ends, max(before, 0)), (run.ends, max(before - run.rows, 0))]
            accepted += run.rows
        return points

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), act))

    def _due(self, partition: int) -> None:
        if partition in self.running or partition in self.queue:
            self.skipped += 1
        else:
            self.queue[partition] = None

    def _begin(self, partition: int) -> None:
        plant, since = self.plant, self.read_at[partition]
        rows = plant.changes / plant.partitions * (self.now - since) / DAY
        run = _model(plant, self.measured, self.assumed, round(rows))
        slow = plant.slow if self.chance.random() < plant.stragglers else 1
        beyond_burst = max(run.requests - CustomerIO.model_fields["burst"].default / plant.workers, 0)
        limited = beyond_burst / plant.requests_per_second, rows / plant.rows_per_second
        sending = max(run.sending, *(each * plant.workers for each in limited))
        begun = _Run(partition, since, self.now, self.now + (run.before + run.after) * slow + sending, rows)
        self.running[partition], self.read_at[partition] = begun, self.now
        self._at(begun.ends, lambda: self._end(begun))

    def _end(self, run: _Run) -> None:
        if not run.lost:
            del self.running[run.partition]
            self.done.append(run)

    def _die(self) -> None:
        self.alive -= 1
        if self.running:
            run = next(iter(self.running.values()))
            run.lost, self.read_at[run.partition] = True, run.since
            del self.running[run.partition]
            self._at(self.now + self.plant.noticed, lambda: self._due(run.partition))
