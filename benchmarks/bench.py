"""The syncs that the figures come from, each measured once for all the figures that need it."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import source
from benchmarks.child import measure
from benchmarks.measured import ours
from benchmarks.results import ROOMS
from cio_dagster import Event, ManualSegment, Person
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec
from cio_dagster.state import AssetState

Found = dict[str, Any]
"""What one measurement gave: `seconds`, `peak_mb`, `imports_mb`, and for syncs `rooms`, `requests` and `counts`."""

PEOPLE = Person(column="customer_id", behavior="mirror", delete_people=True)
MEMBERS = ManualSegment(name="Members", column="customer_id", behavior="mirror")
DAYS = 20
"""Days of earlier events, each of as many as are new."""
EVENTS = Event(
    row_id="event_id",
    column="customer_id",
    name="order_placed",
    timestamp="ordered_at",
    start=datetime(2026, 1, DAYS + 1, tzinfo=timezone.utc),
)
"""Earlier days are history that a first run records, and does not send."""

LIMIT = 150
"""Requests a second, where they are limited."""


@dataclass(frozen=True)
class People:
    """Syncs of one number of people.

    A first one, without limits and with (150 requests/s, answers after 50 ms); one that finds nothing changed; and one with 1 % changed
    and 0.1 % gone.
    """

    rows: int
    first: list[Found] = field(default_factory=list)
    limited: list[Found] = field(default_factory=list)
    """At so many requests a second, with the default burst."""
    steady: list[Found] = field(default_factory=list)
    """The same without a burst: then the rate itself is most of the time."""
    unchanged: list[Found] = field(default_factory=list)
    changed: list[Found] = field(default_factory=list)


@dataclass(frozen=True)
class Events:
    """Syncs of one day's new events: with none before, with earlier days in partitions of their own, and with them in the same partition."""

    recorded: list[Found] = field(default_factory=list)
    recorded_by_day: list[Found] = field(default_factory=list)
    alone: list[Found] = field(default_factory=list)
    by_day: list[Found] = field(default_factory=list)
    whole: list[Found] = field(default_factory=list)


@dataclass(frozen=True)
class Segment:
    """Syncs of a segment's members."""

    first: list[Found] = field(default_factory=list)
    mirrored: list[Found] = field(default_factory=list)


@dataclass
class Bench:
    """What the measurements share. `sinks` by the milliseconds in which they answer."""

    rows: int
    runs: int
    large_runs: int
    largest: int
    folder: Path
    sinks: dict[int, RunningSandbox]
    say: Callable[[str], AbstractContextManager[object]]
    rooms: dict[str, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    """By sync, the seconds that each room took."""

    @property
    def database(self) -> Path:
        """The warehouse."""
        return self.folder / "warehouse.duckdb"

    def new_state(self) -> Path:
        """A folder for a state that is yet to be made."""
        return self.folder / f"state-{next(_numbers)}"

    def copied(self, state: Path) -> Path:
        """A copy of a state."""
        copy = self.new_state()
        shutil.copytree(state, copy)
        return copy

    @cached_property
    def people(self) -> People:
        """At the size that most figures are about."""
        found = People(self.rows)
        for _ in range(self.runs):
            state = self.new_state()
            found.first.append(self._first(self.rows, state))
            limited = self.new_state()
            found.limited.append(self._first(self.rows, limited, delay=50, rate=LIMIT))
            shutil.rmtree(limited)
            steady = self.new_state()
            found.steady.append(self._first(self.rows, steady, delay=50, rate=LIMIT, burst=1))
            shutil.rmtree(steady)
            self._again(found, state)
        return found

    @cached_property
    def few_people(self) -> People:
        """At a tenth of that."""
        found = People(self.rows // 10)
        for _ in range(self.runs):
            state = self.new_state()
            found.first.append(self._first(found.rows, state))
            self._again(found, state)
        return found

    @cached_property
    def many_people(self) -> People:
        """At ten times that: one first sync, and the others from a copy of its state each."""
        return self._from_one_first(self.rows * 10, self.large_runs)

    @cached_property
    def most_people(self) -> People | None:
        """At the largest size, if one was asked for."""
        return self._from_one_first(self.rows * self.largest, 1) if self.largest > 10 else None

    @cached_property
    def events(self) -> Events:
        """New events of a day with no earlier ones, with earlier ones in partitions of their own, and with them in one partition."""
        *earlier, new = source.events(self.database, self.rows, DAYS + 1)
        days = {f"2026-01-{day + 1:02}": query for day, query in enumerate([*earlier, new])}
        whole, parts, found = self.new_state(), self.new_state(), Events()
        nothing, everything = {"left_out": self.rows * DAYS, "sent": 0}, {"sent": self.rows}
        *history, today = days
        past = {day: days[day] for day in history}
        found.recorded.append(self.sync("earlier events, whole", _together(earlier), EVENTS, whole, nothing))
        found.recorded_by_day.append(self.sync_days("earlier events, by day", past, EVENTS, parts, nothing))
        for _ in range(self.runs):
            for name, root, into in (("none", self.new_state(), found.alone), ("by day", parts, found.by_day)):
                what = f"new events, earlier ones: {name}"
                into.append(self.sync(what, new, EVENTS, root, everything, partition=today))
                shutil.rmtree(AssetState(root, *ours.NAMES, today).working_folder)
            state = self.new_state()
            shutil.copytree(whole, state)
            found.whole.append(self.sync("new events, earlier ones: whole", new, EVENTS, state, everything))
            shutil.rmtree(state)
        return found

    @cached_property
    def segment(self) -> Segment:
        """A first sync of members, and mirrors of as many of whom 1 % are others."""
        found, kept, churn = Segment(), self.new_state(), self.rows // 100
        before, after = source.members(self.database, self.rows)
        found.first.append(self.sync("members, first", before, MEMBERS, kept, {"created": self.rows}))
        for _ in range(self.runs):
            state = self.new_state()
            shutil.copytree(kept, state)
            found.mirrored.append(self.sync("members, 1 % others", after, MEMBERS, state, {"created": churn, "removed": churn}))
            shutil.rmtree(state)
        shutil.rmtree(kept)
        return found

    def medians_of_rooms(self) -> dict[str, dict[str, float]]:
        """By sync, the median seconds of each room."""
        return {
            what: {room: statistics.median(one.get(room, 0.0) for one in runs) for room in ROOMS}
            for what, runs in self.rooms.items()
        }

    def _from_one_first(self, rows: int, runs: int) -> People:
        found, kept = People(rows), self.new_state()
        found.first.append(self._first(rows, kept))
        for _ in range(runs):
            state = self.new_state()
            shutil.copytree(kept, state)
            self._again(found, state)
        shutil.rmtree(kept)
        return found

    def sync(self, what: str, query: str, spec: AnySpec, state: Path, expected: dict[str, int], **more: Any) -> Found:
        """Measure one sync. Raises RuntimeError where it did something else than it was measured for."""
        return self._sync(ours.sync_query, what, spec, state, expected, query=query, **more)

    def sync_days(self, what: str, queries: dict[str, str], spec: AnySpec, state: Path, expected: dict[str, int]) -> Found:
        """Measure syncs of several partitions together."""
        return self._sync(ours.sync_queries, what, spec, state, expected, queries=queries)

    def _sync(
        self, function: Callable[..., Found], what: str, spec: AnySpec, state: Path, expected: dict[str, int], **more: Any
    ) -> Found:
        found = self.measure(
            what,
            function,
            database=str(self.database),
            spec=spec.model_dump(mode="json"),
            state=str(state),
            run=f"run-{next(_numbers)}",
            **more,
        )
        if wrong := {name: found["counts"][name] for name, count in expected.items() if found["counts"][name] != count}:
            raise RuntimeError(f"{what}: the sync was to find {expected}, and found {wrong}")
        self.rooms[what].append(found["rooms"])
        return found

    def measure(self, what: str, function: Callable[..., Found], *, delay: int = 0, **arguments: Any) -> Found:
        """Measure a function that sends to a sink. `sink_requests`, `sink_bytes`: what came; `sink_seconds`: the processor time it took the sink."""
        sink = self.sinks[delay]
        sink.reset()
        before = _processor_seconds(sink.process.pid)
        with self.say(what):
            found = measure(function, url=sink.url, **arguments)
        counts = sink.get("counts")
        spent = _processor_seconds(sink.process.pid) - before
        return found | {"sink_requests": counts["requests"], "sink_bytes": counts["bytes"], "sink_seconds": spent}

    def _first(self, rows: int, state: Path, **more: Any) -> Found:
        limits = f", {LIMIT} requests/s and 50 ms" if more else ""
        query = source.people(self.database, rows)
        return self.sync(f"{rows:,} people, first{limits}", query, PEOPLE, state, {"created": rows}, **more)

    def _again(self, found: People, state: Path) -> None:
        """The syncs after a first one, which leave nothing behind."""
        rows, query = found.rows, source.people(self.database, found.rows)
        expected = {"unchanged": rows, "created": 0, "updated": 0, "removed": 0}
        found.unchanged.append(self.sync(f"{rows:,} people, unchanged", query, PEOPLE, state, expected))
        expected = {"updated": rows // source.CHANGED, "removed": math.ceil(rows / source.GONE), "created": 0}
        what = f"{rows:,} people, 1 % changed, 0.1 % gone"
        found.changed.append(self.sync(what, source.changed_people(rows), PEOPLE, state, expected))
        shutil.rmtree(state)


def _together(queries: Iterable[str]) -> str:
    return " union all ".join(queries)


def _processor_seconds(pid: int) -> float:
    """What a process used, on Linux; elsewhere nothing is said."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return 0.0
    user, system = path.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100


_numbers = itertools.count()
