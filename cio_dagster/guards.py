"""Guards: judge a plan before anything is sent, and stop it if it would do more harm than allowed."""

from __future__ import annotations

import polars as pl

from cio_dagster.errors import GuardError
from cio_dagster.limits import COLLECTION_BYTES
from cio_dagster.plan import Plan
from cio_dagster.specs import AnySpec, Collection, Event, Threshold

DEFAULT_SHARE = 0.2
DEFAULT_ROWS = 10
"""Where a spec has no max_delete, a removal of more than this share and more than this many rows is stopped."""

ALLOW = (
    "If that is meant, run it once with the option `allow_deletes: true` (in the launchpad, under ops > this asset > config)."
)


def check(plan: Plan, spec: AnySpec, *, allow_deletes: bool) -> None:
    """Raise GuardError if the plan must not be sent. `allow_deletes` lifts the guards on removals, not those on limits."""
    counts = plan.counts
    if spec.removes and not allow_deletes:
        if counts.known and counts.source - counts.rejected == 0 and counts.delete:
            found = "is empty" if counts.source == 0 else f"has {counts.rejected:,} rows, all of them rejected"
            raise GuardError(
                f"Nothing was sent: the source {found}, but Customer.io holds {counts.known:,} rows from it, and "
                f"{counts.delete:,} would be removed. {ALLOW}",
                guard="empty_source",
                planned=counts.delete,
                known=counts.known,
            )
        most = None if isinstance(spec, (Collection, Event)) else spec.max_delete
        if not isinstance(spec, Collection) and exceeds(counts.delete, counts.known, most):
            limit = f"max_delete={most}" if most is not None else _default_limit()
            raise GuardError(
                f"Nothing was sent: {counts.delete:,} of {counts.known:,} rows would be removed, more than {limit}. {ALLOW}",
                guard="max_delete",
                planned=counts.delete,
                known=counts.known,
            )
    if isinstance(spec, Collection):
        lengths = pl.col("_body").str.len_bytes().cast(pl.UInt64)
        size = (
            plan.operations().select((lengths + 1).sum() + 1).collect().item()
        )  # A comma after each but the last, two brackets.
        if size > COLLECTION_BYTES:
            raise GuardError(
                f"Nothing was sent: the collection's rows are {size:,} bytes as JSON; the limit is {COLLECTION_BYTES:,}. "
                "Select fewer rows or columns.",
                guard="collection_size",
                planned=counts.create + counts.keep,
                known=counts.known,
            )


def exceeds(rows: int, whole: int, threshold: Threshold) -> bool:
    """Whether a number of rows is above a threshold: a count, a share of the whole, or None for the default of removals."""
    if threshold is None:
        return rows > DEFAULT_ROWS and rows > DEFAULT_SHARE * whole
    return rows > threshold * whole if isinstance(threshold, float) else rows > threshold


def _default_limit() -> str:
    return f"{DEFAULT_SHARE:.0%} and {DEFAULT_ROWS} rows (the default; set max_delete to change it)"
