"""Spread the state of an asset over other partitions by sync key, or join it to one. Nothing is sent.

Each step can be made again, so that what is killed is run again, and goes on:

1. The old states are closed: no run opens them any more.
2. Each new partition that has no state yet gets one: its rows of the old snapshots, and of what is unsettled. `state.json` comes last, so one
   that is there is whole. (It may have been run meanwhile: its rows are those of no other.)
3. When all new ones are there, the old states are moved aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import polars as pl

from cio_dagster.errors import SpecError, StateError
from cio_dagster.key_partitions import Predicate, into, key_identifier, overlap, slice_of
from cio_dagster.lock import Held
from cio_dagster.prepare.identifiers import compared_text
from cio_dagster.specs import AnySpec, Collection, Identifier
from cio_dagster.state import AssetState, StateInfo
from cio_dagster.wave import Part

RUN = "cio-state repartition"


@dataclass(frozen=True)
class Split:
    """What is to be done: the states that rows are taken from, those that are to be made, and those that stay as they are."""

    old: list[AssetState]
    new: list[AssetState]
    kept: list[AssetState]
    options: str
    """The new split, as the options of the command."""
    spec: AnySpec
    key: tuple[str, Identifier] | None
    """The role and the part of the sync key by which rows are split; None where they are joined."""


@contextmanager
def locked(states: Sequence[AssetState]) -> Iterator[Held]:
    """Hold the locks of all these, which the yielded call checks."""
    with ExitStack() as locks:
        each = [locks.enter_context(state.lock(RUN)) for state in states]

        def held() -> None:
            for check in each:
                check()

        yield held


def split(states: Sequence[AssetState], partitions: Sequence[str], column: str | None) -> Split:
    """What is to be done to have an asset in these partitions; in one, if there are none. To be asked under the locks.

    states
        All that the asset has in a workspace.
    column
        The column of the sync key by which rows are split; needed where it has several.
    Raises StateError where that cannot be, and SpecError for a column that is none.
    """
    wanted: list[str | None] = list(partitions) or [None]
    kept = [state for state in states if state.partition in wanted and state.exists()]
    there = {state.partition for state in kept}
    new = [replace(states[0], partition=each) for each in wanted if each not in there]
    # What is half moved aside has no `state.json` any more; else its lack is damage, which `info` tells.
    old = [
        state
        for state in states
        if state.partition not in wanted and (state.has_rows() if not new else state.info() is not None)
    ]
    infos = {state: info for state in (*kept, *(old if new else ())) if (info := state.info()) is not None}
    options = into(partitions)
    if others := [state.partition for state in old if state.partition is not None and slice_of(state.partition) is None]:
        raise StateError(f"Partition {others[0]} is none by sync key: which rows it has is known to its asset alone.")
    if not old:
        raise StateError(f"{states[0].asset} is in these partitions already. One without a state begins with its first run.")
    for state, info in infos.items():
        if info.spread_to not in ("", options):
            raise StateError(f"{state.folder} is being spread by `{RUN} {state.asset} {info.spread_to}`: run that again first.")
        if state in old and (plan := state.plan_under_way()) is not None:
            raise StateError(
                f"{state.folder} has the plan of an interrupted run ({plan.run_id}): run the asset first, which commits what was accepted."
            )
    if len({(info.environment_id, tuple(sorted(info.identity.items()))) for info in infos.values()}) > 1:
        raise StateError(
            "The partitions are of several workspaces, or of several kinds of sync: forget those that are not needed any more."
        )
    specs = [spec for state in infos if (spec := state.spec()) is not None]
    if not specs:
        raise StateError("No run has committed anything yet, so there is nothing to spread: `cio-state forget` it.")
    spec = specs[-1]
    if partitions and (isinstance(spec, Collection) or spec.unpartitionable):
        raise StateError(f"It cannot be partitioned: {spec.unpartitionable}.")
    return Split(old, new, kept, options, spec, _key(spec, column) if partitions else None)


def spread(todo: Split, held: Held) -> None:
    """Make the new states from the old ones. To be called under the locks. Raises StateError where rows would be lost, and what `held` raises."""
    if not todo.new:
        return
    held()
    infos = {state: info for state in todo.old if (info := state.info()) is not None}
    for state, info in infos.items():
        if not info.spread_to:
            state.save_info(replace(info, spread_to=todo.options))
    for state in todo.new:
        held()
        _make(state, todo, infos)
    held()
    if not any(info.spread_to for info in infos.values()):
        before, after = (sum(state.rows() for state in states) for states in (todo.old, todo.new))
        if before != after:
            raise StateError(f"Of {before:,} rows {after:,} were spread: the old states stay where they are.")


def _make(state: AssetState, todo: Split, infos: dict[AssetState, StateInfo]) -> None:
    own = slice_of(state.partition)
    sources = [each for each in infos if overlap(slice_of(each.partition), own)]
    which = pl.lit(True)
    if own is not None and todo.key is not None:
        role, identifier = todo.key
        which = Predicate.of(identifier, [own]).of_text(compared_text(pl.col(f"_{role}"), identifier))
    snapshots = [rows.filter(which) for each in sources if (rows := each.snapshot()) is not None]
    unsettled = [rows.filter(which) for each in sources if (rows := each.unsettled()) is not None]
    dtypes = {name: dtype for each in sources for name, dtype in each.dtypes().items()}
    info = next(iter(infos.values()))
    since = datetime.now(timezone.utc).isoformat()
    state.take_over(
        StateInfo(info.identity, info.environment_id, min(each.started_at for each in infos.values())),
        todo.spec,
        pl.concat(snapshots, how="diagonal") if snapshots else None,
        pl.concat(unsettled, how="diagonal") if unsettled else None,
        dtypes,
        None if own is None else Part(RUN, since),
        run_id=RUN,
    )


def _key(spec: AnySpec, column: str | None) -> tuple[str, Identifier]:
    try:
        identifier = key_identifier(spec, column)
    except SpecError as error:
        raise SpecError(f"{error} Say --by.") from None
    return next((role, part) for role, part in spec.identifiers.items() if part == identifier)
