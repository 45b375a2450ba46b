"""The checks of an asset in real runs: one step makes them all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from cio_dagster import (
    CustomerIOIOManager,
    Freshness,
    Look,
    ManualSegment,
    Person,
    SpecError,
    Warehouse,
    build_customerio_checks,
    customerio_asset,
)
from cio_dagster.checks.freshness import newest, source_is_fresh
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, dagster, instance, running, sandbox

__all__ = ["dagster", "instance", "running", "sandbox"]

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
NOT_READ_BACK = {"leave_out": ["applied_in_customerio"]}


def people_of(rows: dict[str, pl.DataFrame], spec: Any = None, **options: Any) -> dg.AssetsDefinition:
    @customerio_asset(spec or Person(), **options)
    def people() -> pl.DataFrame:
        return rows["frame"]

    return people


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def warehouse(folder: Path, age: timedelta) -> Warehouse:
    with duckdb.connect(str(folder / "w.duckdb")) as connection:
        connection.execute(
            "create or replace table t as select $now::timestamptz as came", {"now": datetime.now(timezone.utc) - age}
        )
    return Warehouse(url=f"duckdb:///{folder / 'w.duckdb'}")


def test_one_step_makes_them_all(dagster: Callable[..., Dagster], sandbox: RunningSandbox, tmp_path: Path) -> None:
    clash = pl.DataFrame({"id": ["a", "b", "c"], "email": ["same@x.io", "same@x.io", "c@x.io"]})
    people = people_of({"frame": clash}, Person(max_new_people=5))
    fresh = {people: Freshness("select max(came) from t", within=timedelta(hours=26))}
    checks = build_customerio_checks([people], Look(settle=0), freshness=fresh)
    run = dagster()
    run.resources["warehouse"] = warehouse(tmp_path, timedelta(hours=30))
    result = run.run([people, *checks])
    found = checks_of(result)
    assert list(found) == [
        "no_rejected_rows",
        "delivered_as_planned",
        "no_duplicate_identities",
        "within_guards",
        "source_is_fresh",
        "applied_in_customerio",
    ]
    assert {event.step_key for event in result.all_events if event.is_step_success} == {"people", "people_checks"}
    verdicts = {name: (each.passed, each.severity) for name, each in found.items()}
    assert verdicts["delivered_as_planned"] == (True, ERROR)
    assert verdicts["no_duplicate_identities"] == (False, WARN)
    assert verdicts["within_guards"] == (False, WARN)
    assert verdicts["source_is_fresh"] == (False, WARN)
    assert [dict(each.data)["examples"] for each in found["no_duplicate_identities"].metadata["table"].records] == ["a, b"]
    assert found["within_guards"].metadata["max_new_people_percent"].value == 60
    age = found["source_is_fresh"].metadata
    assert age["age_hours"].value == pytest.approx(30, abs=0.1)
    assert abs(datetime.now().timestamp() - age["dagster/last_updated_timestamp"].value - 30 * 3600) < 300
    assert "older than 26 hours" in found["source_is_fresh"].description
    assert not any(each.blocking for each in found.values())

    # One of them alone, later, in another light.
    run.resources["warehouse"] = warehouse(tmp_path, timedelta(hours=1))
    before = len(sandbox.get("requests"))
    selection: Any = dg.AssetSelection.checks(
        dg.AssetCheckKey(people.key, "source_is_fresh"), dg.AssetCheckKey(people.key, "within_guards")
    )
    found = checks_of(run.run([people, *checks], select=selection))
    assert {name: each.passed for name, each in found.items()} == {"source_is_fresh": True, "within_guards": False}
    assert len(sandbox.get("requests")) == before


def test_refused_and_pending_operations_are_red_also_alone(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": pl.DataFrame({"id": ["a", "b"]})}, retry_policy=None)
    [checks] = build_customerio_checks([people], **NOT_READ_BACK)
    run = dagster(attempts=1)
    selection: Any = dg.AssetSelection.checks(checks)
    assert {each.severity for each in checks_of(run.run([people, checks], select=selection)).values()} == {WARN}
    sandbox.faults([{"path": "/api/v2/batch", "status": 503}])
    assert not run.run([people, checks]).success
    found = checks_of(run.run([people, checks], select=selection))["delivered_as_planned"]
    assert (found.passed, found.severity, found.metadata["pending"].value) == (False, ERROR, 2)
    sandbox.faults([])
    assert checks_of(run.run([people, checks]))["delivered_as_planned"].passed


def test_partitions_of_the_run(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    sizes = {"x": 40, "y": 40}

    @customerio_asset(
        ManualSegment(name="VIP", behavior="mirror"),
        partitions_def=dg.StaticPartitionsDefinition(["x", "y"]),
        partition_expr="part",
    )
    def vips(context: dg.AssetExecutionContext) -> pl.DataFrame:
        parts = [
            pl.DataFrame({"id": [f"{part}{n}" for n in range(sizes[part])], "part": part}) for part in context.partition_keys
        ]
        return pl.concat(parts)

    [checks] = build_customerio_checks([vips], **NOT_READ_BACK)
    assert checks_of(dagster().run([vips, checks], partitions=("x", "y")))["within_guards"].passed
    sizes["y"] = 34
    found = checks_of(dagster().run([vips, checks], partitions=("x", "y")))
    assert found["delivered_as_planned"].metadata["planned"].value == 6
    [near] = found["within_guards"].metadata["table"].records
    assert near.data == {"guard": "max_delete", "rows": 6, "limit": 10, "percent": 60, "partition": "y"}
    # A run of x alone is not held against what an earlier one did to y.
    assert checks_of(dagster().run([vips, checks], partition="x"))["within_guards"].passed


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select came::varchar from t", "gave a value of type str: cast it"),
        ("select 1, 2", "gives one time"),
    ],
)
def test_what_a_freshness_query_may_not_give(tmp_path: Path, sql: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        newest(warehouse(tmp_path, timedelta(0)), sql)


def test_an_empty_source_is_not_fresh(tmp_path: Path) -> None:
    empty = Freshness("select max(came) from t where false", timedelta(days=3))
    verdict, found = source_is_fresh(warehouse(tmp_path, timedelta(0)), empty, datetime.now(timezone.utc))
    assert (verdict.passed, verdict.text, found) == (False, "The source has no row with a time.", None)


def test_dates_and_times_without_zone_are_in_utc(tmp_path: Path) -> None:
    found = warehouse(tmp_path, timedelta(0))
    assert newest(found, "select date '2026-03-01'") == datetime(2026, 3, 1, tzinfo=timezone.utc)
    assert newest(found, "select timestamp '2026-03-01 02:00'") == datetime(2026, 3, 1, 2, tzinfo=timezone.utc)


def test_a_freshness_query_that_fails_is_a_warning(dagster: Callable[..., Dagster], tmp_path: Path) -> None:
    people = people_of({"frame": pl.DataFrame({"id": ["a"]})})
    [check] = build_customerio_checks([people], freshness={"people": Freshness("select 1 from nowhere", timedelta(days=3))})
    run = dagster()
    shown = run.resources["customerio"]
    run.resources["warehouse"] = warehouse(tmp_path, timedelta(0))
    selection: Any = dg.AssetSelection.checks(dg.AssetCheckKey(people.key, "source_is_fresh"))
    for show_values in (True, False):
        run.resources["customerio"] = CustomerIOIOManager(
            customerio=shown.customerio, state=shown.state, show_values=show_values
        )
        found = checks_of(run.run([people, check], select=selection))["source_is_fresh"]
        assert (found.passed, found.severity) == (False, WARN)
        assert ("nowhere" in found.description) == show_values


def test_what_is_left_out_and_what_does_not_apply() -> None:
    people, vips = people_of({}), people_of({}, ManualSegment(name="VIP"), name="vips")

    def names(**options: Any) -> list[list[str]]:
        return [sorted(key.name for key in check.check_keys) for check in build_customerio_checks([people, vips], **options)]

    assert names() == [
        ["applied_in_customerio", "delivered_as_planned", "no_duplicate_identities", "within_guards"],
        ["applied_in_customerio", "delivered_as_planned", "within_guards"],
    ]
    most = ["applied_in_customerio", "delivered_as_planned", "within_guards"]
    assert names(leave_out=most) == [["no_duplicate_identities"]]
    with pytest.raises(SpecError, match="There is no check apply to leave out; there are delivered_as_planned, "):
        names(leave_out=["apply"])
    with pytest.raises(SpecError, match="freshness names orders, which are not among"):
        names(freshness={"orders": Freshness("select 1", timedelta(1))})
