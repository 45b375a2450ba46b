"""Partitions: the parameters that a partition gives a query, and the rows of a frame that belong to each partition."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.key_partitions import Predicate, Slice, key_identifier, slices
from cio_dagster.specs import AnySpec, Event, Identifier, find_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITION_EXPR = "partition_expr"
"""The definition metadata that names the column of a row's partition, as Dagster's own database IO managers have it."""

BEYOND_HEX = "g"
"""What comes after every hash."""


def partition_parameters(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """The partition of a run as query parameters, for `warehouse.query("orders.sql", **partition_parameters(context))`.

    `partition_key` (str) where the run covers one partition; `partition_keys` (list of str); for time windows `partition_start` and
    `partition_end` (aware datetimes), over all partitions of the run. A dimension of a multi-partition gives the same under its own
    name: `region_key`, `region_keys`, `date_start`, `date_end`. `query` ignores what the SQL does not use.

    For hash partitions `partition_start` and `partition_end` are bounds of the MD5 of the key's text, in hex digits (str); for range
    partitions bounds of the key (int or str), None where they are open. `partition_predicate` has the SQL of both ready.
    """
    definition, keys = _partitions(context)
    if isinstance(definition, dg.MultiPartitionsDefinition):
        parameters: dict[str, Any] = {"partition_keys": keys}
        for dimension in definition.partitions_defs:
            of_dimension = sorted({_dimension_key(definition, key, dimension.name) for key in keys})
            parameters |= _parameters(dimension.partitions_def, of_dimension, dimension.name)
        return parameters | ({"partition_key": keys[0]} if len(keys) == 1 else {})
    return _parameters(definition, keys, "partition")


def partition_predicate(context: dg.AssetExecutionContext) -> Predicate:
    """Which rows are of a run's partitions by sync key (`hash_partitions`, `range_partitions`), for `where=` of `Warehouse.query` and `table`.

        warehouse.query("people.sql", where=partition_predicate(context))

    It is about the query's column that `partition_expr` names. Raises SpecError in a run of other partitions, or of none.
    """
    definition, keys = _partitions(context)
    parts = slices(definition)
    if not parts:
        raise SpecError(
            "partition_predicate is for hash_partitions and range_partitions; other partitions are asked for in the SQL, with "
            "**partition_parameters(context)."
        )
    metadata = context.assets_def.metadata_by_key[context.assets_def.key]
    spec = find_spec(metadata)
    if spec is None:
        raise SpecError(f"{context.assets_def.key.to_user_string()} has no sync spec, and so no sync key to be partitioned by")
    return Predicate.of(key_identifier(spec, partition_column(metadata)), [parts[key] for key in keys])


def partition_column(metadata: Mapping[str, Any]) -> Any:
    """What an asset's definition metadata has as `partition_expr`; None for nothing."""
    found = metadata.get(PARTITION_EXPR)
    return getattr(found, "value", found)


def check_partitions(spec: AnySpec, definition: object, partition_expr: str | Mapping[str, str] | None) -> None:
    """Raise SpecError for partitions that such a sync cannot have."""
    if definition is not None and spec.unpartitionable:
        raise SpecError(f"cannot be partitioned: {spec.unpartitionable}")
    if slices(definition):
        key_identifier(spec, partition_expr)
    if isinstance(definition, dg.MultiPartitionsDefinition) and any(
        slices(dimension.partitions_def) for dimension in definition.partitions_defs
    ):
        raise SpecError(
            "cannot have partitions by sync key as a dimension: what one partition would remove could not be judged by the whole. Make "
            "hash_partitions or range_partitions its only partitions."
        )


def split(
    frame: pl.LazyFrame,
    definition: dg.PartitionsDefinition,
    keys: Sequence[str],
    partition_expr: str | Mapping[str, str] | None,
    spec: AnySpec,
) -> dict[str, pl.LazyFrame]:
    """The rows of each partition of a run.

    partition_expr
        The column that holds a row's partition: a time for time windows, else the key; for multi-partitions a mapping from dimension to
        column; for partitions by sync key the key's column. Needed where a run covers several partitions. With it, and always by sync
        key, rows of none of the run's partitions raise SpecError. Rows without an event's time, which are rejected, go with the run's
        first partition.
    """
    parts = slices(definition)
    if parts:
        return _split_by_key(frame, {key: parts[key] for key in keys}, key_identifier(spec, partition_expr))
    if partition_expr is None:
        if len(keys) == 1:
            return {keys[0]: frame}
        raise SpecError(
            f"The run covers {len(keys)} partitions: say partition_expr='column' in customerio_asset, so that each row finds its "
            "own, or return a mapping from partition key to frame."
        )
    schema = frame.collect_schema()
    tests = {key: _belongs(definition, key, partition_expr, schema).fill_null(False) for key in keys}
    if isinstance(spec, Event) and isinstance(partition_expr, str) and spec.timestamp == partition_expr:
        tests[keys[0]] = tests[keys[0]] | pl.col(partition_expr).is_null()
    if strays := _strays(frame, pl.any_horizontal(tests.values())):
        raise SpecError(
            f"{strays:,} rows belong to no partition of this run (by {partition_expr!r}): let the query select by the partition, with "
            "**partition_parameters(context)."
        )
    return {key: frame.filter(test) for key, test in tests.items()}


def _split_by_key(frame: pl.LazyFrame, parts: Mapping[str, Slice], identifier: Identifier) -> dict[str, pl.LazyFrame]:
    schema = frame.collect_schema()
    if identifier.column not in schema:
        raise SpecError(
            f"the query gives no column {identifier.column!r}, by which it is partitioned; it gives {sorted(schema)}"
        )
    dtype = schema[identifier.column]
    tests = {key: Predicate.of(identifier, [part]).expr(dtype) for key, part in parts.items()}
    if strays := _strays(frame, Predicate.of(identifier, parts.values()).expr(dtype)):
        raise SpecError(
            f"{strays:,} rows belong to no partition of this run (by the sync key in {identifier.column!r}): let the query select them, with "
            "where=partition_predicate(context). If it does, the database writes the key as another text than is sent: cast the column to text "
            "in the query."
        )
    return {key: frame.filter(test) for key, test in tests.items()}


def _strays(frame: pl.LazyFrame, belongs: pl.Expr) -> int:
    return int(frame.filter(~belongs).select(pl.len()).collect(engine="streaming").item())


def _belongs(definition: Any, key: str, partition_expr: str | Mapping[str, str], schema: pl.Schema) -> pl.Expr:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        if not isinstance(partition_expr, Mapping):
            raise SpecError("partition_expr of a multi-partitioned asset is a mapping from dimension to column")
        return pl.all_horizontal(
            _belongs(each.partitions_def, _dimension_key(definition, key, each.name), partition_expr[each.name], schema)
            for each in definition.partitions_defs
        )
    if not isinstance(partition_expr, str) or partition_expr not in schema:
        raise SpecError(f"partition_expr={partition_expr!r} is no column of the query; it gives {sorted(schema)}")
    column = pl.col(partition_expr)
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return column.cast(pl.String) == key
    window = definition.time_window_for_partition_key(key)
    return (column >= _bound(window.start, schema[partition_expr])) & (column < _bound(window.end, schema[partition_expr]))


def _bound(moment: datetime, dtype: pl.DataType) -> pl.Expr:
    """A window's bound as the column has its times: naive columns are in UTC."""
    aware = pl.lit(moment).dt.convert_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        return aware.dt.replace_time_zone(None) if dtype.time_zone is None else aware
    if isinstance(dtype, pl.Date):
        return pl.lit(moment.date())
    raise SpecError(f"partition_expr names a column of {dtype}; time windows need a date or a datetime")


def _parameters(definition: Any, keys: list[str], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {f"{name}_keys": keys}
    if len(keys) == 1:
        found[f"{name}_key"] = keys[0]
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        windows = [definition.time_window_for_partition_key(key) for key in keys]
        found[f"{name}_start"] = min(window.start for window in windows)
        found[f"{name}_end"] = max(window.end for window in windows)
    if parts := [part for key, part in slices(definition).items() if key in set(keys)]:
        below, beyond = ("", BEYOND_HEX) if parts[0].hashed else (None, None)
        found[f"{name}_start"] = below if parts[0].start is None else parts[0].start
        found[f"{name}_end"] = beyond if parts[-1].end is None else parts[-1].end
    return found


def _partitions(context: dg.AssetExecutionContext) -> tuple[Any, list[str]]:
    if not context.has_partition_key and not context.has_partition_key_range:
        raise SpecError("partition_parameters needs a run of a partitioned asset")
    return context.assets_def.partitions_def, list(context.partition_keys)


def _dimension_key(definition: dg.MultiPartitionsDefinition, key: str, dimension: str) -> str:
    return definition.get_partition_key_from_str(key).keys_by_dimension[dimension]
