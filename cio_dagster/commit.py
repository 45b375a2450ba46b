"""COMMIT: the snapshot and the outcomes of a plan, from what its answers prove. Made twice, it counts once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import polars as pl

from cio_dagster.answers import Answers, read_answers
from cio_dagster.hashes import in_bucket, key_hash
from cio_dagster.incremental import moved
from cio_dagster.lock import Held
from cio_dagster.plan import Plan
from cio_dagster.report import rejects
from cio_dagster.specs import AnySpec, Collection, Event
from cio_dagster.state import OUTCOMES_SCHEMA, AssetState

PLAN_COLUMNS = ["_position", "_operation"]

KEYS = 2_000_000
"""Keys of changed rows that are in memory at a time."""


@dataclass(frozen=True)
class Committed:
    """What a commit found.

    counted
        How many operations had which outcome: `_operation`, `_outcome` (String), `rows` (UInt32).
    refused
        The operations that Customer.io refused, by reason (see `cio_dagster.report.rejects`).
    """

    counted: pl.DataFrame
    refused: list[dict[str, Any]]

    @property
    def accepted(self) -> int:
        """Operations that Customer.io accepted."""
        return sum(self.accepted_by_operation.values())

    @property
    def accepted_by_operation(self) -> dict[str, int]:
        """The same by `_operation`."""
        return dict(self.counted.filter(pl.col("_outcome") == "accepted").select("_operation", "rows").iter_rows())


def commit(state: AssetState, plan: Plan, spec: AnySpec, *, begun: int | None = None, held: Held = lambda: None) -> Committed:
    """Write the snapshot, then what is unsettled, then the outcomes, then how far reading came, then close the plan.

    Accepted rows enter the snapshot or leave it; refused and pending ones do neither, so that the next run tries them again.

    begun
        Sending came as far as this position. By default all that was to be sent, if the plan's log of answers was opened: then what is
        pending may have reached Customer.io or not, and is unsettled.
    held
        Asked before each of these steps, as each may take long.
    """
    held()
    answers = read_answers(plan.answers_path, plan.operations().select(pl.len()).collect(engine="streaming").item())
    written = _done(plan, answers, pl.all().exclude("_position", "_row", "_changes", "_body"))
    told = _done(plan, answers, pl.col("_key", "_operation"))
    now = datetime.now(timezone.utc)

    wrote = ["outcomes"]
    if (snapshot := _snapshot(state, plan, spec, written, now)) is not None:
        wrote.append("snapshot")
        state.write_snapshot(snapshot, plan, append=isinstance(spec, Event))
    if begun is None:
        begun = plan.stop if plan.answers_path.exists() else 0
    unsettled = _unsettled(state, plan, spec, written, begun, bool(answers))
    held()
    state.write_unsettled(unsettled)
    state.write_outcomes(_outcomes(state, plan, told, now), plan)
    counted = told.group_by("_operation", "_outcome").agg(rows=pl.len()).collect(engine="streaming")
    refused = told.filter(pl.col("_outcome") == "refused")
    found = Committed(counted, rejects(refused.select("_key", reason="_reason", field="_field", message="_message")))
    held()
    if plan.read is not None and not plan.chosen:
        # Rows that were not chosen are still to be read by the next run.
        state.write_watermark(moved(plan, _done(plan, answers, pl.col("_row", "_operation")), state.watermark()))
    state.close_plan(plan, wrote)
    return found


def _done(plan: Plan, answers: Answers, columns: pl.Expr) -> pl.LazyFrame:
    """Columns of the operations, with what became of each."""
    done = answers.outcomes(plan.operations().select("_position", columns))
    left_out = pl.col("_operation") == "left_out"
    return done.with_columns(_outcome=pl.when(left_out).then(pl.lit("left_out")).otherwise("_outcome"))


def record_stop(state: AssetState, plan: Plan, reason: str, message: str) -> None:
    """Account for the source rows of a plan that a guard, or a change since it was shown, stopped, by one line of the outcomes."""
    line = {
        "run_id": plan.run_id,
        "asset": state.asset,
        "partition": state.partition,
        "operation": "none",
        "outcome": "stopped",
        "reason": reason,
        "message": message,
        "time": datetime.now(timezone.utc),
        "rows": plan.counts.source,
    }
    state.append_outcomes(pl.LazyFrame([line], schema=OUTCOMES_SCHEMA))


def _unsettled(
    state: AssetState, plan: Plan, spec: AnySpec, done: pl.LazyFrame, begun: int, answered: bool
) -> pl.LazyFrame | None:
    """`_key` and identifiers of rows that may be in Customer.io or not, with old values or new; None where all is known.

    A collection is so as a whole, and then any frame says so. Events are not: sent again, each counts once. Made twice, it is the same.
    """
    if isinstance(spec, Event):
        return None
    before = state.unsettled()
    pending = (pl.col("_outcome") == "pending") & (pl.col("_position") < begun)
    found = done.filter(pending).select("_key", *(f"_{role}" for role in spec.identifiers)).collect(engine="streaming")
    accepted = done.filter(pl.col("_outcome") == "accepted").select("_key")
    if isinstance(spec, Collection):
        if len(accepted.collect()) or (answered and not plan.operations().select(pl.len()).collect().item()):
            return None
        return found.lazy() if len(found) or plan.replaces else before
    if before is not None:
        settled = accepted.join(before, on="_key", how="semi").collect(engine="streaming").lazy()
        still = before.join(settled, on="_key", how="anti").join(found.lazy(), on="_key", how="anti")
        found = pl.concat([found, still.collect(engine="streaming")], how="diagonal")
    return None if found.is_empty() else found.lazy()


def _snapshot(state: AssetState, plan: Plan, spec: AnySpec, done: pl.LazyFrame, now: datetime) -> Iterable[pl.LazyFrame] | None:
    """What Customer.io holds now (of a ledger: what is new in it), in parts to be written one after the other; None where nothing changed."""
    taken = done.filter(pl.col("_outcome").is_in(["accepted", "left_out"]))
    written = taken.filter(pl.col("_operation") != "delete").with_columns(
        _accepted_at=pl.col("_at").fill_null(now), **({"_status": pl.col("_outcome")} if isinstance(spec, Event) else {})
    )
    written = written.drop(*PLAN_COLUMNS, "_outcome", "_reason", "_field", "_message", "_at")
    before = state.snapshot()
    baseline = plan.baseline() if plan.baseline() is not None else before
    count = taken.select(pl.len()).collect(engine="streaming").item()
    if count == 0 and before is not None and plan.baseline() is None:
        return None
    if baseline is None or isinstance(spec, Event):
        return [written]
    # Delta has no columns that differ by case only: a renamed attribute takes the place of the old one.
    names = {name.casefold(): name for name in written.collect_schema()}
    stale = [name for name in baseline.collect_schema() if names.get(name.casefold(), name) != name]
    return _merged(baseline.drop(stale), written, taken.select("_key"), -(-count // KEYS) or 1)


def _merged(baseline: pl.LazyFrame, written: pl.LazyFrame, keys: pl.LazyFrame, parts: int) -> Iterator[pl.LazyFrame]:
    """The baseline without the rows of these keys, and the written rows; by parts of the keys, of which one is in memory."""
    # Attributes that the source no longer has: Customer.io has them still.
    others = [name for name in baseline.collect_schema() if name not in written.collect_schema()]
    for part in range(parts):
        here = pl.lit(True) if parts == 1 else in_bucket(key_hash(), part, parts)
        # Collected first: lazily, Polars 2.1 was seen to hold the baseline in memory meanwhile.
        taken = keys.filter(here).collect(engine="streaming").lazy()
        before, now = baseline.filter(here), written.filter(here)
        if others:
            now = now.join(before.select("_key", *others).join(taken, on="_key", how="semi"), on="_key", how="left")
        yield pl.concat([before.join(taken, on="_key", how="anti"), now], how="diagonal")


def _outcomes(state: AssetState, plan: Plan, done: pl.LazyFrame, now: datetime) -> pl.LazyFrame:
    sent = done.select(
        key=pl.col("_key"),
        operation=pl.col("_operation"),
        outcome=pl.when(pl.col("_outcome") == "refused").then(pl.lit("rejected")).otherwise("_outcome"),
        reason=pl.when(pl.col("_position") >= plan.stop).then(pl.lit("limit")).otherwise("_reason"),
        field=pl.col("_field"),
        message=pl.col("_message"),
        time=pl.col("_at").fill_null(now),
        rows=pl.lit(1, dtype=pl.Int32),
    )
    rejected = plan.rejected().select(
        key=pl.col("_key"),
        operation=pl.lit("prepare"),
        outcome=pl.lit("rejected"),
        reason=pl.col("_reject").struct.field("reason"),
        field=pl.col("_reject").struct.field("field"),
        message=pl.concat_str(
            pl.col("_reject").struct.field("message"),
            # Without a key, its place is all that tells the row.
            pl.when(pl.col("_key").is_null()).then(pl.format(" (row {} of the source, from 0)", "_row")),
            ignore_nulls=True,
        ),
        time=pl.lit(now).cast(pl.Datetime("us", "UTC")),
        rows=pl.lit(1, dtype=pl.Int32),
    )
    others = pl.LazyFrame(
        {
            "operation": ["none", "none"],
            "outcome": ["unchanged", "not_chosen"],
            "time": [now, now],
            "rows": [plan.counts.unchanged, plan.counts.not_chosen],
        },
        schema_overrides={"time": pl.Datetime("us", "UTC"), "rows": pl.Int32},
    ).filter(pl.col("rows") > 0)
    where = [
        pl.lit(plan.run_id).alias("run_id"),
        pl.lit(state.asset).alias("asset"),
        pl.lit(state.partition, dtype=pl.String).alias("partition"),
    ]
    return pl.concat([sent, rejected, others], how="diagonal").with_columns(where).select(OUTCOMES_SCHEMA.names())
