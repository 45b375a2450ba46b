"""The state's tables: Delta Lake tables whose files Polars writes, in half the time and memory of Delta's own writer.

Each version is written once: of two who would write the one after the same, the second gets a DeltaError.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterable
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from cio_dagster import places
from cio_dagster.errors import StateError
from cio_dagster.places import Place

APP = "cio_dagster"
"""The name under which the tables' Delta transactions are kept."""

GROUP_ROWS = 65_536
"""Rows in a group of a table's file. Delta's default is a million, of which readers hold several groups in memory."""

ZSTD_LEVEL = 1

CHECKPOINT_EVERY = 10
"""Versions after which a table's log is summed up. Delta's default is a hundred, of which each opening of the table reads every one."""

WRITER = WriterProperties(max_row_group_size=GROUP_ROWS, compression="ZSTD", compression_level=ZSTD_LEVEL)


def open_table(path: Place) -> DeltaTable | None:
    """The table in a folder, as it is now; None where there is none."""
    try:
        return DeltaTable(str(path))
    except TableNotFoundError:
        return None


def written_for(table: DeltaTable | None) -> int:
    """The plan that a table was last written for; 0 where there is none."""
    return (None if table is None else table.transaction_version(APP)) or 0


def check_log(path: Place) -> None:
    """Raise StateError where a table's log has an empty entry, which Delta takes for one that changed nothing."""
    for name, size in places.sizes(path / "_delta_log").items():
        if name.endswith(".json") and size == 0:
            raise StateError(
                f"{path / '_delta_log' / name} is empty: restore it, or move the folder above {path} away to start anew."
            )


def check_files(table: DeltaTable, path: Place) -> None:
    """Raise StateError where a file of a table is missing, or has another size than was written."""
    there = places.sizes(path)
    for name, size in pl.DataFrame(table.get_add_actions(flatten=True)).select("path", "size_bytes").iter_rows():
        if (found := there.get(unquote(name))) != size:
            raise StateError(
                f"{path / name} has {found or 0:,} bytes of {size:,}: restore it, or move the folder above {path} away to start anew."
            )


def write(
    path: Place,
    table: DeltaTable | None,
    rows: Iterable[pl.LazyFrame],
    *,
    append: bool,
    description: str,
    properties: CommitProperties | None,
) -> None:
    """Write the version after that of `table`, or a new table with this description: rows in parts with the same columns.

    Raises DeltaError where another has written that version meanwhile.
    """
    known = {field.name for field in table.schema().fields} if table is not None else set()
    parts = iter(rows)
    first = next(parts)
    columns = first.collect_schema()
    if append and table is not None and not known.issuperset(columns):
        # New columns are what Delta's own writer is for.
        options = {"schema_mode": "merge", "commit_properties": properties, "writer_properties": WRITER}
        pl.concat([first, *parts]).sink_delta(table, mode="append", delta_write_options=options)
        return
    schema = Schema.from_arrow(pl.DataFrame(schema=columns).to_arrow(compat_level=pl.CompatLevel.oldest()).schema)
    added = [_add_file(path, part) for part in itertools.chain([first], parts)]
    if table is None:
        configuration = {"delta.checkpointInterval": str(CHECKPOINT_EVERY)}
        create_table_with_add_actions(
            str(path), schema, added, description=description, configuration=configuration, commit_properties=properties
        )
    else:
        mode = "append" if append else "overwrite"
        table.create_write_transaction([*added], mode, schema, [], commit_properties=properties)


def properties_of(sequence: int, **said: str) -> CommitProperties:
    """Of a commit that is that of a plan, and what else it is to say."""
    return CommitProperties(app_transactions=[Transaction(APP, sequence)], custom_metadata=said)


def _add_file(path: Place, rows: pl.LazyFrame) -> AddAction:
    name = f"part-{uuid.uuid4()}.parquet"
    file = str(path / name)
    rows.sink_parquet(file, row_group_size=GROUP_ROWS, compression="zstd", compression_level=ZSTD_LEVEL)
    stats = {"numRecords": pl.scan_parquet(file).select(pl.len()).collect().item()}
    return AddAction(name, places.size(path / name), {}, int(time.time() * 1000), True, json.dumps(stats))
