"""The jobs `customerio_plan`: dry runs of all Customer.io assets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from cio_dagster.io_manager import DEFERRED, DRY_RUN, PLAN_JOB
from cio_dagster.specs import find_spec


def build_customerio_plan_jobs(assets: Iterable[Any]) -> list[Any]:
    """Jobs that show what the Customer.io assets among these would do, and cannot send anything: for `dg.Definitions(jobs=...)`.

    Each leaves an observation on every asset, as a dry run does, whether or not it depends on others of the job; and no materialisation.
    That it is dry is in the tags of its runs, and in the jobs' names; the other run options are given as in any run of the assets.

    A Dagster job has one partitions definition at most, so there is `customerio_plan`, of the assets without partitions, and for each
    partitions definition `customerio_plan_<asset>`, named after the first of its assets by name. An asset that was not made by
    `customerio_asset` has no dry runs, so it is in none.
    """
    groups: dict[dg.PartitionsDefinition | None, list[dg.AssetsDefinition]] = {}
    for asset in assets:
        if isinstance(asset, dg.AssetsDefinition) and has_dry_runs(asset):
            groups.setdefault(asset.partitions_def, []).append(asset)
    return [_job(partitions, sorted(group, key=lambda asset: asset.op.name)) for partitions, group in groups.items()]


def _job(partitions: dg.PartitionsDefinition | None, assets: list[dg.AssetsDefinition]) -> Any:
    names = [asset.op.name for asset in assets]
    # The checks of the assets' own steps; those that have a step look at what was sent.
    selection = dg.AssetSelection.assets(*(asset.key for asset in assets)).without_checks()
    selection |= dg.AssetSelection.checks(*(key for asset in assets for key in asset.check_keys))
    return dg.define_asset_job(
        PLAN_JOB if partitions is None else f"{PLAN_JOB}_{names[0]}",
        selection,
        description=f"Shows what {', '.join(names)} would send; sends nothing.",
        run_tags={DRY_RUN: "true", DEFERRED: "true"},
    )


def has_dry_runs(asset: dg.AssetsDefinition) -> bool:
    """Whether an asset is synced to Customer.io and takes run options."""
    if not (isinstance(asset.node_def, dg.OpDefinition) and any(map(find_spec, asset.metadata_by_key.values()))):
        return False
    field = asset.op.config_schema.as_field()
    return "dry_run" in getattr(field.config_type, "fields", {})
