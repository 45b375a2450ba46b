"""Several workspaces in one code location, each a sandbox of its own; and deployments that may only look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import (
    CustomerIO,
    CustomerIOIOManager,
    ManualSegment,
    Person,
    build_customerio_checks,
    customerio_asset,
    outcomes,
)
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from tests.assets.conftest import Dagster, numbers

BRANCH = "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT"
KEYS = {"us": "key-of-us", "eu": "key-of-eu"}


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, RunningSandbox]]:
    """Two workspaces, each of which takes its own credentials alone."""
    with (
        run_sandbox("--track-key", KEYS["us"], "--set", "environment_id=1") as us,
        run_sandbox("--track-key", KEYS["eu"], "--set", "environment_id=2", "--set", "region=eu") as eu,
    ):
        yield {"us": us, "eu": eu}


@pytest.fixture
def sandboxes(both: dict[str, RunningSandbox]) -> dict[str, RunningSandbox]:
    for sandbox in both.values():
        sandbox.reset()
    return both


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def manager(
    sandbox: RunningSandbox, name: str, folder: Path, workspace: str | None = None, **options: Any
) -> CustomerIOIOManager:
    customerio = CustomerIO(
        site_id="site",
        track_api_key=KEYS[name],
        app_api_key="app",
        region=name,
        workspace=workspace or name,
        track_url=sandbox.url,
        app_url=sandbox.url,
    )
    return CustomerIOIOManager(customerio=customerio, state=str(folder), **options)


def syncs(workspace: str, rows: pl.DataFrame, **options: Any) -> list[dg.AssetsDefinition]:
    """The same syncs for one of several workspaces."""
    given: dict[str, Any] = {"io_manager_key": workspace, "pool": workspace, "retry_policy": None} | options

    @customerio_asset(Person(), key_prefix=workspace, **given)
    def people() -> pl.DataFrame:
        return rows

    @customerio_asset(ManualSegment(name="VIP", behavior="mirror"), key_prefix=workspace, deps=[people], **given)
    def vips() -> pl.DataFrame:
        return rows.select("id").head(1)

    return [people, vips]


def test_two_workspaces_side_by_side(
    sandboxes: dict[str, RunningSandbox], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    rows = {name: pl.DataFrame({"id": [f"{name}-1", f"{name}-2"], "plan": [name, name]}) for name in KEYS}
    assets = [asset for name in KEYS for asset in syncs(name, rows[name])]
    run = Dagster(instance, {name: manager(sandboxes[name], name, tmp_path) for name in KEYS})
    result = run.run([*assets, *build_customerio_checks(assets)])
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    for name, sandbox in sandboxes.items():
        assert {person["id"] for person in sandbox.get("people")} == set(rows[name]["id"])
        [segment] = sandbox.get("segments")
        assert len(segment["members"]) == 1
        assert set(outcomes(tmp_path, workspace=name).collect()["key"].drop_nulls()) == set(rows[name]["id"])
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["eu", "us"]


def test_the_same_assets_go_where_the_environment_says(
    sandboxes: dict[str, RunningSandbox], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Staging and production with one CIO_STATE: what one has accepted does not count for the other."""
    rows = pl.DataFrame({"id": ["a"]})
    [people, _] = syncs("customerio", rows)
    for name in KEYS:
        run = Dagster(instance, {"customerio": manager(sandboxes[name], name, tmp_path)})
        assert numbers(run.run([people]), "customerio__people")["created"] == 1
    assert numbers(run.run([people]), "customerio__people")["unchanged"] == 1
    assert [len(sandbox.get("people")) for sandbox in sandboxes.values()] == [1, 1]


def test_workspaces_of_one_name_do_not_mix(
    sandboxes: dict[str, RunningSandbox], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    [people, _] = syncs("customerio", pl.DataFrame({"id": ["a"]}))
    assert Dagster(instance, {"customerio": manager(sandboxes["us"], "us", tmp_path, "same")}).run([people]).success
    result = Dagster(instance, {"customerio": manager(sandboxes["eu"], "eu", tmp_path, "same")}).run([people])
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "is the state of workspace 1, but the credentials belong to workspace 2" in str(
        failure.step_failure_data.user_failure_data
    )
    assert sandboxes["eu"].get("people") == []


def test_a_branch_deployment_can_only_look(
    sandboxes: dict[str, RunningSandbox], instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pl.DataFrame({"id": ["a"]})
    [people, _] = syncs("customerio", rows, retry_policy=dg.RetryPolicy(max_retries=1))

    @dg.asset(metadata=Person().to_metadata(), io_manager_key="customerio")
    def plain() -> pl.DataFrame:
        return rows

    sandbox = sandboxes["us"]
    run = Dagster(instance, {"customerio": manager(sandbox, "us", tmp_path)})
    monkeypatch.setenv(BRANCH, "1")
    result = run.run([people, plain])
    assert not result.success
    failures = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert len(failures) == 2
    assert all("this is a branch deployment, where runs may be dry only" in str(failure) for failure in failures)
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert sandbox.get("requests") == []
    assert not (tmp_path / "us").exists()

    result = run.run([people], config={"customerio__people": {"dry_run": True}})
    assert result.success
    [observed] = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    assert observed.asset_observation_data.asset_observation.metadata["would_create"].value == 1
    assert sandbox.get("people") == []

    allowed = Dagster(instance, {"customerio": manager(sandbox, "us", tmp_path, branch_deployments_send=True)})
    assert allowed.run([people]).success
    monkeypatch.setenv(BRANCH, "0")
    assert run.run([plain]).success
    assert len(sandbox.get("people")) == 1
