"""Column names inside the pipeline.

Source columns carry a prefix until a row is prepared, so that an attribute's name and a source column's name never meet; columns of
ours begin with an underscore.
"""

from __future__ import annotations

import polars as pl

PREFIX = "source:"

INTERNAL = frozenset(
    [
        "_row",
        "_key",
        "_person",
        "_object",
        "_token",
        "_row_id",
        "_platform",
        "_last_used",
        "_name",
        "_timestamp",
        "_ulid",
        "_newest",
        "_reject",
        "_content",
        "_seed",
        "_bad",
        "_rows",
        "_operation",
        "_changes",
        "_body",
        "_position",
        "_status",
        "_accepted_at",
    ]
)
"""Columns that prepared rows, plans and snapshots have beside the attributes; no attribute can have one of these names."""


def source(column: str) -> pl.Expr:
    """A column of the source, inside prepare."""
    return pl.col(PREFIX + column)
