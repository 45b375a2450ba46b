"""What several processes of one workspace do together: a run whose steps Dagster's multiprocess executor does side by side."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster import CustomerIO, CustomerIOIOManager, Warehouse, customerio_asset
from cio_dagster.specs import AnySpec, read_spec

DAGSTER = "concurrency: {pools: {granularity: op}}\ntelemetry: {enabled: false}\n"


def sync_side_by_side(
    *, database: str, queries: list[str], spec: dict[str, Any], settings: dict[str, Any], state: str, url: str
) -> dict[str, Any]:
    """One asset for each query, each synced by a process of its own, all at once; the pool has a slot for each of them.

    `seconds` from the first step's beginning to the last one's end, `sent`: rows. `settings` are those of CustomerIO.
    """
    given = {"database": database, "queries": queries, "spec": spec, "settings": settings | {"track_url": url}, "state": state}
    with tempfile.TemporaryDirectory() as home:
        Path(home, "dagster.yaml").write_text(DAGSTER)
        with dg.DagsterInstance.from_config(home) as instance:
            instance.event_log_storage.set_concurrency_slots("customerio", len(queries))
            job = dg.build_reconstructable_job(__name__, "syncs", reconstructable_args=(json.dumps(given),))
            processes = {"execution": {"config": {"multiprocess": {"max_concurrent": len(queries)}}}}
            done = dg.execute_job(job, instance, run_config=processes)
            if not done.success:
                raise RuntimeError("the run failed: what it printed says why")
            steps = instance.get_run_step_stats(done.run_id)
            made = instance.all_logs(done.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    begun = [step.start_time for step in steps if step.start_time is not None]
    ended = [step.end_time for step in steps if step.end_time is not None]
    metadata = [each.asset_materialization.metadata for each in made if each.asset_materialization is not None]
    sent = sum(int(str(each[name].value)) for each in metadata for name in ("created", "sent") if name in each)
    return {"seconds": max(ended) - min(begun), "sent": sent}


def syncs(given: str) -> dg.JobDefinition:
    """The job of those assets, as each process makes it for itself."""
    asked = json.loads(given)
    spec = read_spec(asked["spec"])
    definitions = dg.Definitions(
        assets=[_asset(f"part_{number}", query, spec) for number, query in enumerate(asked["queries"])],
        jobs=[dg.define_asset_job("syncs")],
        resources={
            "warehouse": Warehouse(url=f"duckdb:///{asked['database']}"),
            "customerio": CustomerIOIOManager(
                customerio=CustomerIO(site_id="site", track_api_key="key", **asked["settings"]), state=asked["state"]
            ),
        },
    )
    return definitions.resolve_job_def("syncs")


def _asset(name: str, query: str, spec: AnySpec) -> dg.AssetsDefinition:
    @customerio_asset(spec, name=name, retry_policy=None)
    def part(warehouse: Warehouse) -> pl.LazyFrame:
        return warehouse.query(query)

    return part
