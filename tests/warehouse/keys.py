"""Keys of every kind, as SQL and as a frame, and their partitions by either."""

from __future__ import annotations

import dagster as dg
import polars as pl

from cio_dagster import Person
from cio_dagster.key_partitions import Predicate, key_identifier, slices
from cio_dagster.partitions import split
from cio_dagster.specs import AnySpec
from cio_dagster.warehouse import Warehouse

KEYS = [f"('{n * 7919}', 'Name{n}@Example.org', 'cio_{n:x}', '+4670{n}', {n - 20}, null)" for n in range(60)]
ODD = [
    "('x y', ' ADA@x.org ', 'Cio_a', ' +46 ', 0, null)",
    "('it''s é', 'GRÜN@bücher.de', 'cio_cio_b', '+1', 2147483647, null)",
    "('', '', '', '', -2147483648, null)",
    "('日本🎈', 'a$b@x.org', 'cio_', '$2', 7, null)",
    "(null, null, null, null, null, null)",
]
TABLE = f"select id, email, cio_id, phone, number, nothing from (values {', '.join(KEYS + ODD)}) as t(id, email, cio_id, phone, number, nothing)"

BY_KEY: dict[str, AnySpec] = {
    "id": Person(),
    "email": Person(key="email"),
    "cio_id": Person(key="cio_id"),
    "number": Person(column="number"),
}


def found(
    warehouse: Warehouse, column: str, definition: dg.StaticPartitionsDefinition, table: str = TABLE
) -> list[list[object]]:
    """The keys of each partition, as the database selects them."""
    identifier = key_identifier(BY_KEY[column], column)
    parts = slices(definition)
    assert parts
    return [
        warehouse.query(table, where=Predicate.of(identifier, [part])).collect()[column].sort(nulls_last=True).to_list()
        for part in parts.values()
    ]


def wanted(frame: pl.DataFrame, column: str, definition: dg.StaticPartitionsDefinition) -> list[list[object]]:
    """The same, as the rows of the whole table are split."""
    parts = split(frame.lazy(), definition, list(slices(definition)), column, BY_KEY[column])
    return [part.collect()[column].sort(nulls_last=True).to_list() for part in parts.values()]
