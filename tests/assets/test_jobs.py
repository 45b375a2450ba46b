"""The jobs `customerio_plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster import Event, ManualSegment, Person, build_customerio_checks, build_customerio_plan_jobs, customerio_asset
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, events

ROWS = pl.DataFrame({"id": ["1", "2"], "n": ["1", "2"], "day": ["mon", "tue"]})
DAYS = dg.StaticPartitionsDefinition(["mon", "tue"])


@customerio_asset(Person())
def people() -> pl.DataFrame:
    return ROWS


@customerio_asset(ManualSegment(name="s"), deps=[people], key_prefix="cio")
def members() -> pl.DataFrame:
    return ROWS.select("id")


@customerio_asset(Event(row_id="n", name="seen", start="all"), partitions_def=DAYS, partition_expr="day")
def seen(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return ROWS.filter(pl.col("day") == context.partition_key)


@customerio_asset(Event(row_id="n", name="heard"), partitions_def=dg.StaticPartitionsDefinition(["x"]))
def heard() -> pl.DataFrame:
    return ROWS


@dg.asset(metadata=Person().to_metadata(), io_manager_key="customerio")
def plain() -> pl.DataFrame:
    return ROWS


@dg.asset
def other() -> None: ...


SYNCS = [people, members, seen, heard, plain, other]


def test_they_plan_everything_and_send_nothing(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    here = dagster()
    jobs = build_customerio_plan_jobs(SYNCS)
    assert [job.name for job in jobs] == ["customerio_plan", "customerio_plan_seen", "customerio_plan_heard"]
    checks = build_customerio_checks([people, members])
    definitions = dg.Definitions(assets=SYNCS, asset_checks=checks, jobs=jobs, resources=here.resources)

    def run(job: str, **options: Any) -> dict[str, dict[str, Any]]:
        result = definitions.resolve_job_def(job).execute_in_process(instance=here.instance, **options)
        assert result.success
        observed = [
            each.asset_observation_data.asset_observation for each in events(result, dg.DagsterEventType.ASSET_OBSERVATION)
        ]
        return {
            each.asset_key.to_user_string(): {name: value.value for name, value in each.metadata.items()} for each in observed
        }

    found = run("customerio_plan")
    assert {name: each["would_create"] for name, each in found.items()} == {"people": 2, "cio/members": 2}
    sends = {"ops": {"people": {"config": {"dry_run": False, "only_keys": ["1"]}}}}
    found = run("customerio_plan", run_config=sends)
    assert {name: each["would_create"] for name, each in found.items()} == {"people": 1, "cio/members": 2}
    assert run("customerio_plan_seen", partition_key="tue")["seen"]["would_send"] == 1
    assert here.instance.fetch_materializations(people.key, 1).records == []
    assert {request["method"] for request in sandbox.get("requests")} == {"GET"}


def test_they_send_nothing_without_their_tags_either(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    # As from the UI, which launches a job without its run tags.
    here = dagster()
    jobs = build_customerio_plan_jobs([people])
    definitions = dg.Definitions(assets=[people], jobs=jobs, resources=here.resources)
    tags = {"customerio/dry_run": "false", "dagster/defer_asset_events": "false"}
    result = definitions.resolve_job_def("customerio_plan").execute_in_process(instance=here.instance, tags=tags)
    assert result.success
    assert not result.asset_materializations_for_node("people")
    assert sandbox.get("people") == []
