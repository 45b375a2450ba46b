"""DIFF: ready rows against the baseline, what Customer.io is taken to hold.

Pure functions from frames to frames. The baseline has the columns `_key`, identifiers and attributes of prepared rows; those that a
source no longer has, or does not have yet, may be missing on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cio_dagster.parts import no_rows
from cio_dagster.prepare import Prepared
from cio_dagster.prepare.columns import NEW, OLD
from cio_dagster.prepare.json_text import joined_object


@dataclass(frozen=True)
class Diff:
    """What differs. All are lazy.

    created, updated
        Prepared rows as they will be in Customer.io, with a `NEW` column beside each data column, and `_changes`: null, or for
        updated rows a JSON object `{"attribute": {"from": ..., "to": ...}}`.
    gone
        Baseline and unsettled rows whose key the source does not have, not even in a rejected row.
    """

    created: pl.LazyFrame
    updated: pl.LazyFrame
    gone: pl.LazyFrame


def diff(
    prepared: Prepared,
    baseline: pl.LazyFrame | None,
    *,
    unsettled: pl.LazyFrame | None = None,
    resend: bool = False,
    whole: bool = False,
) -> Diff:
    """Compare the ready rows with the baseline.

    An attribute whose text is null on the ready side is left as it is: it neither makes a row differ nor is sent. With `whole`, rows
    that differ are to be sent with all their attributes; with `resend`, rows that do not differ too. Rows that are `unsettled` (`_key`
    and identifiers) may be in Customer.io or not, with any values: they are resent, or gone if the source does not have them.
    """
    ready, data = prepared.ready.drop("_newest", strict=False), prepared.data
    if baseline is None and unsettled is not None:
        baseline = no_rows(unsettled)
    if baseline is None:
        created = ready.with_columns(_changes=pl.lit(None, dtype=pl.String), **{NEW + name: pl.col(name) for name in data})
        return Diff(created=created, updated=no_rows(created), gone=no_rows(ready.drop("_row")))

    known = set(baseline.collect_schema())
    before = baseline.select(
        "_key", *((pl.col(name) if name in known else pl.lit(None, dtype=pl.String)).alias(OLD + name) for name in data)
    )
    flagged = before.with_columns(_unsettled=pl.lit(False))
    if unsettled is not None:
        flags = unsettled.select("_key", _unsettled=pl.lit(True))
        flagged = before.join(flags, on="_key", how="left").with_columns(pl.col("_unsettled").fill_null(False))
    created = ready.join(before.select("_key"), on="_key", how="anti").with_columns(
        _changes=pl.lit(None, dtype=pl.String), **{NEW + name: pl.col(name) for name in data}
    )
    changed = {name: pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(OLD + name)) for name in data}
    both = ready.join(flagged, on="_key")
    if not resend:
        both = both.filter(pl.any_horizontal(pl.col("_unsettled"), *changed.values()))
    updated = both.with_columns(
        **{
            NEW + name: pl.col(name) if resend or whole else pl.when(pl.col("_unsettled") | changed[name]).then(pl.col(name))
            for name in data
        },
        _changes=_changes(changed),
    ).with_columns(pl.coalesce(pl.col(name), pl.col(OLD + name)).alias(name) for name in data)
    here = prepared.rows.select("_key")
    gone = baseline.join(here, on="_key", how="anti")
    if unsettled is not None:
        unknown = unsettled.join(baseline.select("_key"), on="_key", how="anti").join(here, on="_key", how="anti")
        gone = pl.concat([gone, unknown], how="diagonal")
    return Diff(created=created, updated=updated.drop("_unsettled", *(OLD + name for name in data)), gone=gone)


def _changes(changed: dict[str, pl.Expr]) -> pl.Expr:
    members = [
        (
            name,
            pl.when(test).then(
                joined_object([("from", pl.col(OLD + name).fill_null("null")), ("to", pl.col(name))]),
            ),
        )
        for name, test in changed.items()
    ]
    return joined_object(members)
