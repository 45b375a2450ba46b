"""How many slots a pool has, as Dagster has it, and each slot's share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import CustomerIO, CustomerIOIOManager, Event, Person, customerio_asset
from cio_dagster.pool import pool_slots
from cio_dagster.sandbox.process import run_sandbox
from tests.rates.conftest import SHIPPED


@pytest.mark.parametrize(
    ("pools", "own", "slots"),
    [
        ({"granularity": "op", "default_limit": 1}, None, 1),
        ({"granularity": "op", "default_limit": 1}, 3, 3),
        ({"default_limit": 2}, None, 2),
        ({"granularity": "op"}, None, None),
        ({"granularity": "op"}, 2, 2),
        ({}, None, None),
        # The limit is one of runs then, and a run may have any number of steps.
        ({"granularity": "run", "default_limit": 1}, 2, None),
    ],
)
def test_slots(pools: dict[str, Any], own: int | None, slots: int | None) -> None:
    with dg.instance_for_test(overrides={"concurrency": {"pools": pools}}) as instance:
        if own is not None:
            instance.event_log_storage.set_concurrency_slots("customerio", own)
        assert pool_slots(instance, "customerio") == slots
        assert pool_slots(instance, None) is None


def test_a_changed_default_counts_before_a_step_has_seen_it(tmp_path: Path) -> None:
    for default in (2, 5):
        (tmp_path / "dagster.yaml").write_text(SHIPPED.read_text().replace("default_limit: 1", f"default_limit: {default}"))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert pool_slots(instance, "customerio") == default
            instance.event_log_storage.initialize_concurrency_limit_to_default("customerio")
            assert pool_slots(instance, "customerio") == default


def test_shares_add_up_to_the_budget() -> None:
    workspace = CustomerIO(site_id="s", track_api_key="k", requests_per_second=150, burst=600, records_per_second=100)
    whole, third = workspace.connection(), workspace.connection(3)
    assert (whole.requests_per_second, whole.burst, whole.app_requests_per_second, whole.records_per_second) == (
        150,
        600,
        10,
        100,
    )
    assert (third.requests_per_second, third.burst) == (50, 200)
    assert third.app_requests_per_second * 3 == pytest.approx(10)
    assert third.records_per_second is not None
    assert third.records_per_second * 3 == pytest.approx(100)
    assert workspace.connection(1000).burst == 1
    assert CustomerIO(site_id="s", track_api_key="k").connection(2).records_per_second is None


@pytest.mark.parametrize(
    ("pool", "limit", "words"),
    [("customerio", None, "default_limit: 1"), (None, 1, "in no pool"), ("customerio", 1, None)],
)
def test_no_limit_is_said_once(pool: str | None, limit: int | None, words: str | None, tmp_path: Path) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])

    @customerio_asset(Person(), pool=pool, partitions_def=parts, backfill_policy=dg.BackfillPolicy.single_run())
    def people(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return {key: pl.DataFrame({"id": [f"{key}1"]}) for key in context.partition_keys}

    pools = {"granularity": "op", "default_limit": limit} if limit else {}
    with run_sandbox() as sandbox, dg.instance_for_test(overrides={"concurrency": {"pools": pools}}) as instance:
        workspace = CustomerIO(site_id="s", track_api_key="k", track_url=sandbox.url)
        result = dg.materialize(
            [people],
            instance=instance,
            resources={"customerio": CustomerIOIOManager(customerio=workspace, state=str(tmp_path))},
            tags={"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"},
        )
        said = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 30]
    assert len(said) == (1 if words else 0)
    assert words is None or words in said[0]


def test_a_step_begins_without_a_burst(tmp_path: Path) -> None:
    """Else many short steps, each in a process of its own, would send more than the rate."""

    @customerio_asset(Event(row_id="id", key="anonymous_id", column="id", name="seen", start="all"))
    def seen() -> pl.DataFrame:
        return pl.DataFrame({"id": [str(n) for n in range(20)]})

    with run_sandbox() as sandbox, dg.instance_for_test() as instance:
        workspace = CustomerIO(site_id="s", track_api_key="k", track_url=sandbox.url, requests_per_second=20, burst=20)
        resources = {"customerio": CustomerIOIOManager(customerio=workspace, state=str(tmp_path))}
        run = dg.materialize([seen], instance=instance, resources=resources)
        [start] = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
        last = max(each["time"] for each in sandbox.get("requests"))
    assert last - start.timestamp >= 0.95
