"""Partitioned assets: each partition has its own snapshot, and mirrors only itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import Collection, Event, ManualSegment, Object, Person, SpecError, customerio_asset, partition_parameters
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, events, numbers

DAYS = dg.DailyPartitionsDefinition("2026-11-20", end_date="2026-11-24")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])
ORDERS = pl.LazyFrame(
    {
        "order_id": ["a", "b", "c"],
        "customer_id": [1, 2, 3],
        "ordered_at": [datetime(2026, 11, 20, 5), datetime(2026, 11, 21, 5), datetime(2026, 11, 22, 5)],
        "region": ["eu", "eu", "us"],
    }
)
ORDER = Event(row_id="order_id", column="customer_id", name="order", timestamp="ordered_at")


@pytest.fixture
def people(dagster: Callable[..., Dagster]) -> None:
    @customerio_asset(Person())
    def everybody() -> pl.DataFrame:
        return pl.DataFrame({"id": [1, 2, 3, 4]})

    assert dagster().run([everybody]).success


@customerio_asset(ORDER, partitions_def=DAYS, partition_expr="ordered_at")
def orders(context: dg.AssetExecutionContext) -> pl.LazyFrame:
    window = partition_parameters(context)
    time = pl.col("ordered_at").dt.replace_time_zone("UTC")
    return ORDERS.filter(time >= window["partition_start"], time < window["partition_end"])


@pytest.mark.usefixtures("people")
def test_days_one_by_one_and_a_range_in_one_run(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    result = dagster().run([orders], partition="2026-11-20")
    assert numbers(result, "orders", "2026-11-20")["sent"] == 1
    result = dagster().run([orders], partitions=("2026-11-20", "2026-11-23"))
    assert result.success
    sent = {f"2026-11-{day}": numbers(result, "orders", f"2026-11-{day}")["sent"] for day in (20, 21, 22, 23)}
    assert sent == {"2026-11-20": 0, "2026-11-21": 1, "2026-11-22": 1, "2026-11-23": 0}
    assert sorted(event["person"]["id"] for event in sandbox.get("events")) == ["1", "2", "3"]


@pytest.mark.usefixtures("people")
def test_a_frame_for_each_partition_does_as_well(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @customerio_asset(ORDER, partitions_def=DAYS)
    def by_day(context: dg.AssetExecutionContext) -> dict[str, pl.LazyFrame]:
        day = pl.col("ordered_at").dt.to_string("%Y-%m-%d")
        return {key: ORDERS.filter(day == key) for key in context.partition_keys}

    result = dagster().run([by_day], partitions=("2026-11-20", "2026-11-22"))
    assert result.success
    assert len(sandbox.get("events")) == 3


def test_several_partitions_need_a_way_to_tell_rows_apart(dagster: Callable[..., Dagster]) -> None:
    @customerio_asset(ORDER, partitions_def=DAYS)
    def mixed() -> pl.LazyFrame:
        return ORDERS

    result = dagster().run([mixed], partitions=("2026-11-20", "2026-11-22"))
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert "say partition_expr='column'" in str(failure.step_failure_data.error)


def test_rows_of_no_partition_of_the_run_are_not_lost_unsaid(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @customerio_asset(ORDER, partitions_def=DAYS, partition_expr="ordered_at")
    def unfiltered() -> pl.LazyFrame:
        return ORDERS

    result = dagster().run([unfiltered], partition="2026-11-20")
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert "2 rows belong to no partition of this run" in str(failure.step_failure_data.error)
    assert not sandbox.get("events")


@pytest.mark.usefixtures("people")
def test_a_row_without_a_time_is_rejected_in_a_range_of_days_too(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    @customerio_asset(ORDER, partitions_def=DAYS, partition_expr="ordered_at")
    def untimed() -> pl.LazyFrame:
        return pl.concat([ORDERS.head(2), ORDERS.tail(1).with_columns(ordered_at=pl.lit(None, dtype=pl.Datetime("us")))])

    result = dagster().run([untimed], partitions=("2026-11-20", "2026-11-21"))
    assert result.success
    first = numbers(result, "untimed", "2026-11-20")
    assert (first["source_rows"], first["sent"], first["rejected"]) == (2, 1, 1)
    assert first["rejects"].records[0].data["reason"] == "missing_timestamp"
    assert len(sandbox.get("events")) == 2


@pytest.mark.usefixtures("people")
def test_a_static_partition_mirrors_only_itself(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    members = {"eu": [1, 2], "us": [3, 4]}

    @customerio_asset(ManualSegment(name="Active", behavior="mirror"), partitions_def=REGIONS)
    def active(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return pl.DataFrame({"id": members[context.partition_key]})

    for region in ("eu", "us"):
        assert dagster().run([active], partition=region).success
    members["eu"] = [2]
    result = dagster().run([active], partition="eu")
    assert numbers(result, "active", "eu")["removed"] == 1
    [segment] = sandbox.get("segments")
    assert sorted(member["id"] for member in segment["members"]) == ["2", "3", "4"]


def test_dynamic_partitions(dagster: Callable[..., Dagster], sandbox: RunningSandbox, instance: dg.DagsterInstance) -> None:
    tenants = dg.DynamicPartitionsDefinition(name="tenants")
    instance.add_dynamic_partitions("tenants", ["ac/me", "über|corp"])

    @customerio_asset(Object(object_type_id=1, behavior="mirror"), partitions_def=tenants)
    def accounts(context: dg.AssetExecutionContext) -> pl.DataFrame:
        parameters = partition_parameters(context)
        return pl.DataFrame({"object_id": [f"{parameters['partition_key']}-1"]})

    for tenant in ("ac/me", "über|corp"):
        assert dagster().run([accounts], partition=tenant).success
    assert sorted(found["object_id"] for found in sandbox.get("objects")) == ["ac/me-1", "über|corp-1"]


@pytest.mark.usefixtures("people")
def test_multi_partitions(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    both = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
    given: list[dict[str, Any]] = []

    @customerio_asset(ORDER, partitions_def=both, partition_expr={"day": "ordered_at", "region": "region"})
    def orders_by_region(context: dg.AssetExecutionContext) -> pl.LazyFrame:
        given.append(partition_parameters(context))
        time = pl.col("ordered_at").dt.replace_time_zone("UTC")
        return ORDERS.filter(
            time >= given[-1]["day_start"], time < given[-1]["day_end"], pl.col("region").is_in(given[-1]["region_keys"])
        )

    key = dg.MultiPartitionKey({"day": "2026-11-21", "region": "eu"})
    result = dagster().run([orders_by_region], partition=key)
    assert result.success
    assert given[0]["region_key"] == "eu"
    assert given[0]["day_key"] == "2026-11-21"
    assert [event["person"]["id"] for event in sandbox.get("events")] == ["2"]


@pytest.mark.usefixtures("people")
def test_downstream_of_a_partitioned_asset_loads_all_its_partitions(dagster: Callable[..., Dagster]) -> None:
    seen: list[pl.DataFrame] = []

    @dg.asset
    def total(orders: pl.LazyFrame) -> None:
        seen.append(orders.collect())

    assert dagster().run([orders], partitions=("2026-11-20", "2026-11-22")).success
    assert dagster().run([orders, total], select=["total"]).success
    assert sorted(seen[0]["row_id"]) == ["a", "b", "c"]


@pytest.mark.usefixtures("people")
def test_a_dry_run_of_a_range_observes_each_partition(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    result = dagster().run([orders], partitions=("2026-11-20", "2026-11-22"), config={"orders": {"dry_run": True}})
    found = [event.asset_observation_data.asset_observation for event in events(result, dg.DagsterEventType.ASSET_OBSERVATION)]
    assert {each.partition: each.metadata["would_send"].value for each in found} == dict.fromkeys(
        ("2026-11-20", "2026-11-21", "2026-11-22"), 1
    )
    assert not sandbox.get("events")


@pytest.mark.parametrize(
    "spec",
    [Collection(name="Plans"), ManualSegment(name="VIP", behavior="mirror", baseline="customerio")],
    ids=lambda spec: spec.object,
)
def test_what_is_written_whole_cannot_be_partitioned(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, spec: Any
) -> None:
    def rows() -> pl.DataFrame:
        return pl.DataFrame({"id": ["1"]})

    with pytest.raises(SpecError, match=r"cannot be partitioned: .* the others"):
        customerio_asset(spec, partitions_def=REGIONS)(rows)
    plain = dg.asset(rows, metadata=spec.to_metadata(), io_manager_key="customerio", partitions_def=REGIONS)
    [failure] = events(dagster().run([plain], partition="eu"), dg.DagsterEventType.STEP_FAILURE)
    assert "cannot be partitioned" in str(failure.step_failure_data.error)
    assert {request["method"] for request in sandbox.get("requests")} <= {"GET"}
