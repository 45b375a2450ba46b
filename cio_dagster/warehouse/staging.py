"""Staging: the batches of a running query become a Parquet file, and that a lazy frame.

A batch is all that is in memory. What Polars could not hold, or would turn into something else, is an error that names the column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.running import Running

BATCH_ROWS = 50_000
"""Rows of a record batch; what memory is bounded by."""

DECIMAL_DIGITS = 38
"""Digits that a Polars Decimal holds."""


@dataclass(frozen=True)
class Result:
    """A running query: the schema to stage, the batches, and which columns are decimals as text, with precision and scale if known."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    decimals: dict[str, tuple[int, int] | None] = field(default_factory=dict)


def read_out(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches; Arrow says by an OSError that the database failed under way, which must not pass for the disk's."""
    try:
        yield from reader
    except (pa.ArrowException, OSError) as error:
        raise EngineError(str(error)) from error


def stage(result: Result, path: Path, running: Running) -> pl.LazyFrame:
    """Write the batches to a Parquet file, as they come; nothing stays behind if that fails."""
    names = result.schema.names
    check_names(names)
    try:
        with pq.ParquetWriter(path, result.schema, compression="zstd") as writer:
            for group in _groups(result.batches, running):
                for name, column in zip(names, group.columns, strict=True):
                    for chunk in column.chunks:
                        _check_range(name, chunk)
                writer.write_table(group)
        return _with_decimals(pl.scan_parquet(path), result)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _groups(batches: Iterator[pa.RecordBatch], running: Running) -> Iterator[pa.Table]:
    """The batches by BATCH_ROWS rows at least: some drivers' are so small that each as a row group of its own would cost more than it holds."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        running.check()
        held.append(batch)
        rows += len(batch)
        if rows >= BATCH_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def check_names(names: list[str]) -> None:
    """Refuse a result without columns, or with two of one name."""
    if not names:
        raise EngineError("it gives no rows; a query is a SELECT")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise EngineError(f"several columns are named {', '.join(map(repr, repeated))}; give each its own name with AS")


_DAY_SECONDS = 86_400
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def check_plain(schema: pa.Schema) -> None:
    """Refuse columns of types that Polars does not have."""
    for part in schema:
        if not is_plain(part.type) or isinstance(part.type, pa.JsonType):
            raise EngineError(f"column {part.name!r} ({part.type}) has no dtype; cast it to text in the query")


def _check_range(name: str, array: pa.Array) -> None:
    """Refuse dates and times that Polars would turn into others: Arrow says infinity by numbers that mean no day."""
    kind = array.type
    if pa.types.is_nested(kind):
        children = array.flatten() if pa.types.is_struct(kind) else [array.items if pa.types.is_map(kind) else array.flatten()]
        for child in children:
            _check_range(name, child)
        return
    if pa.types.is_date32(kind):
        numbers, lowest, highest = array.view(pa.int32()), _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(kind):
        second = _UNITS[kind.unit]
        numbers, lowest = array.view(pa.int64()), _FIRST_DAY * _DAY_SECONDS * second
        highest = (_LAST_DAY + 1) * _DAY_SECONDS * second - 1
    elif pa.types.is_time64(kind):
        numbers, lowest, highest = array.view(pa.int64()), 0, _DAY_SECONDS * _UNITS[kind.unit] - 1
    else:
        return
    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and not lowest <= found["min"] <= found["max"] <= highest:
        raise EngineError(
            f"column {name!r} ({kind}) holds a value outside the years 1 to 9999, such as infinity, or the time 24:00; "
            f"make it null in the query: nullif({name}, 'infinity')"
        )


def _with_decimals(frame: pl.LazyFrame, result: Result) -> pl.LazyFrame:
    """Decimals that came as text, as Decimal: by the scale that is known, else by the least that loses nothing."""
    if not result.decimals:
        return frame
    measures = []
    for name in result.decimals:
        text = pl.col(name).explode() if isinstance(frame.collect_schema()[name], pl.List) else pl.col(name)
        measures += [
            frame.select(
                pl.lit(name).alias("name"),
                text.str.extract(r"^-?0*(\d*)").str.len_bytes().max().alias("whole"),
                text.str.extract(r"\.(\d*?)0*$").str.len_bytes().max().alias("fraction"),
                (~text.str.contains(r"^-?\d+(\.\d+)?$")).any().alias("no_number"),
            )
        ]
    casts = []
    for row in pl.concat(measures).collect(engine="streaming").iter_rows(named=True):
        name, whole, fraction = row["name"], row["whole"] or 0, row["fraction"] or 0
        if row["no_number"]:
            problem = "holds NaN or infinity"
        elif whole + fraction > DECIMAL_DIGITS:
            problem = f"needs {whole} digits before the point and {fraction} behind it; a decimal holds {DECIMAL_DIGITS} in all"
        else:
            precision, scale = result.decimals[name] or (DECIMAL_DIGITS, fraction)
            decimal: pl.DataType = pl.Decimal(precision, scale)
            casts.append(pl.col(name).cast(pl.List(decimal) if result.schema.field(name).type != pa.string() else decimal))
            continue
        raise EngineError(f"column {name!r} (numeric) {problem}; cast it in the query: {name}::double precision, or ::text")
    return frame.with_columns(casts)


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type, JSON included, can be staged and read back by Polars as they are."""
    if isinstance(kind, pa.JsonType):
        return True
    if pa.types.is_struct(kind):
        return all(is_plain(part.type) and not isinstance(part.type, pa.JsonType) for part in kind)
    if pa.types.is_list(kind):
        return is_plain(kind.value_type)
    if pa.types.is_map(kind):
        return is_plain(kind.key_type) and is_plain(kind.item_type)
    return not (isinstance(kind, pa.BaseExtensionType) or pa.types.is_interval(kind) or pa.types.is_decimal256(kind))
