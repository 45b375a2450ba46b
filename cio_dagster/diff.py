"""DIFF: ready rows against the baseline, what Customer.io is taken to hold.

Pure functions from frames to frames. The baseline has the columns `_key`, identifiers and attributes of prepared rows; those that a
source no longer has, or does not have yet, may be missing on either side.

Rows are compared by key and hash first, and only those that differ are joined whole. The hash lives no longer than the comparison, so
Polars may change it between versions.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

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
        baseline = unsettled.clear()
    if baseline is None:
        created = ready.with_columns(_changes=pl.lit(None, dtype=pl.String), **{NEW + name: pl.col(name) for name in data})
        return Diff(created=created, updated=created.clear(), gone=ready.clear().drop("_row"))

    known = set(baseline.collect_schema())
    before = baseline.select(
        "_key", *((pl.col(name) if name in known else pl.lit(None, dtype=pl.String)).alias(OLD + name) for name in data)
    )
    hashes = ready.select("_key", _hash=_row_hash(data)).join(
        before.select("_key", _old_hash=_row_hash([OLD + name for name in data])), on="_key", how="full", coalesce=True
    )
    resent = pl.lit(resend)
    if unsettled is not None:
        hashes = hashes.join(unsettled.select("_key", _unsettled=pl.lit(True)), on="_key", how="left")
        resent = pl.lit(resend) | pl.col("_unsettled").fill_null(False)
    is_new, is_gone = pl.col("_old_hash").is_null(), pl.col("_hash").is_null()
    differs = resent | (pl.col("_hash") != pl.col("_old_hash"))
    touched = (
        hashes.filter(is_new | is_gone | differs)
        .select(
            "_key",
            _is=pl.when(is_new).then(pl.lit("new")).when(is_gone).then(pl.lit("gone")).otherwise(pl.lit("both")),
            _unsettled=resent,
        )
        .collect(engine="streaming")
    )
    keys = {kind: touched.filter(pl.col("_is") == kind).select("_key", "_unsettled").lazy() for kind in ("new", "both", "gone")}

    created = ready.join(keys["new"], on="_key", how="semi").with_columns(
        _changes=pl.lit(None, dtype=pl.String), **{NEW + name: pl.col(name) for name in data}
    )
    changed = {name: pl.col(name).is_not_null() & pl.col(name).ne_missing(pl.col(OLD + name)) for name in data}
    both = ready.join(keys["both"], on="_key", how="semi").join(before.join(keys["both"], on="_key"), on="_key")
    if not resend:
        both = both.filter(pl.any_horizontal(pl.col("_unsettled"), *changed.values()))
    updated = both.with_columns(
        **{
            NEW + name: pl.col(name) if resend or whole else pl.when(pl.col("_unsettled") | changed[name]).then(pl.col(name))
            for name in data
        },
        _changes=_changes(changed),
    ).with_columns(pl.coalesce(pl.col(name), pl.col(OLD + name)).alias(name) for name in data)
    gone = baseline.join(keys["gone"], on="_key", how="semi")
    if unsettled is not None:
        unknown = unsettled.join(hashes.select("_key"), on="_key", how="anti")
        gone = pl.concat([gone, unknown], how="diagonal")
    gone = gone.join(prepared.rejected.select("_key"), on="_key", how="anti")
    return Diff(created=created, updated=updated.drop("_unsettled", *(OLD + name for name in data)), gone=gone)


def _row_hash(columns: list[str]) -> pl.Expr:
    return pl.struct(columns).hash() if columns else pl.lit(0, dtype=pl.UInt64)


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
