"""Guards: judge a plan before anything is sent, and stop it if it would do more harm than allowed.

| guard | stops | unless | lifted for a run by |
|---|---|---|---|
| `empty_source` | a mirror or collection whose source is empty, or of which all rows are rejected | nothing was there before | `allow_deletes` |
| `max_delete` | a mirror that would remove more rows than `max_delete`, a collection that would lose so many | | `allow_deletes` |
| `max_new_people` | people of whom more than `max_new_people` are new | the limit is a share, and it is the first run | `allow_changes` |
| `max_changed` | people, devices, objects and relationships of which more than `max_changed` have changed | | `allow_changes` |
| `collection_size` | a collection larger than Customer.io takes | | nothing |

What harms less is a warning: a source that shrank though nothing is removed for it, and, without `max_changed`, a change of most rows.

A guard sees one asset partition: of a run over several, those before the one that it stops are written. Of partitions by sync key, which are
parts of one table, it sees the whole (see `cio_dagster.wave`): what this plan and the other partitions of its wave remove, create or change is
judged together, as a share of the rows of all partitions. As a part by hash is a sample of the whole, it is also judged by itself: it is
stopped if it is above a share by more than chance, and by more than DELETED_ROWS rows. So a source that lost half is seen by its first
partition, while one of three rows may lose one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import polars as pl

from cio_dagster.changes import changed
from cio_dagster.errors import GuardError, Would
from cio_dagster.limits import COLLECTION_BYTES
from cio_dagster.plan import DTYPES, Plan
from cio_dagster.specs import AnySpec, Collection, Device, Event, Object, Person, Relationship
from cio_dagster.wave import Part

DELETED_SHARE, DELETED_ROWS = 0.2, 10
"""Where a spec has no max_delete, a removal of more than this share and more than this many rows is stopped."""

CHANGED_SHARE, CHANGED_ROWS = 0.5, 1_000
"""Where a spec has no max_changed, a change of more than this share and more than this many rows is warned about."""

SHRUNK_SHARE, SHRUNK_ROWS = 0.5, 10
"""A source that lost more than this share and more than this many rows since the last run is warned about, where it removes nothing."""

CHANCE = 3
"""Standard deviations that a part may be above a share that holds for the whole: of 1,000 parts at their limit, one is."""

MOST_CHANGED = 5
"""Attributes that are named with the rows in which they changed."""


Others = Callable[[], Sequence[Part]]
"""The parts of the asset's other partitions by sync key, as they count in the wave. They are read when a guard needs them."""


@dataclass(frozen=True)
class Judged:
    """A plan to be judged; `part` and `others` if its partition is one by sync key."""

    plan: Plan
    spec: AnySpec
    part: Part | None = None
    others: Others | None = None


def check(
    plan: Plan,
    spec: AnySpec,
    *,
    part: Part | None = None,
    others: Others | None = None,
    allow_deletes: bool = False,
    allow_changes: bool = False,
) -> list[GuardError]:
    """What stops the plan. The options lift the guards that name them.

    part, others
        Of a partition by sync key: what the plan does, and the other partitions.
    """
    allowed = {"allow_deletes": allow_deletes, "allow_changes": allow_changes}
    guards = {
        _empty_source: "allow_deletes",
        _max_delete: "allow_deletes",
        _max_new_people: "allow_changes",
        _max_changed: "allow_changes",
        _collection_size: "",
    }
    judged = Judged(plan, spec, part, others)
    found = [guard(judged) for guard, option in guards.items() if not allowed.get(option, False)]
    return [each for each in found if each is not None]


def warnings(plan: Plan, spec: AnySpec, last: Mapping[str, Any] | None) -> list[str]:
    """What does not stop the plan, but should be looked at. `last` is the report of the last run, as JSON."""
    counts, found = plan.counts, []
    before = int(last["planned"]["source"]) if last else 0
    lost = before - counts.source
    # Of events, and of nothing at all, this says nothing new: their sources are often windows, and an empty source has its own words.
    whole = not plan.partial and not isinstance(spec, Event)
    if whole and not spec.removes and counts.source and lost > max(SHRUNK_ROWS, SHRUNK_SHARE * before):
        found.append(
            f"The source has {counts.source:,} rows, {lost:,} fewer than the {before:,} of the last run. Nothing is removed for that, but is "
            "it whole?"
        )
    if isinstance(spec, (Person, Device, Object, Relationship)) and spec.max_changed is None:
        most = max(CHANGED_ROWS, CHANGED_SHARE * counts.known)
        if counts.changed > most:
            found.append(
                f"{counts.changed:,} of {counts.known:,} rows have changed, most of all {_in_words(_changed_attributes(plan))}. "
                "Set max_changed to stop such a run."
            )
    return found


@dataclass(frozen=True)
class Limit:
    """The most rows that may be removed, created or changed: a threshold, but never less than `least`."""

    words: str
    threshold: int | float
    least: int = 0

    def most(self, known: int) -> float:
        """Of so many known rows."""
        return max(self.least, self.threshold * known if isinstance(self.threshold, float) else self.threshold)

    def most_of_part(self, known: int) -> float | None:
        """Of a part of the whole, by itself; None for no limit, as a count holds for the whole alone."""
        if not isinstance(self.threshold, float):
            return None
        share = self.threshold * known
        return max(DELETED_ROWS, share + CHANCE * sqrt(share))


@dataclass(frozen=True)
class Excess:
    """Rows beyond a limit, of how many known ones, and where: in this partition, or in all of them."""

    rows: int
    known: int
    where: str = ""


def _excess(judged: Judged, counted: str, rows: int, limit: Limit, option: str) -> Excess | None:
    """What is beyond a limit: `rows` of the plan; or of a partition by sync key, its own, or what is `counted` of the wave."""
    known, part = judged.plan.counts.known, judged.part
    if part is None or judged.others is None:
        return Excess(rows, known) if rows > limit.most(known) else None
    if not rows:
        return None
    alone = limit.most_of_part(known)
    if alone is not None and rows > alone:
        return Excess(rows, known, " of this partition")
    others = judged.others()
    wave = [each for each in others if option not in each.allowed]
    if counted == "create" and isinstance(limit.threshold, float):
        wave = [each for each in wave if not each.first]
    total = getattr(part, counted) + sum(getattr(each, counted) for each in wave)
    whole = part.known + sum(each.before for each in others)
    if total <= limit.most(whole):
        return None
    with_others = sum(1 for each in wave if getattr(each, counted))
    return Excess(total, whole, f" of all partitions, here and in the last runs of {with_others:,} others")


def _empty_source(judged: Judged) -> GuardError | None:
    counts, part = judged.plan.counts, judged.part
    if not (judged.spec.removes and counts.known and counts.source == counts.rejected and counts.delete):
        return None
    where = ""
    if part is not None and judged.others is not None:
        where = " of this partition"
        if counts.known <= DELETED_ROWS:
            # So few may go by chance. Many such partitions do not, nor do all of them.
            others = judged.others()
            gone = part.known + sum(each.known for each in others if each.empty and "allow_deletes" not in each.allowed)
            whole = part.known + sum(each.before for each in others)
            if gone <= max(DELETED_ROWS, DELETED_SHARE * whole) and any(each.now for each in others):
                return None
            where = f" of this partition, and of others with {gone - part.known:,} rows,"
    found = f"{where} is empty" if counts.source == 0 else f"{where} has {counts.rejected:,} rows, all of them rejected"
    said = f"the source{found}, but Customer.io holds {counts.known:,} rows from it, and {counts.delete:,} would be removed."
    return _stop("empty_source", said, "remove", Excess(counts.delete, counts.known))


def _max_delete(judged: Judged) -> GuardError | None:
    counts, spec = judged.plan.counts, judged.spec
    if not spec.removes or isinstance(spec, Event) or _empty_source(judged) is not None:
        return None
    # A collection's row has no key: one that changed is one that goes and one that comes. So its guard counts what is lost on balance.
    lost = counts.known - (counts.source - counts.rejected) if isinstance(spec, Collection) else counts.delete
    if spec.max_delete is None:
        words = f"{DELETED_SHARE:.0%} and {DELETED_ROWS} rows (the default; set max_delete to change it)"
        limit = Limit(words, DELETED_SHARE, DELETED_ROWS)
    else:
        limit = Limit(f"max_delete={spec.max_delete}", spec.max_delete)
    if (found := _excess(judged, "delete", lost, limit, "allow_deletes")) is None:
        return None
    said = f"{found.rows:,} of {found.known:,} rows{found.where} would be removed, more than {limit.words}."
    return _stop("max_delete", said, "remove", found)


def _max_new_people(judged: Judged) -> GuardError | None:
    counts, spec = judged.plan.counts, judged.spec
    if not isinstance(spec, Person) or spec.behavior == "update_only" or spec.max_new_people is None:
        return None
    first = not counts.known if judged.part is None else judged.part.first
    if first and isinstance(spec.max_new_people, float):
        return None  # A share of nothing: all of a first run is new.
    limit = Limit(f"max_new_people={spec.max_new_people}", spec.max_new_people)
    if (found := _excess(judged, "create", counts.create, limit, "allow_changes")) is None:
        return None
    said = (
        f"{found.rows:,} people would be created beside the {found.known:,} known ones{found.where}, more than {limit.words}."
    )
    return _stop("max_new_people", said, "create", found)


def _max_changed(judged: Judged) -> GuardError | None:
    spec = judged.spec
    if not isinstance(spec, (Person, Device, Object, Relationship)) or spec.max_changed is None:
        return None
    limit = Limit(f"max_changed={spec.max_changed}", spec.max_changed)
    # Rows that are sent again though they have not changed do not count.
    if (found := _excess(judged, "changed", judged.plan.counts.changed, limit, "allow_changes")) is None:
        return None
    attributes = _changed_attributes(judged.plan)
    more = f"more than {limit.words}; most of all {_in_words(attributes)}."
    said = f"{found.rows:,} of {found.known:,} rows{found.where} have changed, {more}"
    return _stop("max_changed", said, "change", found, attributes)


def _collection_size(judged: Judged) -> GuardError | None:
    if not isinstance(judged.spec, Collection):
        return None
    counts = judged.plan.counts
    lengths = pl.col("_body").str.len_bytes().cast(pl.UInt64)
    # A comma after each row but the last, and two brackets.
    size = judged.plan.operations().select((lengths + 1).sum() + 1).collect().item()
    if size <= COLLECTION_BYTES:
        return None
    said = f"the collection's rows are {size:,} bytes as JSON; the limit is {COLLECTION_BYTES:,}. Select fewer rows or columns."
    return _stop("collection_size", said, "send", Excess(counts.create + counts.keep, counts.known))


def _stop(guard: str, said: str, would: Would, found: Excess, attributes: Mapping[str, int] | None = None) -> GuardError:
    """What a guard says: that nothing was sent and why, and which option lifts it, if one does."""
    option = {"remove": "allow_deletes", "create": "allow_changes", "change": "allow_changes"}.get(would)
    lift = (
        f" If that is meant, run it once with the option `{option}: true` (in the launchpad, under ops > this asset > config)."
    )
    return GuardError(
        f"Nothing was sent: {said}{lift if option else ''}",
        guard=guard,
        would=would,
        planned=found.rows,
        known=found.known,
        option=option,
        attributes=attributes,
    )


def _changed(plan: Plan) -> pl.LazyFrame:
    """Rows of which attributes have changed; not those that are only sent again."""
    return plan.operations().filter(pl.col("_operation") == "update", pl.col("_changes") != "{}")


def _changed_attributes(plan: Plan) -> dict[str, int]:
    """The attributes that changed in most rows, and in how many."""
    names = list(pl.read_parquet_schema(plan.folder / DTYPES))
    tests = [changed(name).sum().alias(name) for name in names]
    counted = _changed(plan).select(tests).collect(engine="streaming").row(0, named=True) if tests else {}
    most = sorted(counted.items(), key=lambda each: -each[1])[:MOST_CHANGED]
    return {name: rows for name, rows in most if rows}


def _in_words(attributes: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} (in {rows:,})" for name, rows in attributes.items())
