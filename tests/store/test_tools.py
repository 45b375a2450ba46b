"""What stands on the state, where that is in an object store: `cio-state`, and assets in Dagster."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cio_dagster import (
    CustomerIO,
    CustomerIOIOManager,
    ManualSegment,
    Object,
    Person,
    build_customerio_checks,
    customerio_asset,
    hash_partitions,
    places,
)
from cio_dagster.key_partitions import slices
from cio_dagster.partitions import split
from cio_dagster.places import StorePath
from cio_dagster.state import FORGOTTEN, AssetState, all_states
from tests.engine import APP_KEY, SITE, TRACK_KEY, Engine
from tests.state_cli.test_cli import credentials, people, run

VIP = ManualSegment(name="VIP", behavior="mirror")


def test_the_command_shows_and_mends(remote: Engine, tmp_path: Path) -> None:
    people(remote, "a", "b")
    remote.sync(VIP, [{"id": "a"}, {"id": "b"}], asset="vip")
    remote.sync(Person(), [{"id": "a", "plan": "pro"}], asset="people", partition="eu/1")
    remote.sync(Person(), [{"id": "a", "plan": "free"}], asset="people", partition="eu/1")
    listed = run(remote, "list").output
    for words in ("vip", "eu/1", "person", "run-3", "kB"):
        assert words in listed
    assert "free" in run(remote, "show", "people").output
    assert "pro" in run(remote, "history", "people", "--version", "0").output
    assert "accepted" in run(remote, "outcomes", "people", "--run", "run-3").output
    run(remote, "export", "people", str(tmp_path / "people.csv"))
    assert pl.read_csv(tmp_path / "people.csv")["plan"].to_list() == ["free"]
    with remote.state("vip").lock("their-run"):
        assert "their-run" in run(remote, "list").output
    run(remote, "forget", "people", "--key", "a", "--yes")
    run(remote, "rebuild", "vip", "--yes", **credentials(remote))
    assert "Moved to" in run(remote, "forget", "people", "--yes").output
    assert [state.asset for state in all_states(remote.root)] == ["vip"]
    [moved] = places.folders(remote.root / FORGOTTEN)
    assert places.is_folder(remote.root / FORGOTTEN / moved / "workspace" / "people" / "partition=eu~2F1" / "snapshot")
    assert remote.sync(VIP, [{"id": "a"}, {"id": "b"}], asset="vip").requests == 0


def test_assets_load_check_and_plan(remote: Engine, root: StorePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIO_STATE", str(root))
    url = remote.sandbox.url
    customerio = CustomerIO(
        site_id=SITE, track_api_key=TRACK_KEY, app_api_key=APP_KEY, track_url=url, app_url=url, workspace="workspace"
    )
    manager = CustomerIOIOManager(customerio=customerio, state=dg.EnvVar("CIO_STATE"))
    seen: list[list[str]] = []

    @customerio_asset(Person(key="id"))
    def customers() -> pl.DataFrame:
        return pl.DataFrame({"id": ["a", "b"], "plan": ["pro", "free"]})

    @dg.asset
    def report(customers: pl.LazyFrame) -> None:
        seen.append(sorted(customers.collect()["plan"]))

    checks = build_customerio_checks([customers])
    resources = {"customerio": manager}
    with dg.DagsterInstance.ephemeral() as instance:
        config = {"ops": {"customers": {"config": {"dry_run": True}}}}
        dry = dg.materialize([customers], resources=resources, instance=instance, run_config=config)
        [observation] = dry.get_asset_observation_events()
        table = observation.asset_observation_data.asset_observation.metadata["plan_table"].value
        done = dg.materialize([customers, report, *checks], resources=resources, instance=instance)
    assert str(table).startswith(f"{root}/workspace/customers/whole/plans/")
    assert pl.read_csv(str(table))["key"].to_list() == ["a", "b"]
    assert seen == [["free", "pro"]]
    assert all(check.passed for check in done.get_asset_check_evaluations())
    assert len(done.get_asset_check_evaluations()) > 2
    assert AssetState(root, "workspace", "customers").report() is not None


def test_a_state_is_spread_over_partitions(remote: Engine) -> None:
    account = Object(object_type_id=1, column="id", behavior="mirror")
    rows = [{"id": f"k{number}", "plan": "free"} for number in range(20)]
    remote.sync(account, rows)
    run(remote, "repartition", "asset", "--into", "2", "--yes")
    keys = list(slices(hash_partitions(2)))
    parts = split(pl.DataFrame(rows[1:]).lazy(), hash_partitions(2), keys, None, account)
    reports = [remote.sync(account, part, partition=key, partitions=keys) for key, part in parts.items()]
    assert [sum(getattr(each, name) for each in reports) for name in ("created", "updated", "removed")] == [0, 0, 1]
    assert {state.partition for state in all_states(remote.root)} == set(keys)
    assert places.folders(remote.root / FORGOTTEN)
