"""A large table is planned in bounded memory, by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROWS = 500_000
MEGABYTES = 550
"""Measured: 300 to 320, of which the interpreter with Polars is 100. The plan held as Python dicts would take several times this."""

SCRIPT = """
import json, sys
from datetime import datetime, timezone
from pathlib import Path
import polars as pl
from benchmarks.child import peak_mb
from cio_dagster.plan import make_plan
from cio_dagster.specs import Person

folder, rows = Path(sys.argv[1]), int(sys.argv[2])
source = pl.select(customer_id=pl.int_range(rows)).lazy().with_columns(
    email=pl.format("user{}@example.com", "customer_id"),
    first=pl.format("Name{}", pl.col("customer_id") % 5000),
    spent=pl.col("customer_id") * 1.37,
    created_at=pl.datetime(2020, 1, 1) + pl.duration(seconds="customer_id"),
    active=pl.col("customer_id") % 2 == 0,
    score=pl.when(pl.col("customer_id") % 1000 == 0).then(float("nan")).otherwise(0.5),
)
source.sink_parquet(folder / "source.parquet", row_group_size=50_000)
plan = make_plan(
    pl.scan_parquet(folder / "source.parquet"), Person(column="customer_id"), folder / "plan", snapshot=None, baseline=None,
    run_id="r", sequence=1, now=datetime.now(timezone.utc), start=None,
)
print(json.dumps({"create": plan.counts.create, "rejected": plan.counts.rejected, "megabytes": peak_mb()}))
"""


def test_half_a_million_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(ROWS)]
    # Polars holds more at a time the more threads it has.
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    found = json.loads(done.stdout)
    assert (found["create"], found["rejected"]) == (ROWS - ROWS // 1000, ROWS // 1000)
    assert found["megabytes"] < MEGABYTES
