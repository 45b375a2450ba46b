"""From the launchpad: a dry run, what it shows, and the run that applies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from cio_dagster import Collection, ManualSegment, Person, customerio_asset
from cio_dagster.metadata import workspace_link
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, events, numbers


def observed(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of a dry run's observation."""
    assert result.success
    [event] = events(result, dg.DagsterEventType.ASSET_OBSERVATION)
    return {name: value.value for name, value in event.asset_observation_data.asset_observation.metadata.items()}


def people_of(frame: pl.DataFrame) -> dg.AssetsDefinition:
    @customerio_asset(Person(behavior="mirror", delete_people=True), key_prefix="cio")
    def people() -> pl.DataFrame:
        return frame

    return people


OP = "cio__people"
BEFORE = pl.DataFrame({"id": ["a", "b", "c"], "plan": ["free", "free", "pro"]})
AFTER = pl.DataFrame({"id": ["a", "b", "d"], "plan": ["free", "pro", "new"]})


def test_the_lines_that_a_dry_run_shows_apply_it(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    assert dagster().run([people_of(BEFORE)]).success
    shown = observed(dagster().run([people_of(AFTER)], config={OP: {"dry_run": True}}))
    counts = {
        "would_create": 1,
        "would_update": 1,
        "would_remove": 1,
        "unchanged": 1,
        "guards": "No guard would stop this run.",
    }
    assert shown | counts == shown
    changes = [record.data for record in shown["changes"].records]
    assert [each["operation"] for each in changes] == ["delete", "update", "create"]
    assert changes[1] | {"key": "b", "attribute": "plan", "before": '"free"', "after": '"pro"'} == changes[1]
    assert pl.read_csv(shown["plan_table"]).height == 3
    assert "customerio" not in shown, "a sandbox has no pages of Customer.io's"

    lines = str(shown["apply"]).split("```")[1].removeprefix("yaml")
    config = {name: op["config"] for name, op in yaml.safe_load(lines)["ops"].items()}
    result = dagster().run([people_of(BEFORE)], config=config)
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert not events(result, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "Nothing was sent: by now the source's plan differs from plan" in str(data.description)
    assert data.metadata["differing_operations"].value == 3
    assert {record.data["key"] for record in data.metadata["differences"].value.records} == {"b", "c", "d"}  # type: ignore[union-attr]

    done = dagster().run([people_of(AFTER)], config=config)
    assert numbers(done, OP) | {"created": 1, "updated": 1, "removed": 1} == numbers(done, OP)
    assert {each["id"]: each["attributes"]["plan"] for each in sandbox.get("people")} == {"a": "free", "b": "pro", "d": "new"}


def test_a_guards_verdict_is_shown(dagster: Callable[..., Dagster]) -> None:
    assert dagster().run([people_of(BEFORE)]).success
    shown = observed(dagster().run([people_of(BEFORE.clear())], config={OP: {"dry_run": True}}))
    assert "the source is empty" in shown["guards"]


def test_what_a_limit_leaves_is_no_failure(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    result = dagster().run([people_of(BEFORE)], config={OP: {"limit": 1}})
    found = numbers(result, OP)
    assert (found["created"], found["pending"], found["left_by_limit"], found["dagster/row_count"]) == (1, 2, 2, 1)
    [check] = [event.asset_check_evaluation_data for event in events(result, dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    assert check.passed
    assert check.description == "By its limit, the run leaves 2 operations for the next."
    result = dagster().run([people_of(BEFORE)], config={OP: {"only_keys": ["b", "c"]}})
    found = numbers(result, OP)
    assert found["not_chosen"] == 1
    assert "dagster/row_count" not in found
    assert len(sandbox.get("people")) == 1 + found["created"]


def test_partitions_are_applied_one_by_one(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    frames = {key: BEFORE.select("id") for key in ("x", "y")}

    @customerio_asset(
        ManualSegment(name="s"),
        partitions_def=dg.StaticPartitionsDefinition(["x", "y", "z"]),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def members(context: dg.AssetExecutionContext) -> dict[str, pl.DataFrame]:
        return {key: frames[key] for key in context.partition_keys}

    assert dagster().run([people_of(BEFORE)]).success
    dry = dagster().run([members], partitions=("x", "y"), config={"members": {"dry_run": True, "limit": 2}})
    applied = dagster().run([members], partitions=("x", "y"), config={"members": {"apply": dry.run_id}})
    assert [numbers(applied, "members", key)["created"] for key in ("x", "y")] == [2, 2]


@pytest.mark.parametrize(
    ("spec", "region", "path"),
    [
        (Person(), "us", "https://fly.customer.io/workspaces/7/journeys/people"),
        (ManualSegment(id=3), "eu", "https://eu.fly.customer.io/workspaces/7/journeys/segments/3/overview"),
        (Collection(name="Plans"), "us", "https://fly.customer.io/workspaces/7"),
    ],
)
def test_links_lead_to_the_workspace(spec: Any, region: str, path: str) -> None:
    assert workspace_link(spec, region, 7).value == path
