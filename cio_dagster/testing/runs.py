"""Runs of assets whose rows go to a sandbox, whatever workspace they are meant for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from cio_dagster.asset import SyncConfig
from cio_dagster.errors import SpecError
from cio_dagster.io_manager import CustomerIOIOManager
from cio_dagster.resource import CustomerIO
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import find_spec


@dataclass(frozen=True)
class MaterializeToSandbox:
    """Materialises assets in this process, with a sandbox in the place of each Customer.io workspace.

    sandbox
        Where the rows go.
    state
        The folder of snapshots and outcomes (`cio_dagster.outcomes` reads it). Runs that share it send differences only, as in production.
    """

    sandbox: RunningSandbox
    state: Path

    def __call__(
        self,
        assets: dg.Definitions | Sequence[dg.AssetsDefinition | dg.AssetSpec],
        *,
        selection: Any = None,
        resources: Mapping[str, object] | None = None,
        options: SyncConfig | None = None,
        partition_key: str | None = None,
        partition_range: tuple[str, str] | None = None,
        instance: dg.DagsterInstance | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """Run assets, and return what `dagster.materialize` returns.

        assets
            Assets and checks; or the Definitions of a code location, with its resources.
        selection
            Which of them to run, as `dagster.materialize` takes it: names, keys or an AssetSelection. All without it.
        resources
            Further resources, or others in the place of the Definitions' own: a test's warehouse.
        options
            The run options of every Customer.io asset: `SyncConfig(dry_run=True)`.
        partition_key, partition_range
            One partition; or the first and last of a range that one run covers.
        raise_on_error
            Whether a failed step raises; otherwise look at the result's `success`.

        Raises SpecError if nothing in `assets` is synced to Customer.io.
        """
        own: dict[str, object] = {}
        if isinstance(assets, dg.Definitions):
            own = dict(assets.resources or {})
            assets = [*(assets.assets or []), *(assets.asset_checks or [])]  # type: ignore[list-item]
        syncs = [each for each in assets if isinstance(each, dg.AssetsDefinition) and _is_sync(each)]
        if selection is not None:
            executable = [each for each in assets if isinstance(each, dg.AssetsDefinition)]
            selected = dg.AssetSelection.from_coercible(selection).resolve(executable)
            syncs = [sync for sync in syncs if sync.key in selected]
        if not syncs:
            raise SpecError("none of the assets is synced to Customer.io: give some that @customerio_asset made")
        managers = {sync.get_io_manager_key_for_asset_key(sync.key) for sync in syncs}
        managers |= {key for key, resource in own.items() if isinstance(resource, CustomerIOIOManager)}
        config = {sync.op.name: {"config": options.model_dump()} for sync in syncs} if options else {}
        tags = {}
        if partition_range:
            first, last = partition_range
            tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        return dg.materialize(
            assets,
            selection=selection,
            resources=own | {key: self.io_manager(key) for key in sorted(managers)} | dict(resources or {}),
            run_config={"ops": config},
            partition_key=partition_key,
            tags=tags,
            instance=instance,
            raise_on_error=raise_on_error,
        )

    def io_manager(self, workspace: str = "customerio") -> CustomerIOIOManager:
        """The IO manager that writes to the sandbox, for runs of your own: quick after faults, and without rate limits."""
        customerio = CustomerIO(
            site_id="sandbox",
            track_api_key="sandbox",
            app_api_key="sandbox",
            workspace=workspace,
            track_url=self.sandbox.url,
            app_url=self.sandbox.url,
            requests_per_second=100_000,
            burst=100_000,
            app_requests_per_second=1_000,
            longest_backoff=0.05,
        )
        return CustomerIOIOManager(customerio=customerio, state=str(self.state))


def _is_sync(asset: dg.AssetsDefinition) -> bool:
    return any(find_spec(metadata) is not None for metadata in asset.metadata_by_key.values())
