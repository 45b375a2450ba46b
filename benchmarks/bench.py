"""The syncs that the figures come from, each measured once for all the figures that need it."""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import ours, source
from benchmarks.child import measure
from cio_dagster import Event, ManualSegment, Person
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec

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
    unchanged: list[Found] = field(default_factory=list)
    changed: list[Found] = field(default_factory=list)


@dataclass
class Bench:
    """What the measurements share. `sinks` by the milliseconds in which they answer."""

    rows: int
    runs: int
    large_runs: int
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
            self._again(found, state)
        return found

    @cached_property
    def many_people(self) -> People:
        """At ten times that: one first sync, and the others from a copy of its state each."""
        found, kept = People(self.rows * 10), self.new_state()
        found.first.append(self._first(found.rows, kept))
        for _ in range(self.large_runs):
            state = self.new_state()
            shutil.copytree(kept, state)
            self._again(found, state)
        shutil.rmtree(kept)
        return found

    def sync(self, what: str, query: str, spec: AnySpec, state: Path, expected: dict[str, int], **more: Any) -> Found:
        """Measure one sync. Raises RuntimeError where it did something else than it was measured for."""
        found = self.measure(
            what,
            ours.sync_query,
            database=str(self.database),
            query=query,
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
        expected = {"updated": rows // source.CHANGED, "removed": rows // source.GONE, "created": 0}
        what = f"{rows:,} people, 1 % changed, 0.1 % gone"
        found.changed.append(self.sync(what, source.changed_people(rows), PEOPLE, state, expected))
        shutil.rmtree(state)


def _processor_seconds(pid: int) -> float:
    """What a process used, on Linux; elsewhere nothing is said."""
    path = Path(f"/proc/{pid}/stat")
    if not path.exists():
        return 0.0
    user, system = path.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100


_numbers = itertools.count()
