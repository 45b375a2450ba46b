"""THE WAVE: what the last runs of an asset's other partitions by sync key did, so that guards judge the whole.

Partitions by sync key are parts of one table, whose runs come one by one, from many machines. A guard adds up the wave: the others' runs
since this partition's own last one (all of them, on its first), of each its last, and those under way. So no order of runs removes more of
the whole than its limit, while a steady loss does not add up over the days: each partition counts once.

Of each run count the rows that it planned to remove, create or change, and what it had done already where it goes on with one that was
interrupted; not those for which the guard was lifted, as that was a decision on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cio_dagster.plan import Counts, Plan

DONE = {"delete": "removed", "create": "created", "changed": "updated"}
"""Planned rows, and what accepted ones are counted as."""


@dataclass(frozen=True)
class Part:
    """What a run of one partition does, done or under way.

    known
        Rows that were, or may have been, in Customer.io before it.
    now
        The same after it.
    empty
        Whether its source gave no row that can be sent.
    recent
        Whether it is of the wave; else only `now` counts.
    first
        Whether it was the partition's first run, of which all is new.
    allowed
        The run options that lifted guards for it.
    """

    known: int
    now: int
    delete: int = 0
    create: int = 0
    changed: int = 0
    empty: bool = False
    recent: bool = True
    first: bool = False
    allowed: frozenset[str] = field(default_factory=frozenset)

    @property
    def before(self) -> int:
        """Its rows before the wave, of which what the wave does is a share."""
        return self.known if self.recent and not self.first else self.now


def part_of_plan(plan: Plan, last: Mapping[str, Any] | None) -> Part:
    """What a plan does, with what the runs did that it goes on with. `last` is the report of the last run, as JSON."""
    return replace(_planned(plan.counts, gone_on_with(last, plan.run_id)), first=plan.sequence == 1)


def part_of_report(last: Mapping[str, Any], since: str) -> Part:
    """What a run did, by its report. It is of the wave if it began after `since` (ISO 8601; empty for any time)."""
    planned = last["planned"]
    # Reports of earlier versions have all updates alone.
    known = {name: planned[name] for name in Counts.__dataclass_fields__ if name in planned}
    counts = Counts(**{"changed": planned["update"], **known})
    return replace(
        _planned(counts, last.get("continued") or {}),
        now=counts.known - last["removed"] + last["created"],
        recent=not since or str(last.get("since") or "") > since,
        first=bool(last.get("first", not counts.known)),
        allowed=frozenset(last.get("allowed") or ()),
    )


def gone_on_with(last: Mapping[str, Any] | None, run_id: str) -> dict[str, int]:
    """What the last run did, if this one goes on with it: as a retry, or as it left something pending. Rows by planned operation."""
    if last is None or not (last["run_id"] == run_id or last["pending"] > last.get("deferred", 0)):
        return {}
    before = last.get("continued") or {}
    return {name: before.get(name, 0) + last[done] for name, done in DONE.items()}


def _planned(counts: Counts, continued: Mapping[str, int]) -> Part:
    done = {name: continued.get(name, 0) for name in DONE}
    return Part(
        known=counts.known + done["delete"] - done["create"],
        now=counts.known + counts.create - counts.delete,
        delete=counts.delete + done["delete"],
        create=counts.create + done["create"],
        changed=counts.changed + done["changed"],
        empty=counts.source == counts.rejected and counts.delete > 0,
    )
