"""Column lineage and column schema: from the SQL of a real query to the metadata of a materialization."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from cio_dagster import Constant, Person, Warehouse, customerio_asset
from cio_dagster.lineage import Query, column_lineage, match_tables
from cio_dagster.prepare.landed import landed
from tests.assets.conftest import Dagster, numbers

CUSTOMERS, ORDERS = dg.AssetKey(["raw", "customers"]), dg.AssetKey(["warehouse", "raw", "orders"])
SQL = """
with totals as (select customer_id, sum(total) as spent, count(*) as n from raw.orders where placed >= $since group by 1)
select c.id as customer_id, c.email, upper(c.plan) as plan, c.first || coalesce(c.last, 'x') as name, t.spent, t.n, 1 as one, c.note
from raw.customers c left join totals t on t.customer_id = c.id
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("create schema raw")
        row = "1 as id, 'a@x.org' as email, 'f' as plan, 'A' as first, 'B' as last, '' as note"
        connection.execute(f"create table raw.customers as select {row}")
        connection.execute("create table raw.orders as select 1 as customer_id, 2.5 as total, 3 as placed")
    return Warehouse(url=f"duckdb:///{tmp_path / 'w.duckdb'}")


def test_a_materialization_says_where_its_columns_come_from(dagster: Callable[..., Dagster], warehouse: Warehouse) -> None:
    attributes = {
        "email": "email",
        "tier": "plan",
        "who.name": "name",
        "who.mail": "email",
        "spent": "spent",
        "n": "n",
        "note": "note",
        "full": "full",
        "from": Constant(value="here"),
    }

    @dg.asset(key=["raw", "customers_of_others"], metadata=Person().to_metadata(), io_manager_key="customerio")
    def another_sync() -> pl.DataFrame:
        return pl.DataFrame({"id": ["1"]})

    @customerio_asset(Person(column="customer_id", attributes=attributes, dates="iso"), deps=[CUSTOMERS, ORDERS, another_sync])
    def people(warehouse: Warehouse) -> pl.LazyFrame:
        rows = warehouse.query(SQL, since=1)
        return rows.with_columns(full=pl.col("plan") + pl.col("name"), note=pl.col("plan").alias("note"))

    here = dagster()
    here.resources["warehouse"] = warehouse
    result = here.run([people])
    assert result.success
    found = numbers(result, "people")
    assert {column.name: column.type for column in found["dagster/column_schema"].columns} == {
        "id": "String",
        "email": "String",
        "tier": "String",
        "who": "String",
        "spent": "Decimal(precision=38, scale=1)",
        "n": "Int64",
        "note": "String",
        "full": "String",
        "from": "String",
    }
    lineage = found["dagster/column_lineage"].deps_by_column
    assert {name: [(dep.asset_key, dep.column_name) for dep in deps] for name, deps in lineage.items()} == {
        "id": [(CUSTOMERS, "id")],
        "email": [(CUSTOMERS, "email")],
        "tier": [(CUSTOMERS, "plan")],
        "who": [(CUSTOMERS, "email"), (CUSTOMERS, "first"), (CUSTOMERS, "last")],
        "spent": [(ORDERS, "total")],
    }


CASES = {
    "plain": ("select id, plan from raw.customers", {"plan": ["raw/customers.plan"]}),
    "star": ("select * from customers where plan = null", {"plan": ["raw/customers.plan"], "other": ["raw/customers.other"]}),
    "a star that renames": ("select * rename (x as plan) from raw.customers", {}),
    "several stars": ("select * from raw.customers join raw.others using (id)", {}),
    "another table of the name": ("select plan from elsewhere.customers join raw.customers using (id)", {}),
    "both tables, told apart": (
        "select r.plan || e.plan as plan from elsewhere.customers e join raw.customers r using (id)",
        {},
    ),
    "a union": (
        "select plan from raw.customers union all select x from raw.others",
        {"plan": ["raw/customers.plan", "raw/others.x"]},
    ),
    "a file": ("select plan from 'customers.parquet'", {}),
    "a constant": ("select 1 as plan from raw.customers", {}),
    "no one can tell": ("pivot raw.customers on plan using count(*)", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_sql_says(tmp_path: Path, case: str) -> None:
    sql, expected = CASES[case]
    assert of(tmp_path, sql) == expected


def test_what_polars_makes_has_none(tmp_path: Path) -> None:
    sql = "select id, plan, other from raw.customers"
    kept = {"plan": ["raw/customers.plan"], "other": ["raw/customers.other"]}
    plan, other = pl.col("plan"), pl.col("other")
    for change, expected in {
        "filtered": (lambda rows: rows.filter(plan != "x").with_columns(other.str.to_uppercase()), kept),
        "renamed": (lambda rows: rows.rename({"plan": "other", "other": "plan"}), {}),
        "made anew": (lambda rows: rows.with_columns(plan=other), {"other": ["raw/customers.other"]}),
        "a function": (lambda rows: rows.map_batches(lambda frame: frame), {}),
        "from elsewhere": (lambda rows: rows.drop("plan").join(pl.LazyFrame({"id": ["1"], "plan": ["x"]}), on="id"), {}),
        "collected": (lambda rows: rows.collect(), {}),
    }.values():
        assert of(tmp_path, sql, change) == expected


def of(tmp_path: Path, sql: str, change: Callable[[pl.LazyFrame], Any] = lambda rows: rows) -> dict[str, list[str]]:
    """The lineage of the attributes of what a query gave."""
    pl.DataFrame({"id": ["1"], "plan": ["x"], "other": ["y"]}).write_parquet(tmp_path / "rows.parquet")
    frame = change(pl.scan_parquet(tmp_path / "rows.parquet"))
    deps = [dg.AssetKey(["raw", "customers"]), dg.AssetKey(["raw", "others"])]
    columns = landed(Person(attributes={"plan": "plan", "other": "other"}), frame.collect_schema())
    found = column_lineage(columns, frame, [Query(sql, "duckdb", ["id", "plan", "other"])], deps)
    return {
        name: [f"{'/'.join(dep.asset_key.path)}.{dep.column_name}" for dep in deps_of_column]
        for name, deps_of_column in (found.deps_by_column if found else {}).items()
        if name != "id"
    }


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([("raw", "a")], {("raw", "a"): "raw/a"}),
        ([("db", "raw", "a")], {("db", "raw", "a"): "raw/a"}),
        ([("a",)], {}),  # raw.a, or x.a?
        ([("b",)], {("b",): "dbt/raw/b"}),
        ([("other", "b")], {("other", "b"): "dbt/raw/b"}),
        ([("other", "b"), ("raw", "b")], {("raw", "b"): "dbt/raw/b"}),
        ([("one", "b"), ("two", "b")], {}),
        ([("raw", "c")], {}),
    ],
)
def test_which_asset_a_table_is(tables: list[tuple[str, ...]], expected: dict[tuple[str, ...], str]) -> None:
    deps = [dg.AssetKey(key.split("/")) for key in ("raw/a", "x/a", "dbt/raw/b")]
    assert {table: "/".join(key.path) for table, key in match_tables(tables, deps).items()} == expected


def test_an_engine_that_sqlglot_does_not_know_has_none(tmp_path: Path) -> None:
    assert column_lineage([], None, [Query("select 1", "nosuch", ["a"])], []) is None


def test_it_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, cio_dagster; assert 'sqlglot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
