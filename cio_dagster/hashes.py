"""Which rows may share a value, or may differ from what is known: told by 64-bit hashes, in memory that does not grow with the table.

A hash says where to look closer, and what is found there is compared as it is. Hashes live no longer than a plan's making, so Polars may
change them between versions. A table's hashes are a file of 16 bytes a row, read one bucket at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

KEY_HASH, ROW_HASH = "_key_hash", "_row_hash"

BUCKET_ROWS = 4_000_000
"""Hashes compared at a time."""


def key_hash(name: str = "_key") -> pl.Expr:
    """The hash of a column (UInt64)."""
    return pl.col(name).hash()


def row_hash(data: Sequence[str]) -> pl.Expr:
    """The hash of a row's key and data (UInt64), of other bits than those of its key's hash."""
    return pl.struct("_key", *data).hash(seed=1)


def repeated(hashes: pl.LazyFrame) -> pl.DataFrame:
    """The hashes (a frame's only column, UInt64, read several times) that more than one row has, each once."""
    name = hashes.collect_schema().names()[0]
    found = [bucket.sort(name).filter(pl.col(name) == pl.col(name).shift()).unique() for bucket in _buckets(hashes, name)]
    return pl.concat(found)


def common(hashes: pl.LazyFrame, others: pl.LazyFrame) -> pl.DataFrame:
    """The hashes (both frames' only column, of one name, read several times) that both have, each once."""
    name = hashes.collect_schema().names()[0]
    count = bucket_count(hashes, others)
    found = [
        one.unique().join(other, on=name, how="semi")
        for one, other in zip(_buckets(hashes, name, count), _buckets(others, name, count), strict=True)
    ]
    return pl.concat(found)


def differing(now: pl.LazyFrame, known: pl.LazyFrame, *, gone: bool) -> pl.DataFrame:
    """The key hashes (KEY_HASH) of rows that are not known as they are; with `gone`, of those too that are known and not there now.

    now, known
        KEY_HASH and ROW_HASH, read several times. A row of `now` without a ROW_HASH is there, but not to be compared.
    """
    count, other = bucket_count(now, known), KEY_HASH + "_right"
    differs = pl.col(ROW_HASH).is_not_null() & pl.col(ROW_HASH).ne_missing(pl.col(ROW_HASH + "_right"))
    found = []
    for here, there in zip(_buckets(now, KEY_HASH, count), _buckets(known, KEY_HASH, count), strict=True):
        joined = here.lazy().join(there.lazy(), on=KEY_HASH, how="full" if gone else "left", coalesce=False)
        touched = joined.filter(differs | pl.col(KEY_HASH).is_null()).select(pl.coalesce(KEY_HASH, other))
        found.append(touched.collect(engine="streaming"))
    return pl.concat(found).unique()


def write_hashes(rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Keep hash columns in a file, to be read several times."""
    rows.sink_parquet(path, compression="uncompressed")
    return pl.scan_parquet(path)


def bucket_count(*hashes: pl.LazyFrame) -> int:
    """In how many buckets these are read."""
    rows = sum(int(each.select(pl.len()).collect(engine="streaming").item()) for each in hashes)
    return max(-(-rows // BUCKET_ROWS), 1)


def in_bucket(hashed: pl.Expr, bucket: int, count: int) -> pl.Expr:
    """Whether a row is in one of so many buckets, by its hash."""
    return hashed % count == bucket


def _buckets(hashes: pl.LazyFrame, name: str, count: int | None = None) -> Iterator[pl.DataFrame]:
    count = count or bucket_count(hashes)
    for bucket in range(count):
        rows = hashes.filter(in_bucket(pl.col(name), bucket, count)) if count > 1 else hashes
        yield rows.collect(engine="streaming")
