"""Plans that dry runs keep, so that a later run can apply just what was shown.

    plans/<run id>/    a plan's files (see `cio_dagster.plan`), and
        changes.csv    the whole plan as a table (see `cio_dagster.changes`)
        dry_run.json   what it was made for: options, workspace, start of the sync; and the runs that have applied it

A run that applies one makes its own plan of the source as it is now, compares the two, and sends its own only if they are the same. What
they were made with is the same then, too: the options, and the time from which events are sent. Where a run could not send all of it (an
outage, or the plan's limit), another may apply the rest: what Customer.io accepted of it from such runs is no difference.

The newest of each asset partition are kept, KEPT of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from cio_dagster import places
from cio_dagster.errors import PlanChanged, StateError
from cio_dagster.places import StorePath
from cio_dagster.plan import MANIFEST, Plan, bring_forward, read_manifest, write_last
from cio_dagster.state import AssetState, StateInfo

KEPT = 3
"""Plans kept of an asset partition. Each is about as large as what it would send, twice."""

EXAMPLES = 5
"""Differing operations that are named."""

MADE_FOR, CHANGES = "dry_run.json", "changes.csv"


@dataclass(frozen=True)
class Stored:
    """A plan that a dry run made, and what for."""

    plan: Plan
    environment_id: int
    started_at: str
    """When the first run began, or would have begun: see `cio_dagster.sync.event_start`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Those of the run options that shape a plan."""
    applied_by: list[str] = field(default_factory=list)
    """Ids of the runs that have applied it."""

    @property
    def id(self) -> str:
        """What `apply` takes: the dry run's id."""
        return self.plan.run_id

    def to_json(self) -> str:
        """All but the plan."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "plan"}, indent=1)


def keep(state: AssetState, plan: Plan, info: StateInfo, options: dict[str, Any]) -> None:
    """Store the plan of a dry run, made in its folder there, and remove those that are too old, or were never finished."""
    write_last(plan.folder / MADE_FOR, Stored(plan, info.environment_id, info.started_at, options).to_json())
    place = state.dry_run_place(plan.run_id)
    if isinstance(place, StorePath):
        places.upload(plan.folder, place, but=MADE_FOR)
        (place / MADE_FOR).put(plan.folder / MADE_FOR)
        places.remove(plan.folder)
    newest = [state.dry_run_place(each.id) for each in stored(state)[-KEPT:]]
    for name in places.folders(state.plans):
        if state.plans / name not in newest:
            places.remove(state.plans / name)


def stored(state: AssetState) -> list[Stored]:
    """The plans that are stored of an asset partition, oldest first; of a state in an object store, without their files."""
    found = []
    for name in places.folders(state.plans):
        made_for, manifest = (places.read(state.plans / name / each) for each in (MADE_FOR, MANIFEST))
        if made_for is not None and manifest is not None:
            plan = read_manifest(manifest, state.working_folder / "plans" / name)
            found.append(Stored(plan, **json.loads(made_for)))
    return sorted(found, key=lambda each: each.plan.made_at)


def applied(state: AssetState, shown: Stored, run_id: str) -> None:
    """Note that a run applies a stored plan."""
    noted = replace(shown, applied_by=[*shown.applied_by, run_id])
    places.replace(state.dry_run_place(shown.id) / MADE_FOR, noted.to_json())


def reads_all(state: AssetState, id: str) -> bool:
    """Whether the stored plan with this id was made of all that an incremental source has; so too where there is none."""
    return all(not each.plan.partial for each in stored(state) if each.id == id)


def find(state: AssetState, id: str, environment_id: int) -> Stored:
    """The stored plan with this id. Raises StateError where there is none, or it is of another workspace."""
    there = stored(state)
    found = next((each for each in there if each.id == id), None)
    what = state.asset if state.partition is None else f"{state.asset} {state.partition}"
    if found is None:
        ids = ", ".join(each.id for each in reversed(there)) or "none: run it with dry_run: true first"
        raise StateError(
            f"Nothing was sent: there is no stored plan {id!r} of {what}. There are (the last {KEPT} are kept): {ids}."
        )
    if found.environment_id != environment_id:
        raise StateError(
            f"Nothing was sent: plan {id} of {what} was made for workspace {found.environment_id}, but the credentials belong to workspace "
            f"{environment_id}. Do a dry run with these, and apply that."
        )
    place = state.dry_run_place(id)
    if isinstance(place, StorePath):
        places.download(place, found.plan.folder)
    return found


def to_apply(shown: Stored, plan: Plan, state: AssetState) -> Plan:
    """The source's plan, as it is to be sent to apply a stored one: all of what was shown that was not accepted since, and nothing else.

    Raises PlanChanged where what was shown is not what the source says now. As long as they do not differ, both are read once, and nothing
    is kept of either.
    """
    then = shown.plan.operations().filter(pl.col("_position") < shown.plan.stop)
    now = plan.operations()
    limited = shown.plan.limit is not None
    if limited:
        now = now.join(then.select("_key"), on="_key", how="semi")
    if _digest(then) != _digest(now):
        _check_differences(shown, then, now, state)
    # Which operations come first is not the same in two plans of the same rows.
    return bring_forward(plan, then.select("_key")) if limited else plan


def _check_differences(shown: Stored, then: pl.LazyFrame, now: pl.LazyFrame, state: AssetState) -> None:
    """Raise PlanChanged for operations that are in one and not in the other, but for what runs that applied the plan did of it."""
    old, new = _hashed(then), _hashed(now)
    gone = old.join(new.select("_hash"), on="_hash", how="anti").select("_key", shown="_operation")
    come = new.join(old.select("_hash"), on="_hash", how="anti").select("_key", now="_operation")
    if shown.applied_by:
        by_them = state.outcomes().filter(pl.col("run_id").is_in(shown.applied_by), pl.col("outcome") == "accepted")
        gone = gone.join(by_them.select(_key="key", shown="operation"), on=["_key", "shown"], how="anti")
        if (unsettled := state.unsettled()) is not None:
            # They are sent whole now; what they are to be is the same.
            same = _targets(now).join(_targets(then), on="_target", how="semi").join(unsettled, on="_key", how="semi")
            gone, come = (each.join(same, on="_key", how="anti") for each in (gone, come))
    differing = pl.concat([gone, come], how="diagonal")
    count = differing.select(pl.col("_key").n_unique()).collect(engine="streaming").item()
    if not count:
        return
    keys = differing.select("_key").head(EXAMPLES).collect(engine="streaming")["_key"].unique(maintain_order=True)
    some = differing.filter(pl.col("_key").is_in(keys.implode())).collect(engine="streaming")
    examples = some.group_by("_key", maintain_order=True).agg(pl.col("shown", "now").drop_nulls().first())
    texts = examples.select(key="_key", shown=pl.col("shown").fill_null(""), now=pl.col("now").fill_null(""))
    raise PlanChanged(shown.id, count, texts.to_dicts())


def _hashed(operations: pl.LazyFrame) -> pl.LazyFrame:
    """What is sent of each, and about which row. Of use in this process only: Polars may change its hash between versions."""
    return operations.select("_key", "_operation", _hash=pl.struct("_operation", "_key", "_body").hash())


def _targets(operations: pl.LazyFrame) -> pl.LazyFrame:
    """What each row is to be in Customer.io."""
    columns = sorted(set(operations.collect_schema()) - {"_position", "_row", "_changes", "_body"})
    return operations.select("_key", _target=pl.struct(columns).hash())


def _digest(operations: pl.LazyFrame) -> tuple[int, ...]:
    """The same for the same operations in whatever order: how many, and the sums of both halves of their hashes."""
    halves = {"low": pl.col("_hash") % 2**32, "high": pl.col("_hash") // 2**32}
    counted = _hashed(operations).select(pl.len(), **{name: half.sum() for name, half in halves.items()})
    return counted.collect(engine="streaming").row(0)
