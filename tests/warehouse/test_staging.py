"""Where results are staged, for how long, and in how much memory."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError

MILLIONS = """
import json, sys
from benchmarks.child import peak_mb
from cio_dagster.warehouse import Warehouse
warehouse = Warehouse(url=sys.argv[1])
warehouse.query("select 1 as x").collect()
before = peak_mb()
frame = warehouse.query(sys.argv[2], rows=2_000_000)
after = peak_mb()
rows = frame.select(n="id").count().collect()["n"].item()
print(json.dumps({"rows": rows, "megabytes": after - before}))
"""
WIDE = "select i as id, 'customer-' || i as name, md5(cast(i as text)) as first, md5(cast(-i as text)) as second from {series}"

WIDE_SQLITE = WIDE.replace("md5(cast(i as text))", "hex(zeroblob(16))").replace(
    "md5(cast(-i as text))", "hex(zeroblob(15)) || i"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that temporary files go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


SERIES = {
    "duckdb": "range($rows) as t(i)",
    "postgres": "generate_series(1, $rows) as t(i)",
    "sqlite": "(with recursive n(i) as (select 1 union all select i + 1 from n where i < $rows) select i from n)",
}


@pytest.mark.parametrize("engine", SERIES)
def test_two_million_rows_stay_out_of_memory(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    url = "duckdb://" if engine == "duckdb" else f"sqlite:///{tmp_path}/empty.db"
    series = SERIES[engine]
    if engine == "postgres":
        url = request.getfixturevalue("postgres_url")
    if engine == "sqlite":
        pytest.importorskip("adbc_driver_sqlite")
        sqlite3.connect(tmp_path / "empty.db").close()
    command = [sys.executable, "-c", MILLIONS, url, (WIDE_SQLITE if engine == "sqlite" else WIDE).format(series=series)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    measured = json.loads(output)
    assert measured["rows"] == 2_000_000
    # The result is 190 MB as Arrow.
    assert measured["megabytes"] < 120


def test_batches_of_a_result_keep_their_order(either: Warehouse) -> None:
    series = "range(120001)" if either.url == "duckdb://" else "generate_series(0, 120000)"
    frame = either.query(f"select i from {series} as t(i) order by i desc").collect()
    assert frame["i"].to_list() == list(range(120_000, -1, -1))


def test_staged_files_are_private(temporary: Path) -> None:
    warehouse = Warehouse(url="duckdb://")
    warehouse.query("select 1 as x")
    (folder,) = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    warehouse.close()
    assert list(temporary.iterdir()) == []


def test_frame_outlives_the_resource(temporary: Path) -> None:
    frame = Warehouse(url="duckdb://").query("select 1 as x")
    assert frame.collect()["x"].to_list() == [1]
    assert frame.collect()["x"].to_list() == [1]


def test_close_can_be_repeated_and_queries_go_on(temporary: Path) -> None:
    warehouse = Warehouse(url="duckdb://")
    warehouse.close()
    warehouse.query("select 1 as x")
    warehouse.close()
    warehouse.close()
    assert warehouse.query("select 2 as x").collect()["x"].to_list() == [2]
    warehouse.close()
    assert files(temporary) == []


def test_process_that_ends_leaves_nothing(temporary: Path) -> None:
    code = (
        "from cio_dagster.warehouse import Warehouse; print(Warehouse(url='duckdb://').query('select 1 as x').collect().item())"
    )
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "1"
    assert files(temporary) == []


def test_dagster_tears_down_after_the_run(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_THREADS", "3")

    @dg.asset
    def upstream(warehouse: Warehouse) -> int:
        frame = warehouse.query("select $x + current_setting('threads') as x", x=7)
        assert len(files(temporary)) == 1
        return int(frame.collect().item())

    warehouse = Warehouse(url="duckdb://", options={"threads": dg.EnvVar("SOME_THREADS")})
    result = dg.materialize([upstream], resources={"warehouse": warehouse})
    assert result.output_for_node("upstream") == 10
    assert files(temporary) == []


def test_dagster_tears_down_after_a_failed_run(temporary: Path) -> None:
    @dg.asset
    def upstream(warehouse: Warehouse) -> None:
        warehouse.query("select 1 as x")
        warehouse.query("selec")

    assert not dg.materialize([upstream], resources={"warehouse": Warehouse(url="duckdb://")}, raise_on_error=False).success
    assert files(temporary) == []


LATE = {
    "duckdb": "select case when i = 110000 then error('division by zero') else i end as x from range(120000) as t(i)",
    "postgres": "select 1 / (i - 110000) as x from generate_series(1, 120000) as t(i)",
}


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_query_that_fails_late_leaves_no_file(request: pytest.FixtureRequest, temporary: Path, engine: str) -> None:
    warehouse: Warehouse = request.getfixturevalue("memory" if engine == "duckdb" else "postgres")
    with pytest.raises(WarehouseError, match=r"(?i)division by zero"):
        warehouse.query(LATE[engine])
    assert files(temporary) == []


def test_value_that_is_refused_leaves_no_file(postgres: Warehouse, temporary: Path) -> None:
    with pytest.raises(WarehouseError, match="NaN"):
        postgres.query("select 'NaN'::numeric as x")
    assert files(temporary) == []


def test_interrupted_query_leaves_no_file(either: Warehouse, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str, array: pa.Array) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cio_dagster.warehouse.staging._check_range", interrupt)
    with pytest.raises(KeyboardInterrupt):
        either.query("select 1 as x")
    assert files(temporary) == []
    monkeypatch.undo()
    assert either.query("select 1 as x").collect().item() == 1


def test_predicates_reach_the_staged_file(memory: Warehouse) -> None:
    frame = memory.query("select i from range(10) as t(i)").filter(pl.col("i") > 7)
    assert "SELECTION" in frame.explain()
