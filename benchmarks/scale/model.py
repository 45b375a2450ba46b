"""The arithmetic: seconds, bytes, requests and money of syncs of any size, from what was measured of some. Pure functions.

Seconds are of one machine like the one that was measured; MB and GB are powers of ten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Results
from cio_dagster import CustomerIO
from cio_dagster.limits import BATCH_BYTES
from cio_dagster.state import HISTORY_HOURS, VACUUM_EVERY

DAY = 86_400
MB, GB, TB, TIB = 1e6, 1e9, 1e12, 2**40

BILLION, CHANGES = 1_000_000_000, 100_000_000
"""The people, and how many of them change a day, that the page is about."""

REQUESTS_PER_SECOND: float = CustomerIO.model_fields["requests_per_second"].default


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars. Each with its source on the page; another one is an argument away."""

    scan_tib: float = 6.25
    stored_gb_month: float = 0.023
    puts_1000: float = 0.005
    gets_1000: float = 0.0004


@dataclass(frozen=True)
class Assumed:
    """What no measurement here says.

    start_seconds
        From a run's launch to its first line of ours: a pod that is scheduled, an image that is there, Python, Dagster.
    store_puts, store_gets
        Requests to an object store by a run of one partition, whatever its size (docs/state.md has the range of their sum).
    logical_bytes
        What a warehouse that bills bytes counts for a row of the measured columns: text as long as it is and 2, numbers and times 8, a truth 1.
    """

    start_seconds: float = 20
    store_puts: int = 25
    store_gets: int = 140
    logical_bytes: int = 36 + 2 + 28 + 2 + 9 + 2 + 4 + 2 + 8 + 8 + 8 + 1


@dataclass(frozen=True, eq=False)
class Measured:
    """The constants, of people of 8 columns. Curves are from rows to seconds, or to MB of memory.

    read, plan, commit, deliver
        Seconds of each room of a first sync, without limits; `deliver` is then the processor's time alone.
    read_unchanged, plan_unchanged
        Of a sync that finds nothing changed.
    commit_changed, plan_changed
        Of one that finds 1 % changed and 0.1 % gone.
    incremental
        The time of a sync that reads only the 1 % that changed, against one that reads all and finds nothing.
    """

    read: Mapping[int, float]
    plan: Mapping[int, float]
    deliver: Mapping[int, float]
    commit: Mapping[int, float]
    plan_unchanged: Mapping[int, float]
    plan_changed: Mapping[int, float]
    commit_changed: Mapping[int, float]
    memory: Mapping[int, float]
    incremental: float
    plan_bytes: float
    request_bytes: float
    rows_per_request: float
    snapshot_bytes: float
    outcomes_bytes: float

    @classmethod
    def of(cls, results: Results) -> Measured:
        """What `make bench` found. Raises ValueError where a case that this needs was not measured."""
        sizes = [int(point["rows"]) for point in results.points]

        def room(sync: str, name: str) -> dict[int, float]:
            return {size: results.rooms[f"{size:,} people, {sync}"][name] for size in sizes}

        def figure(name: str) -> float:
            if (row := results.row(name)) is None:
                raise ValueError(f"the results have no {name!r}: run `make bench`")
            return row.median

        names = {100_000: "first", 1_000_000: "memory-first", 10_000_000: "many-memory-changed"}
        memory = {int(point["rows"]): point["first_mb"] for point in results.points}
        memory[max(names)] = max(memory[max(names)], figure(names[max(names)]))
        changed = "1 % changed, 0.1 % gone"
        return cls(
            read=room("first", "read"),
            plan=room("first", "plan"),
            deliver=room("first", "deliver"),
            commit=room("first", "commit"),
            plan_unchanged=room("unchanged", "plan"),
            plan_changed=room(changed, "plan"),
            commit_changed=room(changed, "commit"),
            memory=memory,
            incremental=figure("incremental-ratio"),
            plan_bytes=figure("plan-bytes"),
            request_bytes=figure("request-bytes"),
            rows_per_request=figure("request-rows"),
            snapshot_bytes=figure("snapshot-bytes"),
            outcomes_bytes=figure("outcomes-bytes"),
        )


def at(curve: Mapping[int, float], rows: float) -> float:
    """A curve's value: on a line between measured points, and beyond the last one in proportion to it; below the first, its value."""
    points = sorted(curve.items())
    if rows <= points[0][0]:
        return points[0][1]
    for (low, before), (high, after) in itertools.pairwise(points):
        if rows <= high:
            return before + (after - before) * (rows - low) / (high - low)
    last, value = points[-1]
    return value * rows / last


def memory(measured: Measured, rows: float) -> float:
    """MB of a run: beyond the last measured size along the line through the logarithms of the last two."""
    points = sorted(measured.memory.items())
    if rows <= points[-1][0]:
        return at(measured.memory, rows)
    (low, before), (high, after) = points[-2:]
    slope = math.log(after / before) / math.log(high / low)
    return after * math.pow(rows / high, slope)


@dataclass(frozen=True)
class Run:
    """What a run of one partition takes: seconds before it sends, of the processor to send, and after; and requests."""

    before: float
    sending: float
    after: float
    requests: float

    def seconds(self, requests_per_second: float, rows_per_second: float = math.inf, rows: float = 0) -> float:
        """In all, with so much of the budget to itself."""
        return self.before + max(self.sending, self.requests / requests_per_second, rows / rows_per_second) + self.after


def first_run(measured: Measured, assumed: Assumed, rows: float) -> Run:
    """Of a partition's first sync."""
    before = assumed.start_seconds + at(measured.read, rows) + at(measured.plan, rows)
    return Run(before, at(measured.deliver, rows), at(measured.commit, rows), rows / measured.rows_per_request)


def full_run(measured: Measured, assumed: Assumed, rows: float, changed: float) -> Run:
    """Of a sync that reads all rows of a partition and finds some changed."""
    share = changed / rows
    before = assumed.start_seconds + at(measured.read, rows) + _between(measured.plan_changed, measured.plan, rows, share)
    after = _between(measured.commit_changed, measured.commit, rows, share) if changed else 0
    return Run(before, at(measured.deliver, changed), after, changed / measured.rows_per_request)


def incremental_run(measured: Measured, assumed: Assumed, rows: float, changed: float) -> Run:
    """Of one that reads only the changed ones. The snapshot is read and written whole all the same.

    An estimate from above: what was measured of 1 % of the rows, and the changed rows once more, as a first sync of these takes.
    """
    whole = full_run(measured, assumed, rows, changed)
    unchanged = at(measured.read, rows) + at(measured.plan_unchanged, rows)
    known = max(measured.incremental * unchanged - at(measured.commit_changed, rows), 0)
    before = assumed.start_seconds + known + at(measured.read, changed) + at(measured.plan, changed)
    return Run(min(before, whole.before), whole.sending, whole.after, whole.requests)


def _between(few: Mapping[int, float], all_: Mapping[int, float], rows: float, share: float) -> float:
    """Between the seconds for 1 % changed rows and those for all of them."""
    low, high = at(few, rows), at(all_, rows)
    return low + (high - low) * max(share - 0.01, 0) / 0.99


@dataclass(frozen=True)
class Kept:
    """Bytes of a state: one version of the snapshot, the older ones that can still be read, a year's outcomes, and what a day writes."""

    snapshot: float
    history: float
    outcomes_year: float
    written_day: float
    plans: float

    @property
    def held(self) -> float:
        """After a year."""
        return self.snapshot + self.history + self.outcomes_year


def kept(measured: Measured, people: float, changes: float, waves: int, partitions: int, at_once: int) -> Kept:
    """The state of so many people after a year of so many changes a day, in so many waves a day of which each writes to every partition."""
    snapshot, outcomes = people * measured.snapshot_bytes, changes * measured.outcomes_bytes
    # Each commit writes its partition's snapshot anew; older versions go at every VACUUM_EVERYth commit, once they are old enough.
    versions = waves * HISTORY_HOURS / 24 + VACUUM_EVERY - 1
    plans = changes / waves / partitions * measured.plan_bytes * at_once
    return Kept(snapshot, snapshot * versions, outcomes * 365, waves * snapshot + outcomes, plans)


@dataclass(frozen=True)
class Scanned:
    """What a day reads of the warehouse: bytes, and dollars where bytes are billed."""

    bytes: float
    dollars: float


def scanned(assumed: Assumed, prices: Prices, rows: float, reads: float) -> Scanned:
    """So many rows read so many times."""
    found = rows * assumed.logical_bytes * reads
    return Scanned(found, found / TIB * prices.scan_tib)


def store_dollars_month(prices: Prices, held: float) -> float:
    """What so many bytes cost to keep."""
    return held / GB * prices.stored_gb_month


def request_dollars_day(assumed: Assumed, prices: Prices, runs: float) -> float:
    """What the requests of so many runs cost."""
    return runs * (assumed.store_puts / 1_000 * prices.puts_1000 + assumed.store_gets / 1_000 * prices.gets_1000)


def requests_for(rows: float, row_bytes: float) -> float:
    """The v2 batches that so many operations of so many bytes fill."""
    return rows / max(math.floor((BATCH_BYTES - len('{"batch":[]}')) / (row_bytes + 1)), 1)


@dataclass(frozen=True)
class Limit:
    """A published limit, and what a call within it carries."""

    what: str
    source: str
    per_second: float
    rows_per_call: float
    call: str

    @property
    def rows_per_second(self) -> float:
        """How many rows a second it lets through at most."""
        return self.per_second * self.rows_per_call


def seconds_at(limit: Limit, rows: float) -> float:
    """How long so many rows take at a limit."""
    return math.ceil(rows / limit.rows_per_call) / limit.per_second


def words(seconds: float) -> str:
    """A time, in the unit that suits it."""
    for unit, size in (("years", 365 * DAY), ("days", DAY), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def number(value: float) -> str:
    """With as many digits as matter."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def size(bytes_: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit, scale in (("TB", TB), ("GB", GB), ("MB", MB)):
        if bytes_ >= scale:
            return f"{number(bytes_ / scale)} {unit}"
    return f"{number(bytes_)} bytes"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A Markdown table, of which all columns but the first ones are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * words + "--:|" * (len(head) - words)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
