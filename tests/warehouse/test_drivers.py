"""What the Snowflake and BigQuery drivers are given. The drivers are stand-ins that record it: nothing here reaches a warehouse."""

from __future__ import annotations

import importlib
from typing import Any

import pyarrow as pa
import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError


class Driver:
    """A DB-API module, connection and cursor in one, that records and answers with one table."""

    Error = RuntimeError

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.module = ""
        self.connected: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self.executed: tuple[str, pa.RecordBatch | None] = ("", None)
        self.closed = 0

    def connect(self, *arguments: Any, **options: Any) -> Driver:
        self.connected = (arguments, options)
        return self

    def cursor(self) -> Driver:
        return self

    def execute(self, sql: str, parameters: pa.RecordBatch | None) -> None:
        self.executed = (sql, parameters)

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        return self.table.to_reader()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(pa.table({"x": [1, 2]}))

    def load(name: str) -> Driver:
        driver.module = name
        return driver

    monkeypatch.setattr(importlib, "import_module", load)
    return driver


def test_snowflake_gets_its_uri(driver: Driver) -> None:
    warehouse = Warehouse(url="snowflake://user:p%40ss@account/database/schema?warehouse=small&role=reader")
    assert warehouse.query("select 1 as x").collect()["x"].to_list() == [1, 2]
    assert driver.module == "adbc_driver_snowflake.dbapi"
    assert driver.connected == (("user:p%40ss@account/database/schema?warehouse=small&role=reader",), {})
    assert driver.closed == 2


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("bigquery://project", {"project_id": "project"}),
        ("bigquery://project/dataset", {"project_id": "project", "dataset_id": "dataset"}),
        (
            "bigquery://project/dataset?location=EU&credentials=/keys/reader.json",
            {
                "project_id": "project",
                "dataset_id": "dataset",
                "location": "EU",
                "auth_type": "adbc.bigquery.sql.auth_type.json_credential_file",
                "auth_credentials": "/keys/reader.json",
            },
        ),
    ],
)
def test_bigquery_gets_options(driver: Driver, url: str, options: dict[str, str]) -> None:
    Warehouse(url=url).query("select 1 as x")
    assert driver.module == "adbc_driver_bigquery.dbapi"
    assert driver.connected == ((), {"db_kwargs": {f"adbc.bigquery.sql.{name}": value for name, value in options.items()}})


@pytest.mark.parametrize("url", ["bigquery:///dataset", "bigquery://project/dataset?locaton=EU"])
def test_wrong_bigquery_url(driver: Driver, url: str) -> None:
    with pytest.raises(WarehouseError, match="bigquery://project/dataset"):
        Warehouse(url=url).query("select 1 as x")


@pytest.mark.parametrize(
    ("url", "sql", "sent"),
    [
        (
            "snowflake://a/d",
            "select $a, '$a\\'$b', $$ $b $$, $b // $c\n, $a -- $c",
            "select ?, '$a\\'$b', $$ $b $$, ? // $c\n, ? -- $c",
        ),
        (
            "bigquery://p/d",
            "select $a, \"$a\\\"\", '''$b''' # $c\n, $b, `$c`, $a",
            "select ?, \"$a\\\"\", '''$b''' # $c\n, ?, `$c`, ?",
        ),
    ],
)
def test_parameters_are_marked_and_bound_in_order(driver: Driver, url: str, sql: str, sent: str) -> None:
    Warehouse(url=url).query(sql, a=1, b="x")
    text, bound = driver.executed
    assert text == sent
    assert bound is not None
    assert [column[0].as_py() for column in bound.columns] == [1, "x", 1]


def test_column_without_dtype_is_a_clear_error(driver: Driver) -> None:
    driver.table = pa.table({"x": pa.array([None], pa.month_day_nano_interval())})
    with pytest.raises(WarehouseError, match=r"column 'x' .* cast it to text"):
        Warehouse(url="snowflake://a/d").query("select 1 as x")


def test_driver_error_is_a_warehouse_error(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sql: str, parameters: object) -> None:
        raise RuntimeError("no warehouse selected")

    monkeypatch.setattr(driver, "execute", refuse)
    with pytest.raises(WarehouseError, match="the query: no warehouse selected"):
        Warehouse(url="snowflake://a/d").query("select 1 as x")
    assert driver.closed == 2
