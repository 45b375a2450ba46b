"""THE WAVE: what the runs of an asset's other partitions by sync key did, so that guards judge the whole.

Partitions by sync key are parts of one table, whose runs come one by one, maybe on many machines. A guard adds up the wave: of each other
partition the last run, if it came after this partition's own last one (before the first, whenever it was) or is under way. So no order
of runs removes more of the whole than its limit, while a steady loss does not add up over the days: each partition counts once.

Each partition's state has its part of the wave in `wave.json`, written before guards judge: of runs at the same time, one sees the other at
least. A run that goes on with another one (it commits its answers, is its retry, or sends what it left pending) is one with that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from cio_dagster.plan import Counts


@dataclass(frozen=True)
class Part:
    """What a run of one partition does, done or under way; with all that it goes on with.

    run_id, since
        The run, and when the first of those began (ISO 8601).
    after
        When this partition's run before these began; empty where there was none. The wave is what came since then.
    known
        Rows that were, or may have been, in Customer.io before.
    now
        The same after it, as far as is known by now.
    delete, create, changed
        Rows that are to be removed, created and changed. Those for which a guard was lifted do not count: that was a decision on them.
    removed, created, updated
        Of these, rows that were.
    empty
        Whether its source gave no row that can be sent, and had done so before.
    first
        Whether it was the partition's first run, of which all is new.
    unfinished
        Whether it is under way, or has left something pending; so that the next run goes on with it.
    allowed
        The run options that lifted guards for it.
    """

    run_id: str
    since: str
    after: str = ""
    known: int = 0
    now: int = 0
    delete: int = 0
    create: int = 0
    changed: int = 0
    removed: int = 0
    created: int = 0
    updated: int = 0
    empty: bool = False
    first: bool = False
    unfinished: bool = False
    allowed: tuple[str, ...] = ()

    @property
    def before(self) -> int:
        """Its rows before the wave, of which what the wave does is a share."""
        return self.now if self.first else self.known

    def to_json(self) -> str:
        """The content of `wave.json`."""
        return json.dumps(asdict(self), indent=1)


def read_part(content: str | bytes) -> Part:
    """What `to_json` wrote. Raises ValueError, TypeError or KeyError for something else."""
    found = json.loads(content)
    return Part(**found | {"allowed": tuple(found["allowed"])})


def under_way(
    counts: Counts,
    last: Part | None,
    *,
    run_id: str,
    since: str,
    first: bool = False,
    recovered: Mapping[str, int] | None = None,
    allowed: Iterable[str] = (),
) -> Part:
    """What a plan with these counts is going to do.

    last
        What the partition's last run did, as it was kept.
    recovered
        What that run's answers proved and this one committed: rows by operation.
    """
    goes_on = last is not None and (last.unfinished or last.run_id == run_id)
    before = last if last is not None and goes_on else Part(run_id, since, after=last.since if last else "", first=first)
    part = _with_done(replace(before, run_id=run_id, unfinished=True, allowed=tuple(allowed)), recovered or {})
    return replace(
        part,
        known=counts.known + part.removed - part.created,
        now=counts.known + counts.create - counts.delete,
        delete=counts.delete + part.removed,
        create=counts.create + part.created,
        changed=counts.changed + part.updated,
        empty=counts.source == counts.rejected and counts.delete > 0,
    )


def done(part: Part, accepted: Mapping[str, int], *, pending: int) -> Part:
    """What a part has become when its run ends: rows accepted, by operation, and those that are pending."""
    part = _with_done(part, accepted)
    return replace(part, now=part.known + part.created - part.removed, unfinished=pending > 0)


def in_wave(part: Part, own: Part) -> Part:
    """Another partition's part as it counts for this one's: whole if it is of the wave, else only its rows."""
    if part.unfinished or not own.after or part.since > own.after:
        return part
    return replace(part, known=part.now, delete=0, create=0, changed=0, empty=False)


def _with_done(part: Part, accepted: Mapping[str, int]) -> Part:
    return replace(
        part,
        removed=part.removed + accepted.get("delete", 0),
        created=part.created + accepted.get("create", 0),
        updated=part.updated + accepted.get("update", 0),
    )
