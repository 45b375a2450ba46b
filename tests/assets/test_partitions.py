"""Partitioned assets: each partition has its own snapshot, and mirrors only itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import (
    Collection,
    Device,
    Event,
    Incremental,
    ManualSegment,
    Object,
    Person,
    Relationship,
    SpecError,
    Warehouse,
    customerio_asset,
    hash_partitions,
    incremental_parameters,
    partition_parameters,
    partition_predicate,
    range_partitions,
)
from cio_dagster.key_partitions import slices
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

    for definition in (REGIONS, hash_partitions(2)):
        with pytest.raises(SpecError, match=r"cannot be partitioned: .* the others"):
            customerio_asset(spec, partitions_def=definition)(rows)
    plain = dg.asset(rows, metadata=spec.to_metadata(), io_manager_key="customerio", partitions_def=REGIONS)
    [failure] = events(dagster().run([plain], partition="eu"), dg.DagsterEventType.STEP_FAILURE)
    assert "cannot be partitioned" in str(failure.step_failure_data.error)
    assert {request["method"] for request in sandbox.get("requests")} <= {"GET"}


@pytest.mark.parametrize(
    ("spec", "column", "said"),
    [
        (Person(), "country", "partition_expr='country' is none: of this person it can be 'id'"),
        (Event(row_id="order_id", name="order"), "id", "of this event it can be 'order_id'"),
        (Device(), None, "say partition_expr: of this device it can be 'token' or 'id'"),
        (Relationship(object_type_id=1), {"day": "id"}, "of this relationship it can be 'object_id' or 'id'"),
    ],
    ids=lambda each: getattr(each, "object", ""),
)
@pytest.mark.parametrize("definition", [hash_partitions(4), range_partitions([1, 2])], ids=["hash", "range"])
def test_partitions_by_sync_key_are_by_a_column_of_it(spec: Any, column: Any, said: str, definition: Any) -> None:
    def rows() -> pl.DataFrame:
        return pl.DataFrame()

    with pytest.raises(SpecError, match=f"^rows: Partitions by sync key are by a column of it.*{said}"):
        customerio_asset(spec, partitions_def=definition, partition_expr=column)(rows)


def test_partitions_by_sync_key_are_no_dimension() -> None:
    both = dg.MultiPartitionsDefinition({"day": DAYS, "part": hash_partitions(2)})
    with pytest.raises(SpecError, match="cannot have partitions by sync key as a dimension"):
        customerio_asset(ORDER, partitions_def=both, partition_expr={"day": "ordered_at", "part": "order_id"})(lambda: ORDERS)


@pytest.mark.parametrize("count", [0, 1, 4_097, True, 2.0, "2"])
def test_counts_that_are_none(count: Any) -> None:
    with pytest.raises(SpecError, match="takes a count from 2 to 4,096, not"):
        hash_partitions(count)


@pytest.mark.parametrize(
    "bounds",
    [
        [],
        "abc",
        [1, "b"],
        [2, 1],
        [1, 1],
        ["b", "B"],
        ["10", "9", "9"],
        [True],
        [1.5],
        [2**63],
        [None],
        [""],
        ["a...b"],
        ["a\n"],
    ],
)
def test_bounds_that_are_none(bounds: Any) -> None:
    with pytest.raises(SpecError, match=r"^range_partitions (takes|cannot)"):
        range_partitions(bounds)


def test_the_names_of_partitions_say_what_is_in_them() -> None:
    assert hash_partitions(16).get_partition_keys()[::15] == ["00-of-16", "15-of-16"]
    assert hash_partitions(4_096).get_partition_keys()[-1] == "4095-of-4096"
    assert range_partitions([-5, 1000]).get_partition_keys() == ["..-5", "-5..1000", "1000.."]
    assert range_partitions(["g", 'it"s', "é 1"]).get_partition_keys() == ["..g", 'g.."it\\"s"', '"it\\"s".."é 1"', '"é 1"..']


@pytest.mark.parametrize(
    "keys",
    [
        ["eu", "us"],
        ["0-of-2"],
        ["1-of-2", "0-of-2"],
        ["0-of-2", "1-of-3"],
        ["00-of-2", "01-of-2"],
        ["..1", "2.."],
        ["..01", "01.."],
        [".."],
    ],
)
def test_other_static_partitions_are_what_they_were(keys: list[str]) -> None:
    assert slices(dg.StaticPartitionsDefinition(keys)) == {}


def test_a_mirror_by_hash_partitions(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    """Each row is in one partition, in runs of one and of several, and what leaves the source is removed by its own."""
    ids, given = [f"c{number}" for number in range(40)], list[dict[str, Any]]()
    warehouse = Warehouse(url="duckdb://")

    @customerio_asset(
        Person(column="customer", behavior="mirror", delete_people=True),
        partitions_def=hash_partitions(4),
        incremental=Incremental(column="at"),
    )
    def people(context: dg.AssetExecutionContext) -> pl.LazyFrame:
        given.append(partition_parameters(context))
        rows = ", ".join(f"('{each}', 'free')" for each in ids)
        sql = f"select customer, plan, now() as at from (values {rows}) as t(customer, plan) where $full or now() >= $since"
        return warehouse.query(sql, where=partition_predicate(context), **incremental_parameters(context))

    assert dagster().run([people], partition="0-of-4").success
    some = len(sandbox.get("people"))
    assert dagster().run([people], partitions=("0-of-4", "2-of-4")).success
    assert some < len(sandbox.get("people")) < len(ids)
    assert dagster().run([people], partition="3-of-4").success
    assert sorted(person["id"] for person in sandbox.get("people")) == sorted(ids)
    assert [(each["partition_start"], each["partition_end"]) for each in given] == [("", "4000"), ("", "c000"), ("c000", "g")]

    gone = ids.pop()
    result = dagster().run([people], partitions=("0-of-4", "3-of-4"), config={"people": {"full_resync": True}})
    removed = [numbers(result, "people", partition)["removed"] for partition in hash_partitions(4).get_partition_keys()]
    assert sorted(removed) == [0, 0, 0, 1]
    assert gone not in {person["id"] for person in sandbox.get("people")}
    warehouse.close()


def test_rows_of_another_hash_partition_are_never_sent(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    """Whether the function gives one frame or one for each partition."""
    everybody = pl.DataFrame({"id": [str(number) for number in range(20)]})

    @customerio_asset(Person(), partitions_def=hash_partitions(2))
    def unfiltered() -> pl.DataFrame:
        return everybody

    @customerio_asset(Person(), partitions_def=range_partitions(["15", "2"]))
    def mixed(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return dict.fromkeys(context.partition_keys, everybody)

    for asset in (unfiltered, mixed):
        partition = asset.partitions_def.get_partition_keys()[0]  # type: ignore[union-attr]
        result = dagster().run([asset], partition=partition)
        [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
        assert "rows belong to no partition of this run (by the sync key in 'id')" in str(failure.step_failure_data.error)
    assert sandbox.get("people") == []


def test_events_by_hash_partitions_leave_history_out_as_those_of_a_whole_asset_do(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    @customerio_asset(ORDER, partitions_def=hash_partitions(2))
    def ordered() -> pl.LazyFrame:
        return ORDERS

    result = dagster().run([ordered], partitions=("0-of-2", "1-of-2"))
    assert numbers(result, "ordered", "0-of-2")["left_out"] + numbers(result, "ordered", "1-of-2")["left_out"] == 3
    assert not sandbox.get("events")
