"""Definitions whose source is a folder of Parquet files, as a test's user would write them; read from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import polars as pl

from cio_dagster import CustomerIO, CustomerIOIOManager, Event, Person, customerio_asset

SOURCE = Path(os.environ["SOURCE"])


def read(name: str) -> pl.DataFrame:
    return pl.read_parquet(SOURCE / f"{name}.parquet")


@dg.asset(group_name="warehouse")
def model() -> None:
    """Something upstream that is not Customer.io's."""
    (SOURCE / "model ran").touch()


@customerio_asset(Person(behavior="mirror", delete_people=True), deps=[model], group_name="customerio")
def people() -> pl.DataFrame:
    return read("people")


@customerio_asset(
    Event(row_id="row", name="seen"),
    deps=[people],
    group_name="customerio",
    partitions_def=dg.StaticPartitionsDefinition(["p", "q", "r"]),
)
def seen(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return read("seen").filter(pl.col("part") == context.partition_key).drop("part")


@customerio_asset(Person(), deps=[seen], key_prefix="after", group_name="customerio")
def all_people() -> pl.DataFrame:
    return read("people").with_columns(late=True)


url = os.environ["CIO_TRACK_URL"]
# Requests of a few rows, one at a time, so that a test can stop between them.
customerio = CustomerIO(
    site_id=dg.EnvVar("CIO_SITE_ID"),
    track_api_key=dg.EnvVar("CIO_TRACK_API_KEY"),
    track_url=url,
    app_url=url,
    concurrency=1,
    batch_bytes=1_000,
    attempts=1,
)
manager = CustomerIOIOManager(
    customerio=customerio, state=dg.EnvVar("CIO_STATE"), show_values=os.environ.get("SHOW_VALUES") != "no"
)
defs = dg.Definitions(assets=[model, people, seen, all_people], resources={"customerio": manager})
