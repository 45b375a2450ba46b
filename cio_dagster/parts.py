"""What a plan has to compare, in parts that fit in memory.

Mostly few rows can differ from what is known: hashes tell which, and they are one part. Where they are too many, all rows go to disk by
buckets of their keys' hashes, and each bucket is a part.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cio_dagster.hashes import KEY_HASH

PART_BYTES = 128 * 2**20
"""Bytes of a part's rows, as their columns' text. Polars holds some times as much while it compares them with what is known."""

GROUP_ROWS = 16_384
"""Rows in a group of a file: writer and readers hold some whole groups in memory, which with the default are several times as large."""


@dataclass(frozen=True)
class Part:
    """Prepared rows, and the rows of the baseline and the unsettled ones that may have the same keys; those may be None."""

    rows: pl.LazyFrame
    baseline: pl.LazyFrame | None
    unsettled: pl.LazyFrame | None


def parts(
    rows: pl.LazyFrame,
    baseline: pl.LazyFrame | None,
    unsettled: pl.LazyFrame | None,
    touched: pl.DataFrame | None,
    staged: Path,
) -> Iterator[Part]:
    """Rows that may differ from the baseline, those of it that may be gone, and the unsettled ones: each in one part.

    rows
        Prepared rows with KEY_HASH, read several times; `staged` is the file that they are in.
    touched
        The key hashes of those rows (KEY_HASH); None for all.

    A part is to be used before the next one is taken.
    """
    if baseline is None and unsettled is None:
        yield Part(rows, None, None)
        return
    if touched is not None and unsettled is not None:
        touched = pl.concat([touched, unsettled.select(KEY_HASH).collect()]).unique()
    total, size = _size(staged)
    count = total if touched is None else len(touched)
    tables = {"rows": rows, "baseline": baseline, "unsettled": unsettled}
    if count * size <= PART_BYTES:
        found = tables if touched is None else {name: _few(table, touched.lazy()) for name, table in tables.items()}
        yield Part(**found)  # type: ignore[arg-type]
        return
    folder, buckets = staged.parent / "parts", -(-count * size // PART_BYTES)
    for name, table in tables.items():
        if table is not None:
            _spread(table, folder / name, buckets)
    for bucket in range(buckets):
        yield Part(**{name: _bucket(table, folder / name, bucket) for name, table in tables.items()})  # type: ignore[arg-type]
    shutil.rmtree(folder)


def _few(rows: pl.LazyFrame | None, keys: pl.LazyFrame) -> pl.LazyFrame | None:
    return None if rows is None else rows.join(keys, on=KEY_HASH, how="semi").collect(engine="streaming").lazy()


def _spread(rows: pl.LazyFrame, folder: Path, buckets: int) -> None:
    by = pl.PartitionBy(folder, key=(pl.col(KEY_HASH) % buckets).alias("_part"), include_key=False)
    rows.sink_parquet(by, row_group_size=GROUP_ROWS, compression="lz4", mkdir=True)


def _bucket(rows: pl.LazyFrame | None, folder: Path, bucket: int) -> pl.LazyFrame | None:
    if rows is None:
        return None
    path = folder / f"_part={bucket}"
    return pl.scan_parquet(path / "*.parquet", hive_partitioning=False) if path.exists() else no_rows(rows)


def no_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """No rows, with the columns of these. (`clear` would read them.)"""
    return pl.LazyFrame(schema=rows.collect_schema())


def _size(staged: Path) -> tuple[int, int]:
    """The rows of a file, and the bytes of one of them, as Parquet writes its columns before it compresses them; a guess where it has none."""
    import pyarrow.parquet as pq  # Slow to import, so where it is used.

    with pq.ParquetFile(staged) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        rows = file.metadata.num_rows
    return rows, -(-sum(group.total_byte_size for group in groups) // rows) if rows else 100
