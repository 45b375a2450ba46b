"""SQLite files: values have types there, columns have not."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import polars as pl
import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError
from cio_dagster.warehouse.staging import BATCH_ROWS

pytest.importorskip("adbc_driver_sqlite")


@pytest.fixture
def sqlite(tmp_path: Path) -> Warehouse:
    path = tmp_path / "shop?#.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (i integer, r real, s text, b blob, mixed, empty, d date)")
        connection.execute("insert into t values (7, 0.5, 'grüße', x'00ff', 1, null, '2024-02-29')")
        connection.execute("insert into t values (null, null, null, null, 'a', null, null)")
    connection.close()
    return Warehouse(url=f"sqlite:///{path}")


def test_types_and_nulls(sqlite: Warehouse) -> None:
    frame = sqlite.query("select * from t").collect()
    kinds = {
        "i": pl.Int64,
        "r": pl.Float64,
        "s": pl.String,
        "b": pl.Binary,
        "mixed": pl.String,
        "empty": pl.Null,
        "d": pl.String,
    }
    assert frame.schema == kinds
    assert frame.rows() == [
        (7, 0.5, "grüße", b"\x00\xff", "1", None, "2024-02-29"),
        (None, None, None, None, "a", None, None),
    ]


def test_a_type_is_that_of_all_rows_and_not_of_the_first_batch(sqlite: Warehouse) -> None:
    rows = BATCH_ROWS + 10
    sql = f"""
        with recursive n(i) as (select 0 union all select i + 1 from n where i < {rows - 1})
        select i, case when i >= {rows - 1} then 'late' end as s, case when i = {rows - 1} then 0.5 else i end as r from n order by i desc
    """
    frame = sqlite.query(sql).collect()
    assert frame.schema == {"i": pl.Int64, "s": pl.String, "r": pl.Float64}
    assert frame["i"].to_list() == list(range(rows - 1, -1, -1))
    assert frame["s"].drop_nulls().to_list() == ["late"]


def test_empty_result(sqlite: Warehouse) -> None:
    assert sqlite.query("select i, s from t where false").collect().rows() == []


def test_blobs_among_others_are_a_clear_error(sqlite: Warehouse) -> None:
    with pytest.raises(
        WarehouseError, match=r"column 'x' holds blobs and other values; cast it in the query: CAST\(x AS TEXT\)"
    ):
        sqlite.query("select b as x from t union all select 1")


def test_parameters(sqlite: Warehouse) -> None:
    moment = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
    frame = sqlite.query("select $a as a, '$b' as b, [i] as c, $d as d from t where i = $a", a=7, d=moment).collect()
    assert frame.rows() == [(7, "$b", 7, "2024-01-01T12:00:00.000000")]


@pytest.mark.parametrize("sql", ["insert into t (i) values (1) returning i", "delete from t", "pragma user_version = 5"])
def test_writes_are_refused(sqlite: Warehouse, sql: str) -> None:
    with pytest.raises(WarehouseError, match=r"syntax error|readonly"):
        sqlite.query(sql)
    assert sqlite.query("select count(*) as n from t").collect().item() == 2


def test_the_session_itself_is_read_only(sqlite: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from adbc_driver_sqlite import dbapi

    opened: list[str] = []
    connect = dbapi.connect
    monkeypatch.setattr(dbapi, "connect", lambda uri: opened.append(uri) or connect(uri))
    sqlite.query("select 1 as x")
    with connect(opened[0]) as connection, connection.cursor() as cursor, pytest.raises(Exception, match="readonly database"):
        cursor.execute("insert into t (i) values (1)")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"nothing\.db does not exist"):
        Warehouse(url=f"sqlite:///{tmp_path}/nothing.db").query("select 1 as x")
    with pytest.raises(WarehouseError, match="three slashes"):
        Warehouse(url="sqlite://nothing.db").query("select 1 as x")
