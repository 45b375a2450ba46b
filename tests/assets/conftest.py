"""Assets run by a real Dagster instance against a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cio_dagster import CustomerIO, CustomerIOIOManager
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox


@pytest.fixture(scope="session")
def running() -> Iterator[RunningSandbox]:
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> RunningSandbox:
    running.reset()
    return running


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """In memory: a tenth of the time of one on disk, which the demo's and the browser's tests have."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@dataclass
class Dagster:
    """Runs assets, and tells what Dagster recorded."""

    instance: dg.DagsterInstance
    resources: dict[str, Any]

    def run(
        self,
        assets: Sequence[Any],
        *,
        config: Mapping[str, Any] | None = None,
        partition: str | None = None,
        partitions: tuple[str, str] | None = None,
        select: Sequence[str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialize; `config` is by asset name, `partitions` the first and last of a range in one run."""
        tags = None
        if partitions:
            tags = {"dagster/asset_partition_range_start": partitions[0], "dagster/asset_partition_range_end": partitions[1]}
        return dg.materialize(
            assets,
            selection=select,
            instance=self.instance,
            resources=self.resources,
            partition_key=partition,
            tags=tags,
            run_config={"ops": {name: {"config": options} for name, options in (config or {}).items()}},
            raise_on_error=False,
        )


def numbers(result: dg.ExecuteInProcessResult, asset: str, partition: str | None = None) -> dict[str, Any]:
    """The metadata of the asset's materialization in a run."""
    for event in result.asset_materializations_for_node(asset):
        if event.partition == partition:
            return {name: value.value for name, value in event.metadata.items()}
    raise AssertionError(f"{asset} {partition} was not materialized")


def events(result: dg.ExecuteInProcessResult, kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
    return [event for event in result.all_events if event.event_type == kind]


@pytest.fixture
def dagster(instance: dg.DagsterInstance, sandbox: RunningSandbox, tmp_path: Path) -> Callable[..., Dagster]:
    def make(**settings: Any) -> Dagster:
        defaults: dict[str, Any] = {"site_id": "site", "track_api_key": "track-secret", "app_api_key": "app-secret"}
        workspace = CustomerIO(**defaults | {"track_url": sandbox.url, "app_url": sandbox.url} | settings)
        manager = CustomerIOIOManager(customerio=workspace, state=str(tmp_path / "state"))
        return Dagster(instance, {"customerio": manager})

    return make
