"""SQLite. Its columns have no types, its values do: a column's dtype is that which holds all values that the query gives.

| values of the column | Polars dtype |
|---|---|
| integers | Int64 |
| reals, or both | Float64 |
| text, or that and numbers | String |
| blobs | Binary |
| nothing but null | Null |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from cio_dagster.warehouse.adbc import bound, connected
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement, quoted
from cio_dagster.warehouse.staging import BATCH_ROWS, Result, check_names, read_out

_EXAMPLES = {"integer": "0", "real": "0.0", "text": "''", "blob": "x''", "null": "NULL"}


@contextmanager
def run_sqlite(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement twice in one read transaction: for its types, and for its rows."""
    if not session.rest.startswith("/") or len(session.rest) < 2:
        raise EngineError("an SQLite file needs three slashes, and one more if its path is absolute: sqlite:///warehouse.db")
    path = Path(session.rest[1:])
    if not path.is_file():
        raise EngineError(f"{path.absolute()} does not exist")
    uri = f"file:{quote(str(path))}?mode=ro"
    if session.options:
        raise EngineError("SQLite's driver takes no options")
    values = bound([name for _, _, name in statement.places], parameters)
    text = statement.rewritten(lambda name: "?")
    with connected(session, "sqlite", "adbc_driver_sqlite", uri) as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        # Parsed as a subquery, what writes is refused before it is run.
        cursor.execute(f"SELECT * FROM (\n{text}\n) LIMIT 0", values)
        names = cursor.fetch_record_batch().schema.names
        check_names(names)
        kinds = _kinds(cursor, text, values, names)
        # The driver takes the types from the first rows, and fails at a value that they do not hold: so the first row is an example.
        examples = ", ".join(f"{_EXAMPLES[kind]} AS {quoted(name)}" for name, kind in zip(names, kinds, strict=True))
        cursor.execute(f"SELECT {examples} UNION ALL SELECT * FROM (\n{text}\n)", values)
        reader = cursor.fetch_record_batch()
        parts = [part.with_type(pa.null()) if kind == "null" else part for part, kind in zip(reader.schema, kinds, strict=True)]
        schema = pa.schema(parts)
        yield Result(schema, _without_first(reader, schema))


def _kinds(cursor: Any, text: str, values: pa.RecordBatch | None, names: list[str]) -> list[str]:
    """The storage class that holds all values of each column."""
    counts = [f"max(typeof({quoted(name)}) = '{kind}')" for name in names for kind in ("blob", "text", "real", "integer")]
    cursor.execute(f"SELECT {', '.join(counts)} FROM (\n{text}\n)", values)
    found = cursor.fetchone()
    kinds = []
    for place, name in enumerate(names):
        blob, string, real, integer = found[4 * place : 4 * place + 4]
        if blob and (string or real or integer):
            raise EngineError(f"column {name!r} holds blobs and other values; cast it in the query: CAST({name} AS TEXT)")
        kinds.append("blob" if blob else "text" if string else "real" if real else "integer" if integer else "null")
    return kinds


def _without_first(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    first = True
    for batch in read_out(reader):
        rows = batch.slice(1) if first else batch
        first = False
        arrays = [
            pa.nulls(len(rows)) if pa.types.is_null(part.type) else array
            for part, array in zip(schema, rows.columns, strict=True)
        ]
        yield pa.record_batch(arrays, schema=schema)
