"""The warehouse sensor: real queries, a real instance, and the runs that it asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from cio_dagster import Device, Event, Person, SpecError, Warehouse, build_warehouse_sensor, customerio_asset
from cio_dagster.errors import SyncError

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01")
SHOPS = dg.DynamicPartitionsDefinition(name="shops")


@customerio_asset(Person(), deps=["customers"])
def people() -> pl.DataFrame:
    return pl.DataFrame({"id": ["a"]})


@customerio_asset(Device(platform="platform"), deps=["phones", people])
def devices() -> pl.DataFrame:
    return pl.DataFrame()


@customerio_asset(Event(row_id="row", name="ordered"), deps=["purchases", people], partitions_def=DAYS)
def orders() -> pl.DataFrame:
    return pl.DataFrame()


SYNCS = [people, devices, orders]
WATERMARKS = {
    "customers": "select max(came), count(*) from customers",
    "phones": "select max(came) from phones",
    "purchases": "select max(came) from purchases",
}
CHANGED_DAYS = {orders: "select distinct came::date from purchases where came > $since and came <= $until"}


@dataclass
class Watch:
    """A sensor over a warehouse, looking again and again."""

    instance: dg.DagsterInstance
    path: Path
    sensor: dg.SensorDefinition
    cursor: str | None = None

    def sql(self, text: str) -> None:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute(text)

    def look(self, *, keep: bool = True) -> dg.SensorResult:
        warehouse = Warehouse(url=f"duckdb:///{self.path}")
        given: Any = {"instance": self.instance, "cursor": self.cursor, "resources": {"warehouse": warehouse}}
        with dg.build_sensor_context(**given) as context:
            result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        if keep:
            self.cursor = result.cursor
        return result

    def asked(self) -> list[tuple[list[str], str | None]]:
        return [
            ([key.to_user_string() for key in request.asset_selection or ()], request.partition_key)
            for request in self.look().run_requests or ()
        ]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


@pytest.fixture
def watch(instance: dg.DagsterInstance, tmp_path: Path) -> Callable[..., Watch]:
    def make(watermarks: Any = WATERMARKS, partitions: Any = CHANGED_DAYS, assets: Any = SYNCS, **options: Any) -> Watch:
        watch = Watch(
            instance, tmp_path / "w.duckdb", build_warehouse_sensor(assets, watermarks, partitions=partitions, **options)
        )
        watch.sql("set timezone = 'UTC'")
        for name in ("customers", "phones", "purchases"):
            watch.sql(f"create table {name} as select '2026-01-05 12:00:00Z'::timestamptz as came")
        return watch

    return make


def change(watch: Watch, table: str, when: str = "2026-01-06 12:00:00Z") -> None:
    watch.sql(f"insert into {table} values ('{when}')")


def run_of(watch: Watch, run_key: str | None, status: dg.DagsterRunStatus) -> None:
    job = dg.Definitions(assets=[dg.asset(lambda: None, name="anything")]).resolve_implicit_global_asset_job_def()
    watch.instance.create_run_for_job(job, tags={"dagster/run_key": run_key or ""}, status=status)


def test_only_what_changed_is_asked_for(watch: Callable[..., Watch]) -> None:
    found = watch()
    first = found.look()
    assert (first.run_requests, first.skip_reason.skip_message) == (  # type: ignore[union-attr]
        [],
        "This is the first look: what is there now counts as known.",
    )
    again = found.look()
    assert again.skip_reason.skip_message == "No table has changed since the last look."  # type: ignore[union-attr]
    assert again.cursor == first.cursor
    change(found, "phones")
    assert found.asked() == [(["devices"], None)]
    assert found.asked() == []
    # A row that is gone leaves the newest time as it was; the count tells.
    found.sql("delete from customers")
    change(found, "customers", "2026-01-05 12:00:00Z")
    assert found.asked() == []
    change(found, "customers", "2026-01-04 12:00:00Z")
    change(found, "phones", "2026-01-07 12:00:00Z")
    # One run for both: people before their devices.
    assert found.asked() == [(["devices", "people"], None)]
    change(found, "purchases")
    change(found, "purchases", "2026-01-07 00:00:00Z")
    assert found.asked() == [(["orders"], "2026-01-06"), (["orders"], "2026-01-07")]
    change(found, "purchases", "2026-01-07 23:00:00Z")
    change(found, "purchases", "2026-03-01 00:00:00Z")  # After the last partition.
    assert found.asked() == [(["orders"], "2026-01-07")]


def test_the_same_change_has_the_same_run_keys_and_another_one_others(watch: Callable[..., Watch]) -> None:
    found = watch()
    found.look()
    keys = []
    for _ in range(2):  # There, back, and there again.
        change(found, "phones")
        change(found, "purchases", "2026-01-09 12:00:00Z")
        lost, kept = found.look(keep=False), found.look()
        assert [request.run_key for request in lost.run_requests or ()] == [
            request.run_key for request in kept.run_requests or ()
        ]
        keys += [request.run_key for request in kept.run_requests or ()]
        for name in ("phones", "purchases"):
            found.sql(f"delete from {name} where came > '2026-01-05 12:00:00Z'")
        keys += [request.run_key for request in found.look().run_requests or ()]
    assert len(keys) == 6
    assert len(set(keys)) == 6


def test_partitions_wait_for_the_people_of_the_same_load(watch: Callable[..., Watch]) -> None:
    found = watch()
    found.look()
    for table in ("customers", "purchases"):
        change(found, table)
    [request] = found.look().run_requests or ()
    assert [key.path for key in request.asset_selection or ()] == [["people"]]
    run_of(found, request.run_key, dg.DagsterRunStatus.STARTED)
    waiting = found.look()
    assert waiting.skip_reason.skip_message == "Waiting for the run of what is upstream: orders."  # type: ignore[union-attr]
    # Another load meanwhile: it does not have to wait for that one too.
    change(found, "customers", "2026-01-08 12:00:00Z")
    change(found, "purchases", "2026-01-08 12:00:00Z")
    assert found.asked() == [(["people"], None)]
    [run] = found.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key or ""}))
    found.instance.report_run_failed(run)
    assert found.asked() == [(["orders"], "2026-01-06"), (["orders"], "2026-01-08")]
    assert found.asked() == []


def test_one_failing_query_does_not_keep_the_others_back(watch: Callable[..., Watch]) -> None:
    found = watch()
    found.look()
    for table in ("customers", "phones"):
        change(found, table)
    found.sql("alter table customers rename to elsewhere")
    assert found.asked() == [(["devices"], None)]
    skipped = found.look().skip_reason
    assert skipped is not None
    assert "customers could not be asked for changes: the query: Catalog Error" in str(skipped.skip_message)
    found.sql("alter table elsewhere rename to customers")
    assert found.asked() == [(["people"], None)]
    for table in ("customers", "phones", "purchases"):
        found.sql(f"drop table {table}")
    with pytest.raises(SyncError, match=r"(?s)customers could not be asked .*purchases could not be asked"):
        found.look()


def test_a_failing_query_for_partitions_is_tried_again(watch: Callable[..., Watch]) -> None:
    found = watch(partitions={orders: "select day from days where $since < $until"})
    found.look()
    change(found, "purchases")
    change(found, "phones")
    assert found.asked() == [(["devices"], None)]
    found.sql("create table days as select unnest(['2026-01-06', null]) as day")
    assert found.asked() == [(["orders"], "2026-01-06")]


def test_a_lost_cursor_asks_for_nothing_unless_told_so(watch: Callable[..., Watch]) -> None:
    found = watch(partitions={orders: lambda since, until: [until] if since is None else [since, until]}, first_look="request")
    assert found.asked() == [(["devices", "people"], None)]
    run_of(found, json.loads(found.cursor or "")["held"]["orders"], dg.DagsterRunStatus.SUCCESS)
    assert found.asked() == [(["orders"], "2026-01-05")]
    change(found, "purchases", "2026-01-07 12:00:00Z")
    assert found.asked() == [(["orders"], "2026-01-05"), (["orders"], "2026-01-07")]
    found.cursor = "garbage"
    with pytest.raises(SpecError, match=r"cursor is none that it wrote .*: reset it"):
        found.look()


def test_the_watermarks_before_and_now_have_the_type_of_the_query(watch: Callable[..., Watch]) -> None:
    given: list[Any] = []
    for sql in ("select max(came) from purchases", "select count(*) from purchases", "select max(came)::date from purchases"):
        given.clear()

        def tell(since: Any, until: Any) -> list[str]:
            given.extend((since, until))
            return []

        found = watch(watermarks={"purchases": sql}, partitions={orders: tell})
        found.look()
        change(found, "purchases")
        assert found.asked() == []
        since, until = given
        assert type(since) is type(until)
        assert since < until
        if "::date" not in sql and "max" in sql:
            assert since == datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
        for table in ("customers", "phones", "purchases"):
            found.sql(f"drop table {table}")


def test_new_keys_of_dynamic_partitions_are_added(watch: Callable[..., Watch]) -> None:
    @customerio_asset(Person(), deps=["customers"], partitions_def=SHOPS)
    def customers_of_shops() -> pl.DataFrame:
        return pl.DataFrame()

    found = watch(
        assets=[customers_of_shops],
        watermarks={"customers": "select count(*) from customers"},
        partitions={customers_of_shops: lambda since, until: ["north", "south"]},
    )
    found.instance.add_dynamic_partitions("shops", ["north"])
    found.look()
    change(found, "customers")
    result = found.look()
    assert [request.partition_key for request in result.run_requests or ()] == ["north", "south"]
    [added] = result.dynamic_partitions_requests or ()
    assert (added.partitions_def_name, list(added.partition_keys)) == ("shops", ["south"])


def test_several_rows_are_no_watermark(watch: Callable[..., Watch]) -> None:
    found = watch(watermarks={"phones": "select unnest([1, 2])", "customers": "select 1"}, partitions={})
    found.look()
    assert "A watermark query gives one row; 'select unnest([1, 2])' gave 2." in str(found.look().skip_reason)


@pytest.mark.parametrize(
    ("watermarks", "partitions", "words"),
    [
        ({"nowhere": "select 1"}, {}, "watermarks names nowhere, which none of the assets depends on; they do on customers, "),
        ({"purchases": "select 1"}, {}, "orders has partitions: say in partitions= which of them have changed"),
        ({"customers": "select 1"}, {people: "select 1"}, "people has no partitions"),
        ({"customers": "select 1"}, {"nobody": "select 1"}, "partitions names nobody, which are not among the assets"),
    ],
)
def test_what_cannot_work_is_refused_when_it_loads(watermarks: Any, partitions: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        build_warehouse_sensor(SYNCS, watermarks, partitions=partitions)
