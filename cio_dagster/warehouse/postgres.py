"""PostgreSQL, and Redshift by the same protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cio_dagster.warehouse.adbc import bound, connected
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement, quoted
from cio_dagster.warehouse.staging import BATCH_ROWS, DECIMAL_DIGITS, Result, check_names, is_plain, read_out

REDSHIFT_ROWS = 1_000
"""Rows of a FETCH: a cluster of a single node gives no more."""

_OUR_SQL = re.compile(r"Failed to execute query '.*': (?=ERROR)|\n\nQuery was: .*", re.DOTALL)
"""What the driver repeats of the SQL that we wrapped around the user's."""


@contextmanager
def run_postgres(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement behind a server-side cursor, in a read-only transaction."""
    settings = ["SET LOCAL transaction_read_only = on", "SET LOCAL timezone = 'UTC'", "SET LOCAL cursor_tuple_fraction = 1"]
    with _connected(session, session.url, settings) as cursor:
        yield _declared(cursor, statement, parameters, "NO SCROLL CURSOR", BATCH_ROWS)


@contextmanager
def run_redshift(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """The same, in what Redshift has of it."""
    url = "postgresql://" + session.rest
    settings = ["BEGIN READ ONLY", "SET timezone TO 'UTC'"]
    with _connected(session, url, settings, autocommit=True) as cursor:
        yield _declared(cursor, statement, parameters, "CURSOR", REDSHIFT_ROWS)


@contextmanager
def _connected(session: Session, url: str, settings: list[str], **options: object) -> Iterator[Any]:
    try:
        with connected(
            session, "postgres", "adbc_driver_postgresql", url, db_kwargs=dict(session.options), **options
        ) as cursor:
            # The driver's COPY cannot bind parameters, and without it the driver holds a whole result; a server-side cursor does neither.
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            for setting in settings:
                cursor.execute(setting)
            if session.seconds is not None:
                cursor.execute(f"SET statement_timeout TO {max(1, round(session.seconds * 1000))}")
            yield cursor
    except EngineError as error:
        raise EngineError(_OUR_SQL.sub("", str(error)).strip()) from error


def _declared(cursor: Any, statement: Statement, parameters: Mapping[str, object], kind: str, fetched: int) -> Result:
    names = statement.names
    text = statement.rewritten(lambda name: f"${names.index(name) + 1}")
    values = bound(names, parameters)
    described = cursor.adbc_execute_schema(text, values)
    check_names(described.names)
    types = [_metadata(part).get("POSTGRESQL:type", "") for part in described]
    if not all(types):
        _check_for_old_driver(described, parameters)
        types = _asked_types(cursor, text, values, described.names)
    columns = list(map(_Column.of, described, types))
    selected = ", ".join(column.selected for column in columns)
    checks = "".join(f", array_ndims({column.quoted}) > 1" for column in columns if column.is_array)
    cursor.execute(f"DECLARE cio_rows {kind} FOR SELECT {selected}{checks} FROM (\n{text}\n) AS cio_query", values)
    cursor.execute("FETCH 0 FROM cio_rows")
    schema = pa.schema([(part.name, _storage(part.type)) for part in cursor.fetch_record_batch().schema][: len(columns)])
    decimals = {column.name: column.decimal for column in columns if column.is_decimal}
    return Result(schema, _batches(cursor, schema, columns, fetched), decimals)


_OLD_DRIVER = "needs Python 3.11 and adbc-driver-postgresql 1.13"
"""Before 1.13, and 1.12 is the last for Python 3.10, the driver does not say Postgres' types and binds nulls in lists as zeros."""


def _check_for_old_driver(described: pa.Schema, parameters: Mapping[str, object]) -> None:
    for name, value in parameters.items():
        if isinstance(value, list) and None in value:
            raise EngineError(f"parameter ${name} is a list with None in it, which {_OLD_DRIVER}; or leave the None out")
    for part in described:
        if pa.types.is_struct(part.type.value_type if pa.types.is_list(part.type) else part.type):
            raise EngineError(
                f"column {part.name!r} is of a composite type, which {_OLD_DRIVER}; or cast it in the query: to_json({part.name})"
            )


def _asked_types(cursor: Any, text: str, bound: pa.RecordBatch | None, names: list[str]) -> list[str]:
    """The Postgres types of a query's columns, as newer drivers say them: `money`, `_money` for its arrays. The query is not run."""
    # A domain beside an untyped NULL counts as the type that it is of.
    asked = ", ".join(f"pg_typeof(coalesce({quoted(name)}, NULL))::text" for name in names)
    cursor.execute(
        f"SELECT {asked} FROM (SELECT) AS one LEFT JOIN (SELECT * FROM (\n{text}\n) AS q LIMIT 0) AS q ON true", bound
    )
    return ["_" + name[:-2] if name.endswith("[]") else name for name in cursor.fetchone()]


def _batches(cursor: Any, schema: pa.Schema, columns: list[_Column], fetched: int) -> Iterator[pa.RecordBatch]:
    arrays = [column.name for column in columns if column.is_array]
    while True:
        cursor.execute(f"FETCH FORWARD {fetched} FROM cio_rows")
        rows = 0
        for batch in read_out(cursor.fetch_record_batch()):
            for name, flattened in zip(arrays, batch.columns[len(columns) :], strict=True):
                if pc.any(flattened).as_py():
                    raise EngineError(
                        f"column {name!r} holds an array of several dimensions, which the driver would flatten; "
                        f"cast it in the query: to_json({name})"
                    )
            parts = zip(batch.columns[: len(columns)], schema, strict=True)
            yield pa.record_batch([array.cast(part.type) for array, part in parts], schema=schema)
            rows += len(batch)
        if not rows:
            return


_MISREAD = {"money": "numeric", "oid": "bigint"}
"""Types whose values the driver gives as other numbers (cents; negative ones), and what to cast them to."""


@dataclass(frozen=True)
class _Column:
    """How a column of a Postgres query is read."""

    name: str
    cast: str | None
    is_array: bool
    is_decimal: bool
    decimal: tuple[int, int] | None

    @classmethod
    def of(cls, field: pa.Field, type_name: str) -> _Column:
        """Judged by the type, and the field that the driver describes: opaque types have no Arrow type, and some of the others say less
        than they hold."""
        is_array = pa.types.is_list(field.type)
        kind = field.type.value_type if is_array else field.type
        type_name = type_name.removeprefix("_" if is_array else "")
        if pa.types.is_struct(kind) and (type_name == "record" or any(map(_is_misread, kind)) or not is_plain(kind)):
            raise EngineError(
                f"column {field.name!r} is of type {type_name}, with parts that no dtype can hold; cast it in the query: to_json({field.name})"
            )
        cast = _MISREAD.get(type_name)
        is_decimal = type_name in ("numeric", "money")
        if cast is None and not is_decimal and not is_plain(kind):
            cast = "text"
        return cls(field.name, cast, is_array, is_decimal, None if is_array else _precision_and_scale(field))

    @property
    def quoted(self) -> str:
        return quoted(self.name)

    @property
    def selected(self) -> str:
        return f"{self.quoted}::{self.cast}{'[]' * self.is_array} AS {self.quoted}" if self.cast else self.quoted


def _metadata(field: pa.Field) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def _is_misread(part: pa.Field) -> bool:
    """Whether the driver misreads a part of a composite, or a part of that."""
    if _metadata(part).get("POSTGRESQL:type", "").removeprefix("_") in _MISREAD:
        return True
    inside = part.type.value_field if pa.types.is_list(part.type) else part
    return pa.types.is_struct(inside.type) and any(map(_is_misread, inside.type))


def _precision_and_scale(field: pa.Field) -> tuple[int, int] | None:
    """Of a `numeric(p, s)` that a Decimal can be; Postgres packs both into the type modifier (numeric.c, make_numeric_typmod)."""
    packed = int(_metadata(field).get("POSTGRESQL:typmod", -1)) - 4
    precision, scale = packed >> 16, packed & 0x7FF
    return (precision, scale) if 0 < precision <= DECIMAL_DIGITS and scale <= precision else None


def _storage(kind: pa.DataType) -> pa.DataType:
    """The Arrow type under extension types, whose values are text by the time this is asked."""
    if pa.types.is_list(kind):
        return pa.list_(_storage(kind.value_type))
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
