"""DuckDB: a file, an empty database in memory, or MotherDuck."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement, quoted
from cio_dagster.warehouse.staging import BATCH_ROWS, DECIMAL_DIGITS, Result, read_out

# PIVOT is several statements in one: before DuckDB 2.0 the last of them, a SELECT, is found.
_QUERIES = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)
_HOLDS_BOUND = duckdb.__version__.startswith("1.")
"""Before 2.0 a relation with parameters holds its whole result in memory."""

_AS_IS = re.compile(
    r"boolean|u?(tiny|small|big)int|u?integer|float|double|decimal|varchar|blob|uuid|enum|null|"
    r"date|time|timestamp(_s|_ms|_ns| with time zone)?"
)
_NESTED = {"list": ["child"], "array": ["child"], "struct": None, "map": None}


_SETTINGS = (
    "set TimeZone = 'UTC'",
    "set enable_progress_bar = false",
    # A name that is no table is not to be looked for among Python's variables.
    "set python_enable_replacements = false",
    # Of a file, this is said at connecting already.
    "begin transaction read only",
)


@contextmanager
def run_duckdb(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement in the file, in memory, or at MotherDuck. The session's options are DuckDB's settings."""
    try:
        with _connect(session) as connection, session.running.cancelled_by(connection.interrupt):
            connection.execute("; ".join(_SETTINGS))
            if connection.extract_statements(statement.text)[-1].type not in _QUERIES:
                raise EngineError("it gives no rows; a query is a SELECT")
            reader = _reader(connection, statement.text, dict(parameters))
            yield Result(reader.schema, read_out(reader))
    except (duckdb.Error, pa.ArrowException) as error:
        raise EngineError(str(error)) from error


def _connect(session: Session) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = dict(session.options)
    if session.url.startswith("md:"):
        # Whether it is read only is the account's to say: MotherDuck has no such connections. The transaction is.
        return duckdb.connect(session.url, config=settings)
    if session.rest and not session.rest.startswith("/"):
        raise EngineError("a DuckDB file needs three slashes, and one more if its path is absolute: duckdb:///warehouse.duckdb")
    path = session.rest[1:]
    if not path:
        return duckdb.connect(":memory:", config=settings)
    try:
        return duckdb.connect(path, read_only=True, config=settings)
    except duckdb.IOException as error:
        if "Could not set lock" in str(error):
            raise EngineError(
                f"another process is writing to {path}, and DuckDB lets a file be either read by many or written by one: "
                f"try again when it has ended ({error})"
            ) from error
        raise
    except duckdb.ConnectionException as error:
        raise EngineError(f"this process has {path} open for writing; close that connection first ({error})") from error


def _reader(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, object]) -> pa.RecordBatchReader:
    """Run a query, and read it batch by batch."""
    if parameters and _HOLDS_BOUND:
        relation = connection.sql(f"FROM (\n{sql}\n) LIMIT 0", params=parameters)
        columns = ", ".join(map(_column, relation.columns, relation.types))
        return connection.execute(f"SELECT {columns} FROM (\n{sql}\n)", parameters).to_arrow_reader(BATCH_ROWS)
    relation = connection.sql(sql, params=parameters or None)
    return relation.project(", ".join(map(_column, relation.columns, relation.types))).to_arrow_reader(BATCH_ROWS)


def _column(name: str, kind: Any) -> str:
    column = quoted(name)
    if kind.id in _NESTED:
        if inside := _without_dtype(kind):
            raise EngineError(
                f"column {name!r} ({kind}) holds {inside}, which no dtype can; cast it in the query: to_json({name})"
            )
        return column
    if _AS_IS.fullmatch(kind.id):
        return column
    cast = f"DECIMAL({DECIMAL_DIGITS}, 0)" if kind.id in ("hugeint", "uhugeint") else "VARCHAR"
    return f"{column}::{cast} AS {column}"


def _without_dtype(kind: Any) -> str | None:
    """The first type inside a nested one that no dtype can hold."""
    if kind.id not in _NESTED:
        return None if _AS_IS.fullmatch(kind.id) else str(kind)
    parts = _NESTED[kind.id]
    return next((found for name, part in kind.children if not parts or name in parts if (found := _without_dtype(part))), None)
