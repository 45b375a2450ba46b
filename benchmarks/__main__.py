"""`make bench`: a first and an unchanged sync of people to a sink on this machine, beside a peer and a limit in the same run.

The peer is Customer.io's own Python client (PyPI `customerio`), sending the same rows to the same sink in batches. The limit is Polars
encoding the same rows as JSON and nothing else. Each is run several times, and the medians are printed, in rows a second; the peak
memory is of the process that syncs. Ours also checks, compares, logs and commits; the others do not.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import polars as pl
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from cio_dagster import Person
from cio_dagster.deliver import Connection
from cio_dagster.sandbox.process import run_sandbox
from cio_dagster.state import AssetState
from cio_dagster.sync import sync

PEER_ROWS = 50_000
"""Rows that the peer sends: its speed does not depend on how many there are."""

BATCH_ROWS = 1_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "URL", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _one(*given.one, rows=given.rows)
        return
    names = ("sync, first", "sync, unchanged", "customerio client", "JSON encoding alone")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory: list[int] = []
    with run_sandbox("--sink") as sink, tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "people.parquet"
        _people(given.rows).sink_parquet(source)
        for run in range(given.runs):
            folder = Path(temporary) / str(run)
            folder.mkdir()
            (folder / "people.parquet").symlink_to(source)
            for what in ("ours", "peer", "limit"):
                printed = subprocess.run(
                    [sys.executable, "-m", "benchmarks", "--rows", str(given.rows), "--one", what, sink.url, str(folder)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()
                if what == "ours":
                    seconds["sync, first"].append(float(printed[0]))
                    seconds["sync, unchanged"].append(float(printed[1]))
                    memory.append(int(printed[2]))
                else:
                    seconds["customerio client" if what == "peer" else "JSON encoding alone"].append(float(printed[0]))
    rates = {
        name: (PEER_ROWS if "client" in name else given.rows) / statistics.median(taken) for name, taken in seconds.items()
    }
    table = Table(
        "what", "rows/s", "against the client", title=f"{given.rows:,} people of 8 columns, medians of {given.runs} runs"
    )
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates['customerio client']:,.1f} x")
    console = Console(width=100)
    console.print(table)
    console.print(f"Peak memory of the syncing process: {statistics.median(memory):,.0f} MB")
    console.print(f"Python {platform.python_version()}, Polars {version('polars')}, customerio {version('customerio')}")


def _people(rows: int) -> pl.LazyFrame:
    number = pl.int_range(rows, eager=False)
    return (
        pl.select(n=number)
        .lazy()
        .select(
            customer_id=pl.format("cus_{}", "n"),
            email=pl.format("person{}@example.com", "n"),
            first_name=pl.format("Name {}", pl.col("n") % 1_000),
            plan=pl.when(pl.col("n") % 3 == 0).then(pl.lit("free")).otherwise(pl.lit("pro")),
            lifetime_value=(pl.col("n") % 10_000) / 7,
            orders=pl.col("n") % 50,
            created_at=pl.from_epoch(1_600_000_000 + pl.col("n")),
            opted_in=pl.col("n") % 2 == 0,
        )
    )


def _one(what: str, url: str, folder: str, *, rows: int) -> None:
    """One measurement, in a process of its own; prints seconds, and for ours the peak memory in MB."""
    source = pl.scan_parquet(Path(folder) / "people.parquet")
    if what == "ours":
        connection = Connection(
            "site", SecretStr("key"), SecretStr("key"), track_url=url, app_url=url, requests_per_second=1e6, burst=1_000_000
        )
        for run in ("first", "unchanged"):
            begun = time.perf_counter()
            report = sync(
                source, Person(column="customer_id"), AssetState(Path(folder), "bench", "people"), connection, run_id=run
            )
            assert (report.created, report.planned.unchanged) == ((rows, 0) if run == "first" else (0, rows))
            print(time.perf_counter() - begun)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    elif what == "peer":
        import customerio

        client = customerio.CustomerIO("site", "key")
        frame = source.head(PEER_ROWS).with_columns(pl.col("created_at").dt.epoch("s")).collect()
        begun = time.perf_counter()
        for start in range(0, len(frame), BATCH_ROWS):
            operations = [
                {"type": "person", "action": "identify", "identifiers": {"id": row.pop("customer_id")}, "attributes": row}
                for row in frame[start : start + BATCH_ROWS].to_dicts()
            ]
            # What client.batch does, which would insist on HTTPS.
            client.send_request("POST", f"{url}/api/v2/batch", {"batch": operations})
        print(time.perf_counter() - begun)
    else:
        begun = time.perf_counter()
        for batch in source.collect_batches(chunk_size=100_000):
            batch.select(pl.struct(pl.all()).struct.json_encode())
        print(time.perf_counter() - begun)


if __name__ == "__main__":
    main()
