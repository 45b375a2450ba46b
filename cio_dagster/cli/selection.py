"""Which assets and partitions a command is about, and in which runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click
import dagster as dg

from cio_dagster.io_manager import CustomerIOIOManager
from cio_dagster.jobs import has_dry_runs
from cio_dagster.specs import find_spec
from cio_dagster.state import AssetState, all_states, state_root
from cio_dagster.stored import stored

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Dagster's tags of a run over a range of partitions."""


@dataclass(frozen=True)
class Sync:
    """An asset that is synced to Customer.io."""

    key: dg.AssetKey
    definition: dg.AssetsDefinition
    manager: CustomerIOIOManager
    """As it is defined: settings may be variables of the environment."""

    @property
    def name(self) -> str:
        """As it is named in Dagster, and on the command line."""
        return self.key.to_user_string()

    def states(self) -> list[AssetState]:
        """The states of its partitions that there are."""
        root, workspace = state_root(_value(self.manager.state)), _value(self.manager.customerio.workspace)
        asset = "/".join(self.key.path)
        return [state for state in all_states(root) if (state.workspace, state.asset) == (workspace, asset)]


@dataclass(frozen=True)
class Run:
    """One run: assets, and the partition or range of partitions of those that have some."""

    keys: list[dg.AssetKey]
    partition: str | None = None
    range: tuple[str, str] | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say the range."""
        return dict(zip((RANGE_START, RANGE_END), self.range, strict=True)) if self.range else {}


class Location:
    """The assets of definitions."""

    def __init__(self, definitions: dg.Definitions) -> None:
        self.definitions = definitions

    @cached_property
    def _graph(self) -> Any:
        return self.definitions.resolve_asset_graph()

    @cached_property
    def executable(self) -> dict[dg.AssetKey, dg.AssetsDefinition]:
        """All assets that can be materialised, each after those that it depends on."""
        definitions = {key: each for each in self._graph.assets_defs if each.is_executable for key in each.keys}
        return {key: definitions[key] for key in self._graph.toposorted_asset_keys if key in definitions}

    @cached_property
    def syncs(self) -> dict[dg.AssetKey, Sync]:
        """Those that are synced to Customer.io, in the same order."""
        found = {}
        for key, definition in self.executable.items():
            if find_spec(definition.metadata_by_key.get(key, {})) is None:
                continue
            name = definition.get_io_manager_key_for_asset_key(key)
            manager = (self.definitions.resources or {}).get(name)
            if not isinstance(manager, CustomerIOIOManager):
                raise click.ClickException(
                    f"{key.to_user_string()} is written by the resource {name!r}, which is no CustomerIOIOManager"
                )
            found[key] = Sync(key, definition, manager)
        if not found:
            raise click.UsageError("none of the definitions' assets is synced to Customer.io")
        return found

    def select(self, expressions: Sequence[str]) -> list[dg.AssetKey]:
        """The assets that any of the expressions (Dagster's asset selection syntax, names among it) selects; without any, all syncs."""
        if not expressions:
            return list(self.syncs)
        chosen: set[dg.AssetKey] = set()
        for expression in expressions:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster's own parser uses something that is.
                    chosen |= dg.AssetSelection.from_coercible(expression).resolve(self._graph)
            except dg.DagsterError:
                there = ", ".join(sync.name for sync in self.syncs.values())
                raise click.UsageError(f"{expression!r} is no asset, and no selection of assets; there are: {there}") from None
        if not chosen & set(self.executable):
            raise click.UsageError(f"{' '.join(expressions)!r} selects no asset that can be run")
        return [key for key in self.executable if key in chosen]

    def has_dry_runs(self, key: dg.AssetKey) -> bool:
        """Whether an asset takes run options, dry runs among them."""
        return key in self.syncs and has_dry_runs(self.syncs[key].definition)

    def selected_syncs(self, expressions: Sequence[str]) -> list[Sync]:
        """Those of the selected assets that are synced to Customer.io."""
        found = [self.syncs[key] for key in self.select(expressions) if key in self.syncs]
        if not found:
            raise click.UsageError("none of these assets is synced to Customer.io")
        return found

    def runs(
        self,
        keys: Sequence[dg.AssetKey],
        *,
        partition: str | None,
        range: tuple[str, str] | None,
        instance: dg.DagsterInstance,
    ) -> list[Run]:
        """The runs that materialise assets, one after the other.

        The partition or range is of those that have partitions, all by one definition. A range takes one run where their backfill policy says
        so, else one for each partition.
        """
        partitioned = [key for key in keys if self.executable[key].partitions_def is not None]
        definitions = {self.executable[key].partitions_def for key in partitioned}
        names = ", ".join(key.to_user_string() for key in partitioned)
        if partition is None and range is None:
            if partitioned:
                raise click.UsageError(f"say which partition of {names}: --partition KEY or --partition-range FIRST...LAST")
            return [Run(list(keys))]
        if len(definitions) != 1:
            raise click.UsageError(
                f"{names} have different partitions: select those that share them"
                if definitions
                else "none of the assets has partitions"
            )
        known = definitions.pop().get_partition_keys(dynamic_partitions_store=instance)  # type: ignore[union-attr]
        for key in range or (partition,):
            if key not in known:
                there = f"from {known[0]} to {known[-1]}" if known else "none yet"
                raise click.UsageError(f"{names} has no partition {key!r}; there are: {there}")
        if range is None:
            return [Run(list(keys), partition)]
        covered = known[known.index(range[0]) : known.index(range[1]) + 1]
        if not covered:
            raise click.UsageError(f"the range ends with {range[1]}, before it begins with {range[0]}")
        policies = [self.executable[key].backfill_policy for key in partitioned]
        if all(policy is not None and policy.max_partitions_per_run is None for policy in policies):
            return [Run(list(keys), range=range)]
        return self._sequence(keys, covered)

    def applying(self, keys: Sequence[dg.AssetKey], plan: str) -> list[Run]:
        """The runs that send a stored plan: of those of the assets and partitions that it was made for."""
        found = [
            (key, state.partition)
            for key in keys
            if key in self.syncs
            for state in self.syncs[key].states()
            if any(each.id == plan for each in stored(state))
        ]
        if not found:
            raise click.ClickException(f"there is no stored plan {plan}: make one with `cio plan`, which says its id")
        return self._sequence(
            list(dict.fromkeys(key for key, _ in found)), sorted({each for _, each in found if each is not None})
        )

    def _sequence(self, keys: Sequence[dg.AssetKey], partitions: Sequence[str]) -> list[Run]:
        """A run for each partition. What has none runs with the first of them, or with the last if it depends on what has."""
        if not partitions:
            return [Run(list(keys))]
        partitioned = [key for key in keys if self.executable[key].partitions_def is not None]
        after = dg.AssetSelection.assets(*partitioned).downstream().resolve(self._graph)
        others = [key for key in keys if key not in partitioned]
        runs = []
        for partition in partitions:
            early = [key for key in others if key not in after and partition == partitions[0]]
            late = [key for key in others if key in after and partition == partitions[-1]]
            runs.append(Run([*early, *partitioned, *late], partition))
        return runs


def parse_range(text: str | None) -> tuple[str, str] | None:
    """FIRST...LAST, as Dagster writes ranges."""
    if text is None:
        return None
    first, dots, last = text.partition("...")
    if not (first and dots and last):
        raise click.UsageError(f"a range is FIRST...LAST, not {text!r}")
    return first, last


def _value(setting: str) -> str:
    """A resource's setting; of one that comes from the environment, the variable's value."""
    if not isinstance(setting, dg.EnvVar):
        return setting
    found = setting.get_value()
    if not found:
        raise click.ClickException(f"the variable {setting.env_var_name} is not set")
    return found
