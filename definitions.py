"""The demo: a subscription product's warehouse as Customer.io objects. Also the pattern to copy.

Everything is read from the environment. Unset, it means the demo: the local Customer.io and the generated warehouse of `make dev`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import polars as pl

from cio_dagster import (
    CustomerIO,
    CustomerIOIOManager,
    Device,
    Event,
    Freshness,
    ManualSegment,
    Object,
    Person,
    Relationship,
    Warehouse,
    build_customerio_checks,
    build_customerio_plan_jobs,
    build_warehouse_sensor,
    customerio_asset,
    partition_parameters,
)

HERE = Path(__file__).parent
DEMO = "CIO_SITE_ID" not in os.environ


def setting(name: str, demo: str) -> str:
    """A variable of the environment, read by Dagster when it is used, or the demo's value where it is unset."""
    return dg.EnvVar(name) if name in os.environ else demo


# The warehouse's tables, which something else fills: they are here for the lineage.
TABLES = ["customers", "devices", "orders", "plans", "accounts", "account_members"]
tables = [dg.AssetSpec(["raw", name], group_name="warehouse", kinds={"duckdb", "table"}) for name in TABLES]


def table(name: str) -> dg.AssetKey:
    """The asset key of a warehouse table."""
    return dg.AssetKey(["raw", name])


def loaded_at(name: str) -> str:
    """The query that says when a warehouse table was loaded last."""
    return f"select loaded_at from raw.loads where table_name = '{name}'"


@customerio_asset(
    Person(key="id", column="customer_id", behavior="update_or_create", dates={"birth_date": "iso"}),
    group_name="customerio",
    deps=[table("customers")],
)
def people(warehouse: Warehouse) -> pl.LazyFrame:
    """Every customer, by id."""
    return warehouse.query("people.sql").with_columns(full_name=pl.concat_str("first_name", "last_name", separator=" "))


@customerio_asset(
    Device(key="id", column="customer_id", last_used="last_seen_at", behavior="mirror"),
    group_name="customerio",
    deps=[table("devices"), people],
)
def devices(warehouse: Warehouse) -> pl.LazyFrame:
    """The phones that can get a push; those that leave the table are deleted."""
    return warehouse.query("devices.sql")


ORDER_DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_offset=1)


@customerio_asset(
    Event(row_id="order_id", key="id", column="customer_id", name_column="event_name", timestamp="ordered_at"),
    group_name="customerio",
    deps=[table("orders"), people],
    partitions_def=ORDER_DAYS,
    partition_expr="ordered_at",
)
def orders(context: dg.AssetExecutionContext, warehouse: Warehouse) -> pl.LazyFrame:
    """Each order is one event, sent once. A partition is a day."""
    return warehouse.query("orders.sql", **partition_parameters(context))


@customerio_asset(
    ManualSegment(name="VIP customers", key="id", column="customer_id", behavior="mirror"),
    group_name="customerio",
    deps=[table("customers"), people],
)
def vip_customers(warehouse: Warehouse) -> pl.LazyFrame:
    """Who spends most; those who no longer do leave the segment."""
    return warehouse.query("vip_customers.sql")


@customerio_asset(
    Object(object_type_id=1, column="account_id", behavior="mirror", nulls="clear"),
    group_name="customerio",
    deps=[table("accounts")],
)
def accounts(warehouse: Warehouse) -> pl.LazyFrame:
    """Companies, as objects of type 1."""
    return warehouse.query("accounts.sql")


@customerio_asset(
    Relationship(object_type_id=1, object_column="account_id", key="id", column="customer_id", behavior="mirror"),
    group_name="customerio",
    deps=[table("account_members"), accounts, people],
)
def account_members(warehouse: Warehouse) -> pl.LazyFrame:
    """Who belongs to which company, in which role."""
    return warehouse.query("account_members.sql")


@cache  # and a function, as Dagster wants one Definitions object in a module
def written_in_yaml() -> dg.Definitions:
    """What `defs/` holds: the price list."""
    return dg.load_from_defs_folder(path_within_project=HERE)


plans = written_in_yaml().get_assets_def("plans")

SYNCS = [people, devices, orders, plans, vip_customers, accounts, account_members]

# After each run: is all as planned, does Customer.io hold it, is a guard near, and was the table that it came from loaded of late?
CHECKS = build_customerio_checks(SYNCS, freshness={people: Freshness(loaded_at("customers"), within=timedelta(hours=26))})

# Where it all ends up, so that the lineage reads table -> asset -> Customer.io.
workspace = dg.AssetSpec("customerio_workspace", group_name="customerio", deps=SYNCS, kinds={"customerio"})

everything_but_orders = dg.define_asset_job("sync_all", [sync for sync in SYNCS if sync is not orders])
one_day_of_orders = dg.define_asset_job("sync_orders", [orders])

every_hour = dg.ScheduleDefinition(name="sync_all_hourly", job=everything_but_orders, cron_schedule="0 * * * *")
every_night = dg.build_schedule_from_partitioned_job(one_day_of_orders, name="sync_orders_nightly", hour_of_day=1)


# Asks every half minute which tables were loaded since, and runs the syncs of those: of the orders, the days that came with the load.
warehouse_changes = build_warehouse_sensor(
    SYNCS,
    {table(name): loaded_at(name) for name in TABLES},
    partitions={
        orders: "select distinct ordered_at::date from raw.orders where ordered_at >= $since::date and ordered_at < $until::date"
    },
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)


customerio = CustomerIO(
    site_id=setting("CIO_SITE_ID", "demo-site"),
    track_api_key=setting("CIO_TRACK_API_KEY", "demo-track-key"),
    app_api_key=setting("CIO_APP_API_KEY", "demo-app-key"),
    region=os.environ.get("CIO_REGION", "us"),
    track_url=os.environ.get("CIO_TRACK_URL", "http://127.0.0.1:8090" if DEMO else None),
    app_url=os.environ.get("CIO_APP_URL", "http://127.0.0.1:8090" if DEMO else None),
)

defs = dg.Definitions.merge(
    written_in_yaml(),
    dg.Definitions(
        assets=[*tables, *(sync for sync in SYNCS if sync is not plans), workspace],
        asset_checks=CHECKS,
        jobs=[everything_but_orders, one_day_of_orders, *build_customerio_plan_jobs(SYNCS)],
        schedules=[every_hour, every_night],
        sensors=[warehouse_changes],
        resources={
            "warehouse": Warehouse(
                url=setting("CIO_WAREHOUSE", f"duckdb:///{HERE / '.demo' / 'warehouse.duckdb'}"), sql_folder=str(HERE / "sql")
            ),
            "customerio": CustomerIOIOManager(
                customerio=customerio, state=os.environ.get("CIO_STATE", str(HERE / ".demo" / "state"))
            ),
        },
    ),
)
