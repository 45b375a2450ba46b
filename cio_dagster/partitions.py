"""Partitions: the parameters that a partition gives a query, and the rows of a frame that belong to each partition."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from cio_dagster.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence


def partition_parameters(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """The partition of a run as query parameters, for `warehouse.query("orders.sql", **partition_parameters(context))`.

    `partition_key` (str) where the run covers one partition; `partition_keys` (list of str); for time windows `partition_start` and
    `partition_end` (aware datetimes), over all partitions of the run. A dimension of a multi-partition gives the same under its own
    name: `region_key`, `region_keys`, `date_start`, `date_end`. `query` ignores what the SQL does not use.
    """
    definition, keys = _partitions(context)
    if isinstance(definition, dg.MultiPartitionsDefinition):
        parameters: dict[str, Any] = {"partition_keys": keys}
        for dimension in definition.partitions_defs:
            of_dimension = sorted({_dimension_key(definition, key, dimension.name) for key in keys})
            parameters |= _parameters(dimension.partitions_def, of_dimension, dimension.name)
        return parameters | ({"partition_key": keys[0]} if len(keys) == 1 else {})
    return _parameters(definition, keys, "partition")


def split(
    frame: pl.LazyFrame,
    definition: dg.PartitionsDefinition,
    keys: Sequence[str],
    partition_expr: str | Mapping[str, str] | None,
    *,
    null_is_rejected: bool = False,
) -> dict[str, pl.LazyFrame]:
    """The rows of each partition of a run.

    partition_expr
        The column that holds a row's partition: a time for time windows, else the key; for multi-partitions a mapping from dimension to
        column. Needed where a run covers several partitions. With it, rows of none of the run's partitions raise SpecError.
    null_is_rejected
        Whether prepare rejects rows that have null there, as it does for an event's time. They go with the run's first partition then.
    """
    if partition_expr is None:
        if len(keys) == 1:
            return {keys[0]: frame}
        raise SpecError(
            f"The run covers {len(keys)} partitions: say partition_expr='column' in customerio_asset, so that each row finds its "
            "own, or return a mapping from partition key to frame."
        )
    tests = {key: _belongs(definition, key, partition_expr, frame.collect_schema()).fill_null(False) for key in keys}
    if null_is_rejected and isinstance(partition_expr, str):
        tests[keys[0]] = tests[keys[0]] | pl.col(partition_expr).is_null()
    strays = frame.filter(~pl.any_horizontal(tests.values())).select(pl.len()).collect(engine="streaming").item()
    if strays:
        raise SpecError(
            f"{strays:,} rows belong to no partition of this run (by {partition_expr!r}): let the query select by the partition, with "
            "**partition_parameters(context)."
        )
    return {key: frame.filter(test) for key, test in tests.items()}


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
    return found


def _partitions(context: dg.AssetExecutionContext) -> tuple[Any, list[str]]:
    if not context.has_partition_key and not context.has_partition_key_range:
        raise SpecError("partition_parameters needs a run of a partitioned asset")
    return context.assets_def.partitions_def, list(context.partition_keys)


def _dimension_key(definition: dg.MultiPartitionsDefinition, key: str, dimension: str) -> str:
    return definition.get_partition_key_from_str(key).keys_by_dimension[dimension]
