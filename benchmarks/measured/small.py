"""What a small sync costs beside Dagster itself: materialising in process, and importing."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster import CustomerIO, CustomerIOIOManager, Person, Warehouse, customerio_asset

IMPORTS = """
import time
import dagster, polars
begun = time.perf_counter()
from cio_dagster import *  # All of it: each public name is imported when it is first used.
print(time.perf_counter() - begun)
"""


def materialize(*, database: str, query: str, state: str, url: str, bare: bool = False) -> dict[str, Any]:
    """One materialisation, the first of its process. `bare`: the same function under Dagster's in-memory IO manager instead of this package's."""

    def people(warehouse: Warehouse) -> pl.LazyFrame:
        return warehouse.query(query)

    asset = dg.asset(people) if bare else customerio_asset(Person(column="customer_id"))(people)
    workspace = CustomerIO(site_id="site", track_api_key="key", app_api_key="key", track_url=url, app_url=url)
    resources: dict[str, Any] = {"warehouse": Warehouse(url=f"duckdb:///{database}")}
    resources |= (
        {"io_manager": dg.mem_io_manager} if bare else {"customerio": CustomerIOIOManager(customerio=workspace, state=state)}
    )
    begun = time.perf_counter()
    done = dg.materialize([asset], resources=resources)
    seconds = time.perf_counter() - begun
    (made,) = done.get_asset_materialization_events()
    counts = {name: value.value for name, value in made.materialization.metadata.items() if name in ("created", "updated")}
    return {"seconds": seconds, "counts": counts}


def imports() -> float:
    """The seconds that a new process takes to import this package when it has imported Dagster and Polars."""
    return float(subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True).stdout)
