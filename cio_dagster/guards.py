"""Guards: judge a plan before anything is sent, and stop it if it would do more harm than allowed.

| guard | stops | unless | lifted for a run by |
|---|---|---|---|
| `empty_source` | a mirror or collection whose source is empty, or of which all rows are rejected | nothing was there before | `allow_deletes` |
| `max_delete` | a mirror that would remove more rows than `max_delete`, a collection that would lose so many | | `allow_deletes` |
| `max_new_people` | people of whom more than `max_new_people` are new | the limit is a share, and it is the first run | `allow_changes` |
| `max_changed` | people, devices, objects and relationships of which more than `max_changed` have changed | | `allow_changes` |
| `collection_size` | a collection larger than Customer.io takes | | nothing |

What harms less is a warning: a source that shrank though nothing is removed for it, and, without `max_changed`, a change of most rows.
A guard sees one asset partition: of a run over several, those before the one that it stops are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from cio_dagster.changes import changed
from cio_dagster.errors import GuardError, Would
from cio_dagster.limits import COLLECTION_BYTES
from cio_dagster.plan import DTYPES, Plan
from cio_dagster.specs import AnySpec, Collection, Device, Event, Object, Person, Relationship, Threshold

DELETED_SHARE, DELETED_ROWS = 0.2, 10
"""Where a spec has no max_delete, a removal of more than this share and more than this many rows is stopped."""

CHANGED_SHARE, CHANGED_ROWS = 0.5, 1_000
"""Where a spec has no max_changed, a change of more than this share and more than this many rows is warned about."""

SHRUNK_SHARE, SHRUNK_ROWS = 0.5, 10
"""A source that lost more than this share and more than this many rows since the last run is warned about, where it removes nothing."""

MOST_CHANGED = 5
"""Attributes that are named with the rows in which they changed."""


def check(plan: Plan, spec: AnySpec, *, allow_deletes: bool = False, allow_changes: bool = False) -> list[GuardError]:
    """What stops the plan. The options lift the guards that name them."""
    allowed = {"allow_deletes": allow_deletes, "allow_changes": allow_changes}
    guards = (_empty_source, _max_delete, _max_new_people, _max_changed, _collection_size)
    found = [guard(plan, spec) for guard in guards]
    return [each for each in found if each is not None and not allowed.get(each.option or "", False)]


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
        if counts.update > most and (changed := _changed_rows(plan)) > most:
            found.append(
                f"{changed:,} of {counts.known:,} rows have changed, most of all {_in_words(_changed_attributes(plan))}. "
                "Set max_changed to stop such a run."
            )
    return found


def exceeds(rows: int, whole: int, threshold: Threshold) -> bool:
    """Whether a number of rows is above a threshold: a count, a share of the whole, or None for no limit."""
    if threshold is None:
        return False
    return rows > threshold * whole if isinstance(threshold, float) else rows > threshold


def _empty_source(plan: Plan, spec: AnySpec) -> GuardError | None:
    counts = plan.counts
    if not (spec.removes and counts.known and counts.source == counts.rejected and counts.delete):
        return None
    found = "is empty" if counts.source == 0 else f"has {counts.rejected:,} rows, all of them rejected"
    said = f"the source {found}, but Customer.io holds {counts.known:,} rows from it, and {counts.delete:,} would be removed."
    return _stop(plan, "empty_source", said, "remove", counts.delete)


def _max_delete(plan: Plan, spec: AnySpec) -> GuardError | None:
    counts = plan.counts
    if not spec.removes or isinstance(spec, Event) or _empty_source(plan, spec) is not None:
        return None
    # A collection's row has no key: one that changed is one that goes and one that comes. So its guard counts what is lost on balance.
    lost = counts.known - (counts.source - counts.rejected) if isinstance(spec, Collection) else counts.delete
    if spec.max_delete is None:
        stops = lost > max(DELETED_ROWS, DELETED_SHARE * counts.known)
        limit = f"{DELETED_SHARE:.0%} and {DELETED_ROWS} rows (the default; set max_delete to change it)"
    else:
        stops, limit = exceeds(lost, counts.known, spec.max_delete), f"max_delete={spec.max_delete}"
    if not stops:
        return None
    said = f"{lost:,} of {counts.known:,} rows would be removed, more than {limit}."
    return _stop(plan, "max_delete", said, "remove", lost)


def _max_new_people(plan: Plan, spec: AnySpec) -> GuardError | None:
    counts = plan.counts
    if not isinstance(spec, Person) or spec.behavior == "update_only":
        return None
    if isinstance(spec.max_new_people, float) and not counts.known:
        return None  # A share of nothing: all of a first run is new.
    if not exceeds(counts.create, counts.known, spec.max_new_people):
        return None
    limit = f"max_new_people={spec.max_new_people}"
    said = f"{counts.create:,} people would be created beside the {counts.known:,} known ones, more than {limit}."
    return _stop(plan, "max_new_people", said, "create", counts.create)


def _max_changed(plan: Plan, spec: AnySpec) -> GuardError | None:
    counts = plan.counts
    if not isinstance(spec, (Person, Device, Object, Relationship)):
        return None
    # Rows that are sent again though they have not changed do not count; most plans have too few of either to look closer.
    if not exceeds(counts.update, counts.known, spec.max_changed):
        return None
    changed = _changed_rows(plan)
    if not exceeds(changed, counts.known, spec.max_changed):
        return None
    attributes = _changed_attributes(plan)
    more = f"more than max_changed={spec.max_changed}; most of all {_in_words(attributes)}."
    return _stop(
        plan, "max_changed", f"{changed:,} of {counts.known:,} rows have changed, {more}", "change", changed, attributes
    )


def _collection_size(plan: Plan, spec: AnySpec) -> GuardError | None:
    if not isinstance(spec, Collection):
        return None
    lengths = pl.col("_body").str.len_bytes().cast(pl.UInt64)
    # A comma after each row but the last, and two brackets.
    size = plan.operations().select((lengths + 1).sum() + 1).collect().item()
    if size <= COLLECTION_BYTES:
        return None
    said = f"the collection's rows are {size:,} bytes as JSON; the limit is {COLLECTION_BYTES:,}. Select fewer rows or columns."
    return _stop(plan, "collection_size", said, "send", plan.counts.create + plan.counts.keep)


def _stop(
    plan: Plan, guard: str, said: str, would: Would, planned: int, attributes: Mapping[str, int] | None = None
) -> GuardError:
    """What a guard says: that nothing was sent and why, and which option lifts it, if one does."""
    option = {"remove": "allow_deletes", "create": "allow_changes", "change": "allow_changes"}.get(would)
    lift = (
        f" If that is meant, run it once with the option `{option}: true` (in the launchpad, under ops > this asset > config)."
    )
    return GuardError(
        f"Nothing was sent: {said}{lift if option else ''}",
        guard=guard,
        would=would,
        planned=planned,
        known=plan.counts.known,
        option=option,
        attributes=attributes,
    )


def _changed(plan: Plan) -> pl.LazyFrame:
    """Rows of which attributes have changed; not those that are only sent again."""
    return plan.operations().filter(pl.col("_operation") == "update", pl.col("_changes") != "{}")


def _changed_rows(plan: Plan) -> int:
    return int(_changed(plan).select(pl.len()).collect(engine="streaming").item())


def _changed_attributes(plan: Plan) -> dict[str, int]:
    """The attributes that changed in most rows, and in how many."""
    names = list(pl.read_parquet_schema(plan.folder / DTYPES))
    tests = [changed(name).sum().alias(name) for name in names]
    counted = _changed(plan).select(tests).collect(engine="streaming").row(0, named=True) if tests else {}
    most = sorted(counted.items(), key=lambda each: -each[1])[:MOST_CHANGED]
    return {name: rows for name, rows in most if rows}


def _in_words(attributes: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} (in {rows:,})" for name, rows in attributes.items())
