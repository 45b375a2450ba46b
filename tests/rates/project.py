"""A code location for the tests beside it. Each row is a request, and an event that says which step sent it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg
import polars as pl

from cio_dagster import CustomerIO, CustomerIOIOManager, Event, customerio_asset

ROWS = int(os.environ["TEST_ROWS"])
EVENT = Event(row_id="id", key="anonymous_id", column="id", name_column="step", start="all")


def rows(step: str) -> pl.DataFrame:
    """A step's rows, once so many steps have begun as the test wants to be running side by side."""
    begun = Path(os.environ["TEST_BEGUN"])
    (begun / step).touch()
    while len(list(begun.iterdir())) < int(os.environ["TEST_TOGETHER"]):
        time.sleep(0.05)
    return pl.DataFrame({"id": [f"{step}-{n}" for n in range(ROWS)], "step": [step] * ROWS})


@customerio_asset(EVENT, partitions_def=dg.StaticPartitionsDefinition(["p0", "p1"]), retry_policy=None)
def parted(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return rows(context.partition_key)


@customerio_asset(EVENT, retry_policy=None)
def one() -> pl.DataFrame:
    return rows("one")


@customerio_asset(EVENT, retry_policy=None)
def two() -> pl.DataFrame:
    return rows("two")


defs = dg.Definitions(
    assets=[parted, one, two],
    jobs=[dg.define_asset_job("both", [one, two])],
    resources={
        "customerio": CustomerIOIOManager(
            customerio=CustomerIO(
                site_id="site",
                track_api_key="key",
                track_url=os.environ["TEST_URL"],
                requests_per_second=float(os.environ["TEST_RATE"]),
                burst=2,
                timeout=600,
            ),
            state=os.environ["TEST_STATE"],
        )
    },
)
