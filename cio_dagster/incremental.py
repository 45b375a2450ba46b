"""Incremental reads: of a huge table only the rows that changed since the last run, and now and then all of it, for those that went.

What a run read is partial then: rows that it did not read are neither gone nor unchanged, and stay as they are. How far reading came, the
watermark, moves with the commit of a plan:

| read | the watermark becomes | |
|---|---|---|
| some rows | the newest time read, but no newer than that of a row that was rejected, refused or is pending | such rows are read again |
| all | the newest time read | rejected and refused rows are read again once they change, and by the next full read |
| all, and something is pending | none | the next run reads all again |

A run of some keys alone (`only_keys`) reads all, and leaves the watermark as it was. It is never newer than the moment when reading began: a time in the future would hide all that changes until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import BaseModel, ConfigDict, field_validator

from cio_dagster.errors import SpecError, StateError

if TYPE_CHECKING:
    from cio_dagster.plan import Plan
    from cio_dagster.specs import AnySpec
    from cio_dagster.state import AssetState

INCREMENTAL_KEY = "customerio/incremental"
"""The definition metadata that says how an asset reads incrementally."""

BEGINNING = datetime(1, 1, 1, tzinfo=timezone.utc)
"""`$since` of a full read."""


class Incremental(BaseModel):
    """How an asset reads what has changed, for `customerio_asset(..., incremental=Incremental(column="updated_at"))`.

    column
        The query's column with the time of a row's last change: a datetime (naive ones are in UTC) or a date.
    overlap
        How far before the watermark a read begins, for rows that appear with an older time than those that were read already: by transactions
        that end late, by clocks that differ, by loads with a delay. At least as long as the longest of these.
    full_every
        How long after a full read the next one is due. Only full reads find rows that left the source, and rows without a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    overlap: timedelta = timedelta(minutes=10)
    full_every: timedelta = timedelta(days=1)

    @field_validator("overlap", "full_every")
    @classmethod
    def _not_negative(cls, value: timedelta) -> timedelta:
        if value < timedelta(0):
            raise ValueError("it must not be negative")
        return value

    def to_metadata(self) -> dict[str, Any]:
        """The same as asset definition metadata."""
        return {INCREMENTAL_KEY: self.model_dump(mode="json")}


def find_incremental(metadata: Mapping[str, Any]) -> Incremental | None:
    """What `to_metadata` made; None where an asset always reads all."""
    value = metadata.get(INCREMENTAL_KEY)
    return None if value is None else Incremental.model_validate(getattr(value, "value", value), strict=False)


def incremental_parameters(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """What a run is to read, as parameters for `warehouse.query("people.sql", **incremental_parameters(context))`.

    `full` (bool): all of the source. `since` (aware datetime): else only rows with that time or a newer one. The SQL must ask for both,
    as a row without a time is otherwise taken for one that left: `where $full or updated_at >= $since`.

    Raises SpecError for an asset that was not made with `incremental`.
    """
    definition = context.assets_def
    manager = getattr(context.resources, definition.get_io_manager_key_for_asset_key(definition.key))
    reads = manager.begin_read(context).values()
    full = any(not read.partial for read in reads)
    since = min(read.since for read in reads)
    return {"full": full, "since": BEGINNING if full else datetime.fromisoformat(since)}


@dataclass(frozen=True)
class Watermark:
    """How far an asset partition's source was read, as times in ISO 8601."""

    column: str
    time: str
    full_at: str
    """When the last full read began that was carried out wholly."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The spec of that read, as JSON: under another one, rows that did not change are to be sent anew."""


@dataclass(frozen=True)
class Read:
    """What one run reads of a source, as its plan keeps it."""

    column: str
    began: str
    watermark: str | None = None
    """How far reading came before; None where all is read."""
    since: str = BEGINNING.isoformat()

    @property
    def partial(self) -> bool:
        """Whether rows that were not read say nothing."""
        return self.watermark is not None


def next_read(state: AssetState, spec: AnySpec, incremental: Incremental, *, now: datetime, everything: bool = False) -> Read:
    """What the next run of an asset partition is to read.

    That is all where `everything` says so; on a first run; where the spec or the column is another one; where the last full read is too old,
    or was not carried out wholly; and where the snapshot was changed by something else than a run.
    """
    whole = Read(incremental.column, now.isoformat())
    mark, plan = state.watermark(), state.plan_under_way()
    unfinished = plan is not None and (plan.read is None or not plan.read.partial)
    if (
        everything
        or mark is None
        or unfinished
        or mark.column != incremental.column
        or mark.spec != spec.model_dump(mode="json")
    ):
        return whole
    if now - datetime.fromisoformat(mark.full_at) >= incremental.full_every:
        return whole
    since = datetime.fromisoformat(mark.time) - incremental.overlap
    return Read(incremental.column, now.isoformat(), mark.time, since.isoformat())


def check_still_good(read: Read | None, state: AssetState) -> None:
    """Raise StateError where a partial read began further on than the state now says. To be asked under the lock."""
    if read is None or read.watermark is None:
        return
    mark = state.watermark()
    reached = None if mark is None or mark.column != read.column else datetime.fromisoformat(mark.time)
    if reached is None or reached < datetime.fromisoformat(read.watermark):
        raise StateError(
            f"Nothing was sent: only rows changed since {read.since} were read, but meanwhile another run of {state.asset}, or cio-state, made "
            "it necessary to read more. Run it again."
        )


def row_times(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """The time of each row: `_row`, `_time` (UTC). Raises SpecError where the column has none."""
    schema = frame.collect_schema()
    if not isinstance(schema.get(column), (pl.Datetime, pl.Date)):
        found = f"is {schema[column]}" if column in schema else f"is not among {sorted(schema)}"
        raise SpecError(f"The column {column!r} of incremental= {found}; it must be a date or a datetime that the query gives.")
    time = pl.col(column).cast(pl.Datetime("us")) if isinstance(schema[column], pl.Date) else pl.col(column)
    zone = getattr(schema[column], "time_zone", None)
    time = time.dt.replace_time_zone("UTC") if zone is None else time.dt.convert_time_zone("UTC")
    return frame.select(_time=time.dt.cast_time_unit("us")).with_row_index("_row")


def moved(plan: Plan, done: pl.LazyFrame, before: Watermark | None) -> Watermark | None:
    """The watermark after a plan, as the module's table says; None where the next run is to read all.

    done
        The plan's operations with their `_outcome`.
    """
    read = plan.read
    assert read is not None
    outcome, times = pl.col("_outcome"), pl.scan_parquet(plan.times_path)
    unsettled = [plan.rejected().select("_row"), done.filter(outcome.is_in(["refused", "pending"])).select("_row")]
    newest, oldest, pending = (
        each.item()
        for each in pl.collect_all(
            [
                times.select(pl.col("_time").max()),
                times.join(pl.concat(unsettled), on="_row", how="semi").select(pl.col("_time").min()),
                done.select((outcome == "pending").any()),
            ],
            engine="streaming",
        )
    )
    began = datetime.fromisoformat(read.began)
    if read.watermark is None:
        return None if pending else Watermark(read.column, min(newest or began, began).isoformat(), read.began, plan.spec)
    if before is None:
        return None
    last = datetime.fromisoformat(read.watermark)
    reached = min(each for each in (newest or last, oldest, began) if each is not None)
    return Watermark(read.column, max(reached, last).isoformat(), before.full_at, before.spec)


def read_of(manifest: Mapping[str, Any] | None) -> Read | None:
    """The read that a plan's manifest holds."""
    return None if manifest is None else Read(**manifest)
