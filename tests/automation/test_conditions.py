"""Automation conditions on Customer.io assets, as the README has them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import Device, Person, customerio_asset

EVERY_MORNING = dg.AutomationCondition.on_cron("0 8 * * *")
TABLES = dg.AssetSelection.assets("customers")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def syncs(condition: dg.AutomationCondition[Any], customers: Any) -> dg.Definitions:
    @customerio_asset(Person(), deps=[customers], automation_condition=condition)
    def people() -> pl.DataFrame:
        return pl.DataFrame({"id": ["a"]})

    @customerio_asset(Device(platform="platform"), deps=[people], automation_condition=condition)
    def devices() -> pl.DataFrame:
        return pl.DataFrame()

    return dg.Definitions(assets=[customers, people, devices], resources={"customerio": dg.mem_io_manager})


def requested(result: dg.EvaluateAutomationConditionsResult) -> set[str]:
    return {result_.key.to_user_string() for result_ in result.results if result_.true_subset.size}


def at(hour: int, minute: int, day: int = 2) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=timezone.utc)


def test_eager_follows_a_model_and_brings_what_is_downstream_in_the_same_run(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def customers() -> None: ...

    defs = syncs(dg.AutomationCondition.eager(), customers)
    first = dg.evaluate_automation_conditions(defs, instance)
    assert requested(first) == set()
    instance.report_runless_asset_event(dg.AssetMaterialization("customers"))
    second = dg.evaluate_automation_conditions(defs, instance, cursor=first.cursor)
    assert requested(second) == {"people", "devices"}
    assert requested(dg.evaluate_automation_conditions(defs, instance, cursor=second.cursor)) == set()


@pytest.mark.parametrize("ignored", [True, False])
def test_on_cron_of_tables_that_nothing_in_dagster_updates(instance: dg.DagsterInstance, ignored: bool) -> None:
    table = dg.AssetSpec("customers")
    defs = syncs(EVERY_MORNING.ignore(TABLES) if ignored else EVERY_MORNING, table)
    before = dg.evaluate_automation_conditions(defs, instance, evaluation_time=at(7, 59))
    assert requested(before) == set()
    tick = dg.evaluate_automation_conditions(defs, instance, cursor=before.cursor, evaluation_time=at(8, 1))
    # on_cron waits for what is upstream to be updated; Dagster never hears that of a table that it does not fill.
    assert requested(tick) == ({"people", "devices"} if ignored else set())
    later = dg.evaluate_automation_conditions(defs, instance, cursor=tick.cursor, evaluation_time=at(8, 2))
    assert requested(later) == set()
