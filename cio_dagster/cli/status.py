"""How the syncs of an asset are, by their states."""

from __future__ import annotations

from typing import Any

import polars as pl

from cio_dagster import places
from cio_dagster.cli.look import GONE, count_text, holder, last_run, object_of, plan_text, said, said_or
from cio_dagster.cli.output import moment
from cio_dagster.cli.selection import Sync
from cio_dagster.specs import find_spec
from cio_dagster.state import AssetState

DONE, NEVER = "done", "never ran"


def status_of(sync: Sync) -> list[dict[str, Any]]:
    """A line for each asset partition that has run: `rows` in the snapshot, the last run that came to a plan and its outcome, a plan under
    way, and who holds the lock. `problem` is whether the outcome is another than `done`, or a plan was left behind."""
    return places.at_once(lambda state: _line(sync, state), sync.states()) or [_never(sync)]


def _never(sync: Sync) -> dict[str, Any]:
    spec = find_spec(sync.definition.metadata_by_key[sync.key])
    assert spec is not None
    line: dict[str, Any] = dict.fromkeys(("partition", "rows", "last_run", "run_id", "pending", "rejected", "lock"))
    return {"asset": sync.name, "object": spec.object, "outcome": NEVER, "plan_under_way": "", "problem": False} | line


def _line(sync: Sync, state: AssetState) -> dict[str, Any]:
    run, report, under_way, lock = last_run(state), said_or(state.report) or {}, said(plan_text, state), holder(state)
    rows = said_or(state.rows)
    outcome = said(_outcome, state, run.get("timestamp"), report) if rows is not None else said(count_text, state)
    interrupted = bool(under_way) and (not lock or lock.endswith(GONE))
    return {
        "asset": sync.name,
        "partition": state.partition,
        "object": said(object_of, state),
        "rows": rows,
        "last_run": moment(run.get("timestamp")),
        "run_id": run.get("run_id"),
        "outcome": outcome,
        "pending": report.get("pending"),
        "rejected": report.get("rejected"),
        "plan_under_way": under_way,
        "lock": lock,
        "problem": interrupted or outcome != DONE,
    }


def _outcome(state: AssetState, last: int | None, report: dict[str, Any]) -> str:
    """What became of the last run. Of one that was stopped there is no report."""
    stopped = state.outcomes().filter(pl.col("outcome") == "stopped").sort("time").tail(1).collect()
    for reason, at in stopped.select("reason", pl.col("time").dt.epoch("ms")).iter_rows():
        if last is None or at > last:
            return f"stopped: {reason}"
    if report.get("error"):
        return "failed"
    return "pending" if report.get("pending", 0) > report.get("deferred", 0) else DONE
