"""A code location whose runs fail in every way, with secrets everywhere."""

from __future__ import annotations

import os
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster import CustomerIO, CustomerIOIOManager, ManualSegment, Person, Warehouse, customerio_asset

PEOPLE = pl.DataFrame({"id": ["a", "b"], "plan": ["free", "pro"]})
OPTIONS: dict[str, Any] = {"pool": None, "retry_policy": None}


def workspace(key: str, url: str) -> CustomerIOIOManager:
    return CustomerIOIOManager(
        customerio=CustomerIO(
            site_id=dg.EnvVar("TEST_SITE"),
            track_api_key=dg.EnvVar(key),
            app_api_key=dg.EnvVar("TEST_APP_KEY"),
            track_url=os.environ[url],
            app_url=os.environ[url],
            attempts=2,
            longest_backoff=0,
        ),
        state=os.environ["TEST_STATE"],
    )


@customerio_asset(Person(), **OPTIONS)
def good() -> pl.DataFrame:
    return PEOPLE


@customerio_asset(ManualSegment(name="VIP", behavior="mirror"), **OPTIONS)
def good_segment() -> pl.DataFrame:
    return PEOPLE.select("id")


@customerio_asset(ManualSegment(name="Guarded", behavior="mirror", max_delete=0), **OPTIONS)
def guarded() -> pl.DataFrame:
    """Empty the second time."""
    return PEOPLE.select("id").head(int(os.environ["TEST_ROWS"]))


@customerio_asset(Person(), io_manager_key="wrong", **OPTIONS)
def refused() -> pl.DataFrame:
    return PEOPLE


@customerio_asset(Person(), io_manager_key="down", **OPTIONS)
def unavailable() -> pl.DataFrame:
    return PEOPLE


@customerio_asset(Person(), **OPTIONS)
def unreachable(postgres: Warehouse) -> pl.LazyFrame:
    return postgres.query("select 1 as id")


@customerio_asset(Person(), **OPTIONS)
def bad_sql(duckdb: Warehouse) -> pl.LazyFrame:
    return duckdb.query("select nothing from nowhere")


@customerio_asset(Person(), required_resource_keys=set(), **OPTIONS)
def crash(context: dg.AssetExecutionContext, postgres: Warehouse) -> pl.LazyFrame:
    manager = context.resources.customerio
    everything = [manager, manager.customerio, manager.customerio.connection(), postgres]
    print(everything)
    context.log.info(f"{everything}")
    raise RuntimeError(f"crashed with {everything!r} {[str(each) for each in everything]}")


defs = dg.Definitions(
    assets=[good, good_segment, guarded, refused, unavailable, unreachable, bad_sql, crash],
    jobs=[dg.define_asset_job("everything", executor_def=dg.in_process_executor)],
    resources={
        "customerio": workspace("TEST_TRACK_KEY", "TEST_URL"),
        "wrong": workspace("TEST_WRONG_KEY", "TEST_URL"),
        "down": workspace("TEST_TRACK_KEY", "TEST_DOWN_URL"),
        "postgres": Warehouse(url=dg.EnvVar("TEST_POSTGRES")),
        "duckdb": Warehouse(url="duckdb://"),
    },
)
