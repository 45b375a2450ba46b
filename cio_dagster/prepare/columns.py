"""Column names inside the pipeline.

Source columns carry a prefix until a row is prepared, so that an attribute's name and a source column's name never meet; columns of
ours begin with an underscore. Past prepare, columns have the attributes' names, so these must be names that Polars takes as they are.
"""

from __future__ import annotations

import polars as pl

PREFIX = "_source:"
"""Prefix of source columns inside prepare."""

NEW = "_new:"
"""Prefix of the columns that hold what is to be sent: the text of a new or changed attribute, else null."""

OLD = "_old:"
"""Prefix of the baseline's columns, where they are joined to prepared rows."""

INTERNAL = frozenset(
    [
        "_row",
        "_key",
        "_key_hash",
        "_row_hash",
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
        "_rows",
        "_operation",
        "_changes",
        "_body",
        "_position",
        "_outcome",
        "_reason",
        "_field",
        "_message",
        "_at",
        "_status",
        "_unsettled",
        "_accepted_at",
    ]
)
"""Columns that prepared rows, plans and snapshots have beside the attributes; no attribute can have one of these names."""


def is_internal(name: str) -> bool:
    """Whether a column of ours has this name. Case does not tell columns of a snapshot apart."""
    return name.lower() in INTERNAL or name.lower().startswith((PREFIX, NEW, OLD))


def is_pattern(name: str) -> bool:
    """Whether Polars takes the name for a pattern: `pl.col` reads `*` and `^...$` as all columns that match."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def source(column: str) -> pl.Expr:
    """A column of the source, inside prepare."""
    return pl.col(PREFIX + column)
