"""Incremental assets in Dagster runs, from a DuckDB file to the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from cio_dagster import Collection, Incremental, Person, SpecError, Warehouse, customerio_asset, incremental_parameters
from cio_dagster.sandbox.process import RunningSandbox

from .conftest import Dagster, numbers

READING = Incremental(column="updated_at", overlap=timedelta(minutes=5))
MIRROR = Person(behavior="mirror", delete_people=True, max_delete=10, attributes={"plan": "plan"})
DAYS_AGO = datetime.now(timezone.utc) - timedelta(days=3)


@customerio_asset(MIRROR, incremental=READING)
def people(context: dg.AssetExecutionContext, warehouse: Warehouse) -> pl.LazyFrame:
    return warehouse.query("from people where $full or updated_at >= $since", **incremental_parameters(context))


REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])


@customerio_asset(
    MIRROR, incremental=READING, partitions_def=REGIONS, partition_expr="plan", backfill_policy=dg.BackfillPolicy.single_run()
)
def by_region(context: dg.AssetExecutionContext, warehouse: Warehouse) -> pl.LazyFrame:
    return warehouse.query("from people where $full or updated_at >= $since", **incremental_parameters(context))


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., None]:
    """Writes rows of the table `people`, by id, plan and time; a time of None is null."""
    path = str(tmp_path / "warehouse.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("create table people (id text primary key, plan text, updated_at timestamptz)")

    def write(*rows: tuple[str, str, datetime | None], drop: str = "") -> None:
        with duckdb.connect(path) as connection:
            connection.execute("delete from people where id = ?", [drop])
            for row in rows:
                connection.execute("insert or replace into people values (?, ?, ?)", row)

    return write


@pytest.fixture
def runs(dagster: Callable[..., Dagster], tmp_path: Path) -> Dagster:
    found = dagster()
    found.resources["warehouse"] = Warehouse(url=f"duckdb:///{tmp_path}/warehouse.duckdb")
    return found


def held(sandbox: RunningSandbox) -> dict[str, str]:
    return {person["id"]: person["attributes"]["plan"] for person in sandbox.get("people")}


def test_changes_are_read_and_now_and_then_all(runs: Dagster, table: Callable[..., None], sandbox: RunningSandbox) -> None:
    table(("a", "free", DAYS_AGO), ("b", "free", DAYS_AGO), ("c", "free", None), ("d", "free", DAYS_AGO + timedelta(days=1)))
    first = numbers(runs.run([people]), "people")
    assert (first["source_rows"], first["created"], "read_since" in first) == (4, 4, False)

    table(("b", "pro", datetime.now(timezone.utc)), drop="a")
    preview = runs.run([people], config={"people": {"dry_run": True}})
    assert preview.success
    second = numbers(runs.run([people]), "people")
    assert (second["source_rows"], second["updated"], second["removed"]) == (2, 1, 0)
    assert second["read_since"] == (DAYS_AGO + timedelta(days=1) - timedelta(minutes=5)).isoformat()
    assert held(sandbox) == {"a": "free", "b": "pro", "c": "free", "d": "free"}

    third = numbers(runs.run([people], config={"people": {"full_resync": True}}), "people")
    assert (third["source_rows"], third["removed"]) == (3, 1)
    assert held(sandbox) == {"b": "pro", "c": "free", "d": "free"}


def test_partitions_have_their_own(runs: Dagster, table: Callable[..., None], sandbox: RunningSandbox) -> None:
    later = DAYS_AGO + timedelta(days=1)
    table(("a", "eu", DAYS_AGO), ("b", "us", DAYS_AGO), ("c", "eu", later), ("d", "us", later))
    whole = runs.run([by_region], partitions=("eu", "us"))
    assert [numbers(whole, "by_region", region)["source_rows"] for region in ("eu", "us")] == [2, 2]
    again = runs.run([by_region], partitions=("eu", "us"))
    assert [numbers(again, "by_region", region)["source_rows"] for region in ("eu", "us")] == [1, 1]
    assert set(held(sandbox)) == set("abcd")


def failure(result: dg.ExecuteInProcessResult) -> str:
    return "".join(str(event.step_failure_data.error) for event in result.get_step_failure_events())


def test_a_function_that_does_not_ask_is_refused(runs: Dagster, sandbox: RunningSandbox) -> None:
    @customerio_asset(MIRROR, incremental=READING, name="forgetful")
    def forgetful() -> pl.DataFrame:
        return pl.DataFrame({"id": ["a"], "plan": ["free"], "updated_at": [DAYS_AGO]})

    @customerio_asset(MIRROR, name="plain", retry_policy=None)
    def plain(context: dg.AssetExecutionContext) -> pl.DataFrame:
        incremental_parameters(context)
        return pl.DataFrame()

    assert "did not ask what to read" in failure(runs.run([forgetful]))
    assert "reads all: make it with" in failure(runs.run([plain]))
    assert sandbox.get("people") == []


def test_collections_are_never_incremental() -> None:
    decorate: Any = customerio_asset(Collection(name="Plans"), incremental=READING)
    with pytest.raises(SpecError, match="cannot be incremental: a collection is replaced as a whole"):
        decorate(lambda: None)
