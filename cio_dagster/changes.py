"""CHANGES: a plan as people read it: which row, which attribute, from what to what.

| column | what |
|---|---|
| `operation` | as in the plan; removals first, then updates |
| `key` | the sync key |
| `attribute` | the attribute that an update changes; null where a row is removed or sent whole |
| `before` | its JSON text as Customer.io has it, as far as is known; of a removed row, all that is known of it, as a JSON object |
| `after` | its JSON text as it will be; of a row that is sent whole, the JSON that is sent |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from cio_dagster.plan import DTYPES, Plan
from cio_dagster.prepare.columns import OLD
from cio_dagster.prepare.json_text import joined_object
from cio_dagster.specs import read_spec

COLUMNS = ("operation", "key", "attribute", "before", "after")

OPERATIONS_SHOWN = ("delete", "update", "create", "send", "keep", "left_out")
"""In this order."""


def changes(plan: Plan, before: pl.LazyFrame | None) -> pl.LazyFrame:
    """All changes of a plan. `before` is what it was made on: `_key` and attributes of the rows that Customer.io is taken to hold."""
    operations = plan.operations()
    kinds = [kind for kind in OPERATIONS_SHOWN if getattr(plan.counts, kind)]
    parts = [_of_kind(kind, operations.filter(pl.col("_operation") == kind), _names(plan), before) for kind in kinds]
    empty = pl.LazyFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    return pl.concat([empty, *(part.select(COLUMNS) for part in parts)])


def sample(plan: Plan, before: pl.LazyFrame | None, rows: int) -> list[dict[str, Any]]:
    """The changes of some rows of each operation that sends something."""
    found: list[dict[str, Any]] = []
    # One after the other, each read no further than its examples: grouped, the bodies of all would be in memory.
    for kind in (each for each in OPERATIONS_SHOWN[:4] if getattr(plan.counts, each)):
        some = plan.operations().filter(pl.col("_operation") == kind).head(rows).collect(engine="streaming")
        known = None if before is None else before.filter(pl.col("_key").is_in(some["_key"].implode()))
        shown = _of_kind(kind, some.lazy(), _names(plan), known).select(COLUMNS)
        found += shown.collect(engine="streaming").to_dicts()
    return found


def write_changes(plan: Plan, before: pl.LazyFrame | None, path: Path) -> None:
    """Write all changes to a CSV file. Values are JSON text, so that an empty field is none, and an empty string is `""`."""
    changes(plan, before).sink_csv(path)


def _names(plan: Plan) -> dict[str, str]:
    """The columns of attributes, and their names; those of Customer.io's own fields begin with an underscore."""
    own = {f"_{name}": name for name in read_spec(plan.spec).fields}
    return {column: own.get(column, column) for column in pl.read_parquet_schema(plan.folder / DTYPES)}


def _of_kind(kind: str, operations: pl.LazyFrame, names: dict[str, str], before: pl.LazyFrame | None) -> pl.LazyFrame:
    none = pl.lit(None, dtype=pl.String)
    if kind == "delete":
        known = joined_object([(name, pl.col(column)) for column, name in names.items()])
        what = {"attribute": none, "before": pl.when(known != "{}").then(known), "after": none}
    elif kind == "update" and names and before is not None:
        return _updates(operations, names, before)
    else:
        what = {"attribute": none, "before": none, "after": pl.col("_body")}
    return operations.select(operation="_operation", key="_key", **what)


def _updates(operations: pl.LazyFrame, names: dict[str, str], before: pl.LazyFrame) -> pl.LazyFrame:
    """A row for each attribute that changes; one for an update that changes none, which is only sent again."""
    known = [column for column in names if column in before.collect_schema()]
    # Of the rows that change alone: what is joined to is in memory.
    touched = before.join(operations.select("_key"), on="_key", how="semi")
    old = touched.select("_key", *(pl.col(column).alias(OLD + column) for column in known))
    each = pl.concat_list([pl.when(changed(column)).then(pl.lit(name)) for column, name in names.items()])
    rows = operations.join(old, on="_key", how="left").with_columns(attribute=each.list.drop_nulls())

    def of_attribute(columns: dict[str, str]) -> pl.Expr:
        """The column that belongs to the row's attribute."""
        found = [pl.when(pl.col("attribute") == name).then(pl.col(column)) for column, name in columns.items()]
        return pl.coalesce([*found, pl.lit(None, dtype=pl.String)])

    return rows.explode("attribute", empty_as_null=True).select(
        "attribute",
        operation="_operation",
        key="_key",
        before=of_attribute({OLD + column: names[column] for column in known}),
        after=pl.when(pl.col("attribute").is_null()).then("_body").otherwise(of_attribute(names)),
    )


def changed(column: str) -> pl.Expr:
    """Whether an operation changes an attribute, by how `diff` begins one in `_changes`; in a string the quotes would be escaped."""
    return pl.col("_changes").str.contains(json.dumps(column, ensure_ascii=False) + ':{"from":', literal=True)
