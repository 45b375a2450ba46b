"""What is measured of the state: the bytes of a plan on disk, and a sync that reads only what changed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.measured.ours import NAMES, UNLIMITED
from cio_dagster import Warehouse
from cio_dagster.deliver import Connection
from cio_dagster.incremental import Incremental, next_read
from cio_dagster.specs import read_spec
from cio_dagster.state import AssetState
from cio_dagster.sync import RunOptions, sync

READ = Incremental(column="created_at", overlap=timedelta(0), full_every=timedelta(days=36_500))


def plan_bytes(*, database: str, query: str, spec: dict[str, Any], state: str, url: str) -> dict[str, Any]:
    """Plan a sync, and send nothing: `bytes` on disk of its plan, which is left behind nowhere."""
    kept = AssetState(Path(state), *NAMES)
    with _warehouse(database) as warehouse:
        sync(warehouse.query(query), read_spec(spec), kept, _connection(url), run_id="plan", options=RunOptions(dry_run=True))
    size = folder_bytes(kept.dry_run_folder("plan"))
    shutil.rmtree(kept.dry_run_folder("plan"))
    return {"bytes": size}


def read_changes(*, database: str, whole: str, changes: str, spec: dict[str, Any], state: str, url: str) -> dict[str, Any]:
    """Read all and find nothing changed, in `whole_seconds`; then read some rows, which are changed, in `seconds`; and that sync's counts."""
    kept, known = AssetState(Path(state), *NAMES), read_spec(spec)
    seconds: list[float] = []
    for run, query in (("all", whole), ("changes", changes)):
        with _warehouse(database) as warehouse:
            begun = time.perf_counter()
            read = next_read(kept, known, READ, now=datetime.now(timezone.utc))
            report = sync(warehouse.query(query), known, kept, _connection(url), run_id=run, read=read)
            seconds.append(time.perf_counter() - begun)
        if report.error:
            raise report.error
    counts = {"updated": report.updated, "removed": report.removed, "source": report.planned.source}
    return {"seconds": seconds[1], "whole_seconds": seconds[0], "partial": read.partial, "counts": counts}


def folder_bytes(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _warehouse(database: str) -> Iterator[Warehouse]:
    warehouse = Warehouse(url=f"duckdb:///{database}")
    yield warehouse
    warehouse.close()


def _connection(url: str) -> Connection:
    return Connection(
        "site", SecretStr("key"), SecretStr("key"), track_url=url, app_url=url, requests_per_second=UNLIMITED, burst=UNLIMITED
    )
