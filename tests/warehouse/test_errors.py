"""What goes wrong is said clearly, with the SQL file's name, and without a credential."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import traceback
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from cio_dagster.errors import SyncError
from cio_dagster.warehouse import Warehouse, WarehouseError


def test_sql_file_is_read_from_the_folder(sql_folder: Path) -> None:
    (sql_folder / "people.sql").write_text("-- ü\nselect $x as x;\n", encoding="utf-8")
    warehouse = Warehouse(url="duckdb://", sql_folder=str(sql_folder))
    assert warehouse.query("people.sql", x=1).collect().item() == 1
    assert warehouse.query(Path("people.sql"), x=2).collect().item() == 2


def test_missing_file_names_itself_and_what_there_is(sql_folder: Path) -> None:
    (sql_folder / "people.sql").write_text("select 1")
    with pytest.raises(WarehouseError, match=r"poeple\.sql: there is no such file; .* there are: people\.sql") as caught:
        Warehouse(url="duckdb://", sql_folder=str(sql_folder)).query("poeple.sql")
    assert caught.value.source == str(sql_folder / "poeple.sql")


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_bad_sql_names_the_file(request: pytest.FixtureRequest, sql_folder: Path, engine: str) -> None:
    url = "duckdb://" if engine == "duckdb" else request.getfixturevalue("postgres_url")
    (sql_folder / "bad.sql").write_text("select no_such_column\nfrom (select 1 as x) as t")
    with pytest.raises(WarehouseError, match=r"bad\.sql: .*no_such_column") as caught:
        Warehouse(url=url, sql_folder=str(sql_folder)).query("bad.sql")
    assert isinstance(caught.value, SyncError)
    assert "cio_rows" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "no SQL"),
        (" -- nothing\n/* at all */ ;", "no SQL"),
        ("select 1 as x; select 2 as x", "more than one statement"),
        ("select 1 as x, 2 as x", "several columns are named 'x'"),
        ("select 'a", "unterminated"),
        ("create table t (x int)", "a query is a SELECT"),
    ],
)
def test_what_is_no_query(either: Warehouse, sql: str, message: str) -> None:
    with pytest.raises(WarehouseError, match=f"^the query: .*{message}"):
        either.query(sql)


def test_files_of_duckdb_are_read_only(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table t as select 1 as x")
    content = path.read_bytes()
    warehouse = Warehouse(url=f"duckdb:///{path}")
    assert warehouse.query("from t").collect().item() == 1
    for sql in ("insert into t values (2) returning x", "pivot (update t set x = 2) on x", "copy t to '/nowhere/t.csv'"):
        with pytest.raises(WarehouseError):
            warehouse.query(sql)
    assert path.read_bytes() == content


def test_relative_duckdb_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    duckdb.connect("here.duckdb").close()
    assert Warehouse(url="duckdb:///here.duckdb").query("select 1 as x").collect().item() == 1


def test_postgres_session_is_read_only(postgres: Warehouse) -> None:
    for sql in (
        "select nextval('numbers') as x",
        "select set_config('transaction_read_only', 'off', false) as x",
        "select lo_create(0) as x",
    ):
        with pytest.raises(WarehouseError, match=r"read-only transaction|read-write mode"):
            postgres.query(sql)


def test_pivot_is_a_query(memory: Warehouse) -> None:
    frame = memory.query("pivot (values ('a', 1), ('b', 2)) as t(name, n) on name using sum(n)").collect()
    assert sorted(frame.columns) == ["a", "b"]


def test_duckdb_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="does not exist"):
        Warehouse(url=f"duckdb:///{tmp_path}/no.duckdb").query("select 1 as x")


def test_duckdb_file_that_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        assert writer.stdin
        writer.stdout.readline()
        with pytest.raises(WarehouseError, match=r"another process is writing to .*warehouse\.duckdb"):
            Warehouse(url=f"duckdb:///{path}").query("select 1 as x")
        writer.stdin.write("\n")
    assert Warehouse(url=f"duckdb:///{path}").query("select 1 as x").collect().item() == 1


def test_duckdb_file_that_this_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)), pytest.raises(WarehouseError, match=r"this process has .* open for writing"):
        Warehouse(url=f"duckdb:///{path}").query("select 1 as x")


def test_two_slashes_are_not_three() -> None:
    with pytest.raises(WarehouseError, match="three slashes"):
        Warehouse(url="duckdb://warehouse.duckdb").query("select 1 as x")


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("postgresql://h/d", "postgres"),
        ("redshift://h/d", "postgres"),
        ("snowflake://u@a/d", "snowflake"),
        ("bigquery://p/d", "bigquery"),
        ("flightsql://h:1", "flightsql"),
        ("sc://h:1", "spark"),
        ("databricks://h:1/p", "databricks"),
    ],
)
def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(WarehouseError, match=rf"pip install 'cio_dagster\[{extra}\]'"):
        Warehouse(url=url).query("select 1 as x")


SECRET = "s3cr3t-p4ss"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/d",
        f"postgresql://user:{SECRET}@127.0.0.1:port/d",
        f"postgresql://user:{SECRET}@no-such-host.invalid/d",
        f"postgresql://user:{SECRET}",
        f"postgresql://user:x@{SECRET}@h/d",
        f"postgresql://user:x/{SECRET}@h/d",
        f"postgresql://user:x?{SECRET}@h/d",
        f"postgresql://user:x#{SECRET}@h/d",
        f"postgresql://user:[{SECRET}@h/d",
        f"postgresql://user:%{SECRET}@h/d",
        f"postgresql://user:{SECRET}@[::1/d",
        f"postgresql://user@127.0.0.1:1/d?password={SECRET}",
        f"postgresql://user@127.0.0.1:1/d?password={SECRET}&bogus=1",
        f"postgresql://user@127.0.0.1:1/d?passwrd={SECRET}",
        f"mysql://user:{SECRET}@h/d",
        f"user:{SECRET}@h/d",
        f"bigquery://p/d?api_key={SECRET}",
        f"sc://127.0.0.1:1/;token={SECRET};bad",
        f"databricks://token:{SECRET}@h:443/sql",
        f"flightsql://user:{SECRET}@127.0.0.1:1?transport=pigeon",
    ],
)
def test_credentials_are_in_no_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    warehouse = Warehouse(url=url)
    with caplog.at_level(logging.DEBUG), pytest.raises(WarehouseError) as caught:
        warehouse.query("select 1 as x")
    error = caught.value
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert SECRET not in told + repr(error) + repr(vars(error)) + caplog.text
    assert error.__context__ is None
    assert error.__cause__ is None


def test_encoded_and_plain_password_are_both_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        Error = ValueError

        @staticmethod
        def connect(url: str, **options: object) -> object:
            raise ValueError(f"no way in to {url} with p@ss word")

    monkeypatch.setattr(importlib, "import_module", lambda name: Refusing)
    with pytest.raises(WarehouseError) as caught:
        Warehouse(url="postgresql://user:p%40ss%20word@h/d").query("select 1 as x")
    assert str(caught.value) == "the query: no way in to postgresql://user:***@h/d with ***"


def test_resource_does_not_show_its_url_and_options() -> None:
    warehouse = Warehouse(url=f"postgresql://user:{SECRET}@h/d", options={"token": SECRET})
    assert SECRET not in f"{warehouse!r} {warehouse!s}"


def test_url_from_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SOME_WAREHOUSE", f"postgresql://user:{SECRET}@127.0.0.1:1/d")

    @dg.asset
    def upstream(warehouse: Warehouse) -> None:
        warehouse.query("select 1 as x")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [upstream],
            resources={"warehouse": Warehouse(url=dg.EnvVar("SOME_WAREHOUSE"))},
            instance=instance,
            raise_on_error=False,
        )
        told = "".join(str(event) for event in instance.all_logs(result.run_id))
    assert not result.success
    assert "Connection refused" in told
    assert SECRET not in told + caplog.text


def test_disk_errors_are_not_the_warehouses(memory: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter", full)
    with pytest.raises(OSError, match="No space left"):
        memory.query("select 1 as x")
