"""A code location whose steps run in Celery workers. Each of its events is a request, and says which step sent it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg
import polars as pl
from dagster_celery import celery_executor

from cio_dagster import CustomerIO, CustomerIOIOManager, Event, Person, customerio_asset

RATE, BURST, SLOTS = 30.0, 2, 2
"""Requests a second, those of a burst, and the slots of the pool: a step has half of it."""

EVENTS, PEOPLE = 40, 300
"""Rows of an asset."""


def events(name: str) -> dg.AssetsDefinition:
    @customerio_asset(Event(row_id="id", key="anonymous_id", column="id", name_column="of", start="all"), name=name)
    def sent(context: dg.AssetExecutionContext) -> pl.DataFrame:
        """New ones in each run, once as many steps of it have begun as are to send at the same time."""
        run = context.run
        begun = Path(os.environ["TEST_BEGUN"]) / run.run_id
        begun.mkdir(parents=True, exist_ok=True)
        (begun / name).touch()
        while len(list(begun.iterdir())) < int(run.tags.get("together", "1")):
            time.sleep(0.05)
        return pl.DataFrame({"id": [f"{run.run_id}-{name}-{n}" for n in range(EVENTS)], "of": [name] * EVENTS})

    return sent


@customerio_asset(Person(behavior="mirror", delete_people=True))
def people() -> pl.DataFrame:
    return pl.DataFrame({"id": [f"p{n}" for n in range(PEOPLE)], "note": ["x" * 900] * PEOPLE})


defs = dg.Definitions(
    assets=[*(events(name) for name in ("a", "b", "c")), people],
    jobs=[dg.define_asset_job("everything")],
    executor=celery_executor.configured({"broker": {"env": "CELERY_BROKER"}, "backend": {"env": "CELERY_BROKER"}}),
    resources={
        "customerio": CustomerIOIOManager(
            customerio=CustomerIO(
                site_id="site",
                track_api_key=dg.EnvVar("CIO_TRACK_API_KEY"),
                track_url=dg.EnvVar("CIO_TRACK_URL"),
                requests_per_second=RATE,
                burst=BURST,
                batch_bytes=12_000,
                timeout=600,
            ),
            state=dg.EnvVar("CIO_STATE"),
        )
    },
)


def everything() -> dg.JobDefinition:
    return defs.resolve_job_def("everything")
