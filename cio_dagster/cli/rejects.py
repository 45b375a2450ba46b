"""Rejected rows, from the outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from cio_dagster.cli.look import last_run
from cio_dagster.cli.selection import Sync
from cio_dagster.report import hashed, rejects

COLUMNS = ("asset", "partition", "key", "operation", "reason", "field", "message", "time", "run_id")


def rejected_rows(syncs: Sequence[Sync], run_id: str | None) -> pl.LazyFrame:
    """The rows that a run rejected; by default the last of each asset partition."""
    return pl.concat([_empty(), *(_rows(sync, run_id) for sync in syncs)])


def rejected_by_reason(syncs: Sequence[Sync], run_id: str | None) -> pl.DataFrame:
    """Their number by asset and reason, most first, each with an example. No values, where they are not to be shown."""
    found = []
    for sync in syncs:
        for each in rejects(_rows(sync, run_id).rename({"key": "_key"})):
            shown = each if sync.manager.show_values else each | {"message": "", "example": hashed(each["example"])}
            found.append({"asset": sync.name} | shown)
    columns = {"asset": pl.String, "rows": pl.Int64, "reason": pl.String, "field": pl.String}
    return pl.DataFrame(found, schema=columns | {"message": pl.String, "example": pl.String})


def _rows(sync: Sync, run_id: str | None) -> pl.LazyFrame:
    tables = [_empty()]
    for state in sync.states():
        run = run_id or last_run(state).get("run_id")
        rejected = state.outcomes().filter(pl.col("run_id") == run, pl.col("outcome") == "rejected")
        tables.append(rejected.select(COLUMNS).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC"))))
    return pl.concat(tables)


def _empty() -> pl.LazyFrame:
    return pl.LazyFrame(schema=dict.fromkeys(COLUMNS, pl.String) | {"time": pl.Datetime("us", "UTC")})
