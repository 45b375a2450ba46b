"""What is measured of this package: syncs from a DuckDB table to the last acknowledgement and the commit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cio_dagster import Warehouse
from cio_dagster.deliver import Connection
from cio_dagster.specs import read_spec
from cio_dagster.state import AssetState
from cio_dagster.sync import sync

NAMES = ("bench", "asset")
"""The workspace and the asset, as the state has them."""

UNLIMITED = 1_000_000


def sync_query(
    *,
    database: str,
    query: str,
    spec: dict[str, Any],
    state: str,
    url: str,
    run: str,
    rate: float | None = None,
    burst: int | None = None,
    partition: str | None = None,
) -> dict[str, Any]:
    """One sync; limited in requests a second, it may begin with the default burst of them, or with `burst`. `seconds` in all and by room, `requests`, and the report's counts of rows."""
    connection = Connection(
        "site",
        SecretStr("key"),
        SecretStr("key"),
        track_url=url,
        app_url=url,
        requests_per_second=rate or UNLIMITED,
        burst=burst or (Connection.burst if rate else UNLIMITED),
    )
    warehouse = Warehouse(url=f"duckdb:///{database}")
    begun = time.perf_counter()
    frame = warehouse.query(query)
    read = time.perf_counter() - begun
    report = sync(frame, read_spec(spec), AssetState(Path(state), *NAMES, partition), connection, run_id=run)
    seconds = time.perf_counter() - begun
    warehouse.close()
    if report.error:
        raise report.error
    counts = {name: getattr(report, name) for name in ("created", "updated", "removed", "sent")}
    counts |= {name: getattr(report.planned, name) for name in ("source", "unchanged", "left_out", "rejected")}
    return {"seconds": seconds, "rooms": {"read": read, **report.seconds}, "requests": report.requests, "counts": counts}


def sync_queries(*, queries: dict[str, str], **arguments: Any) -> dict[str, Any]:
    """A sync of each partition, one after the other. `seconds` and `counts` are of all of them."""
    done = [sync_query(query=query, partition=partition, **arguments) for partition, query in queries.items()]
    return {key: _added(one[key] for one in done) for key in ("rooms", "counts")} | {
        key: sum(one[key] for one in done) for key in ("seconds", "requests")
    }


def _added(each: Iterable[dict[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for one in each:
        total.update(one)
    return dict(total)
