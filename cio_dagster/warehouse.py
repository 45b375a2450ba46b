"""The warehouse: SQL in, a lazy frame over a staged Parquet file out.

Results travel as Arrow record batches, one at a time, so that memory is bounded by a batch and not by the table.

| engine type | Polars dtype |
|---|---|
| booleans, integers, floats, text, date, time, binary | the dtype of that name and width |
| timestamp, with time zone | Datetime, Datetime in UTC |
| DECIMAL, Postgres `numeric(p, s)` | Decimal(p, s) |
| Postgres `numeric` of no fixed scale | Decimal(38, s), s being the most digits after the point that a value of the result needs |
| Postgres `money` | as `numeric` |
| HUGEINT, UHUGEINT | Decimal(38, 0) |
| uuid, json, jsonb, Postgres enum | String |
| DuckDB ENUM | Categorical |
| list and array, struct and composite, MAP | List (DuckDB's arrays: Array), Struct, Map of these |
| DuckDB's untyped NULL | Null, before DuckDB 2.0 Int32 (Postgres makes it text: String) |
| interval, timetz, bit, inet, ranges, UNION, BIGNUM, and whatever else Arrow cannot say | String: the engine's own text for it |

What has no dtype is an error that names the column and a cast that helps: a type of the last row, uuid or HUGEINT inside a struct
or a list (Postgres arrays of the last row's types become lists of text); `money` or `oid` inside a Postgres composite; a Postgres
array of several dimensions; NaN or infinity in `numeric`, or more than 38 digits; dates and times outside the years 1 to 9999, such
as 'infinity'; Postgres' time 24:00.

Python 3.10 has no newer ADBC driver for Postgres than 1.12. With that, `numeric(p, s)` is staged as `numeric` of no fixed scale, and
two things are errors that say so: Postgres composites, and list parameters with None in them.
"""

from __future__ import annotations

import atexit
import importlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import dagster as dg
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, PrivateAttr

from cio_dagster.errors import SyncError

BATCH_ROWS = 50_000
"""Rows of a record batch; what memory is bounded by."""

DECIMAL_DIGITS = 38
"""Digits that a Polars Decimal holds."""

_OUR_SQL = re.compile(r"Failed to execute query '.*': (?=ERROR)|\n\nQuery was: .*", re.DOTALL)
"""What the Postgres driver repeats of the SQL that we wrapped around the user's."""

_SCALARS = (str, int, float, bool, Decimal, date, datetime, type(None))
_COMMENTS = ("--", "//", "/*", "#")
_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


class WarehouseError(SyncError):
    """The warehouse refused a query, gave what no dtype can hold, or cannot be reached. Never holds a credential.

    `source` says what was being run: the SQL file's path, or `the query` for SQL text.
    """

    def __init__(self, message: str, *, source: str = "the query") -> None:
        super().__init__(f"{source}: {message}")
        self.source = source


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A database to read from.

    url
        What to read, one of:

        - `duckdb:///relative/path.duckdb`, `duckdb:////absolute/path.duckdb`; `duckdb://` is an empty database in memory, new for
          each query, from which SQL can read files (`from 'orders/*.parquet'`)
        - `postgresql://user:password@host:5432/database`, as libpq takes it (`pip install 'cio_dagster[postgres]'`)
        - `snowflake://user:password@account/database/schema?warehouse=...&role=...`, as the ADBC driver's URI behind the scheme
          (`cio_dagster[snowflake]`)
        - `bigquery://project/dataset?location=EU&credentials=/path/to/key.json`; without `credentials`, Google's application
          default credentials (`cio_dagster[bigquery]`)

        Give it as `dagster.EnvVar("CIO_WAREHOUSE")` if it holds a password, percent-encoded. Snowflake and BigQuery are written from
        their drivers' documentation and have never been run against the real thing.
    sql_folder
        Where SQL files are. Relative paths start at the working directory.

    Sessions are read-only where the engine has that (DuckDB, Postgres), and in UTC.
    """

    url: str = Field(repr=False, description="The warehouse's URL, such as duckdb:///warehouse.duckdb.")
    sql_folder: str = Field(default="sql", description="The folder of the SQL files.")

    _staging: Path | None = PrivateAttr(default=None)

    def query(self, sql: str | Path, /, **parameters: object) -> pl.LazyFrame:
        """Run one query now, and return a lazy frame over its staged result.

        `sql` is a file in `sql_folder` if its name ends in `.sql`, else SQL text. Each `$name` in it takes the parameter of that
        name (others are ignored), bound by the driver and never pasted: str, int, float, bool, Decimal, date, datetime, None, or
        a list of one of them (`where id = any($ids)`; DuckDB and Postgres). Postgres may need to be told a type: `$id::uuid`.

        The frame can be read until the resource is torn down, `close` is called, or the process ends. Its dtypes are as the
        module's table says; an empty result has them too.

        Raises WarehouseError: missing file; missing parameters; no driver; whatever the database refuses.
        """
        source, text = self._read(sql)
        engine = _engine(self.url)
        statement = _Statement.parse(text, engine.dialect, source)
        _check_parameters(statement, parameters)
        used = {name: parameters[name] for name in statement.names}
        path = self._staging_folder() / f"{uuid.uuid4().hex}.parquet"
        try:
            with engine.run(self.url, statement, used) as result:
                return _stage(result, path)
        except _EngineError as error:
            message = _redacted(_OUR_SQL.sub("", str(error)).strip(), self.url)
        raise WarehouseError(message, source=source)

    def close(self) -> None:
        """Remove all staged results. Frames that `query` returned can no longer be read; further queries can be run."""
        if self._staging is not None:
            shutil.rmtree(self._staging)
            atexit.unregister(self.close)
            self._staging = None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Remove all staged results, when Dagster is done with the resource."""
        self.close()

    def _read(self, sql: str | Path) -> tuple[str, str]:
        if not str(sql).endswith(".sql"):
            return "the query", str(sql)
        path = Path(self.sql_folder) / sql
        if not path.is_file():
            there = ", ".join(sorted(each.name for each in path.parent.glob("*.sql"))) or "no SQL files"
            raise WarehouseError(f"there is no such file; in {path.parent.resolve()} there are: {there}", source=str(path))
        return str(path), path.read_text(encoding="utf-8")

    def _staging_folder(self) -> Path:
        if self._staging is None:
            # A frame may outlive the resource that made it, so without Dagster the files live as long as the process.
            self._staging = Path(tempfile.mkdtemp(prefix="cio-warehouse-"))
            atexit.register(self.close)
        return self._staging


class _EngineError(Exception):
    """What an engine refused, before its text is cleared of credentials."""


_NOT_SQL = {
    "standard": r"""
        --[^\n]* | [eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    """,
    "snowflake": r"""
        --[^\n]* | //[^\n]* | /\*.*?\*/ | '(?:\\.|''|[^'\\])*' | "(?:""|[^"])*" | \$\$.*?\$\$
    """,
    "bigquery": r"""
        --[^\n]* | \#[^\n]* | /\*.*?\*/ | '{3}(?:\\.|.)*?'{3} | "{3}(?:\\.|.)*?"{3} | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*`
    """,
}
"""What can hold a $ or a ; and is no SQL, by dialect: comments (nested ones apart), literals and quoted names."""

_LEXERS = {
    dialect: re.compile(
        rf"(?P<skipped>{skipped}) | (?P<comment>/\*) | [^\W\d][\w$]* | \$(?P<name>[^\W\d]\w*) | (?P<end>;) | \S",
        re.DOTALL | re.VERBOSE,
    )
    for dialect, skipped in _NOT_SQL.items()
}


@dataclass(frozen=True)
class _Statement:
    """One SQL statement without its closing semicolon, and where its parameters are: start, end, name."""

    text: str
    places: list[tuple[int, int, str]]

    @classmethod
    def parse(cls, text: str, dialect: str, source: str) -> _Statement:
        places: list[tuple[int, int, str]] = []
        position, end, empty = 0, None, True
        while match := _LEXERS[dialect].search(text, position):
            position = match.end()
            if match["comment"]:
                position = _comment_end(text, match.start())
            elif match["skipped"] and match["skipped"].startswith(_COMMENTS):
                continue
            elif match["end"]:
                end = match.start() if end is None else end
            elif end is not None:
                raise WarehouseError("there is more than one statement in it; a query is one", source=source)
            else:
                empty = False
                if match["name"]:
                    places.append((match.start(), match.end(), match["name"]))
        if empty:
            raise WarehouseError("there is no SQL in it", source=source)
        return cls(text[:end], places)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for _, _, name in self.places))

    def rewritten(self, placeholder: Callable[[str], str]) -> str:
        parts, end = [], 0
        for start, stop, name in self.places:
            parts += [self.text[end:start], placeholder(name)]
            end = stop
        return "".join([*parts, self.text[end:]])


def _comment_end(text: str, start: int) -> int:
    """Where a comment ends whose comments count: those of DuckDB and Postgres do."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(text)


@dataclass(frozen=True)
class _Result:
    """A running query: the schema to stage, the batches, and which columns are decimals as text, with precision and scale if known."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    decimals: dict[str, tuple[int, int] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Engine:
    dialect: str
    run: Callable[[str, _Statement, Mapping[str, object]], AbstractContextManager[_Result]]


def _check_parameters(statement: _Statement, parameters: Mapping[str, object]) -> None:
    if missing := [name for name in statement.names if name not in parameters]:
        raise WarehouseError(f"the SQL names parameters that were not given: {', '.join('$' + name for name in missing)}")
    for name, value in parameters.items():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, _SCALARS):
                allowed = ", ".join(kind.__name__ for kind in _SCALARS[:-1])
                raise WarehouseError(
                    f"parameter ${name} holds a value of type {type(each).__name__}; it can be {allowed}, None, or a list of one of these"
                )


# --- Staging ---


def _read_out(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches; Arrow says by an OSError that the database failed under way, which must not pass for the disk's."""
    try:
        yield from reader
    except (pa.ArrowException, OSError) as error:
        raise _EngineError(str(error)) from error


def _stage(result: _Result, path: Path) -> pl.LazyFrame:
    """Write the batches to a Parquet file, as they come; nothing stays behind if that fails."""
    names = result.schema.names
    _check_names(names)
    try:
        with pq.ParquetWriter(path, result.schema, compression="zstd") as writer:
            for batch in result.batches:
                for name, column in zip(names, batch.columns, strict=True):
                    _check_range(name, column)
                writer.write_batch(batch)
        return _with_decimals(pl.scan_parquet(path), result)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_names(names: list[str]) -> None:
    if not names:
        raise _EngineError("it gives no rows; a query is a SELECT")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise _EngineError(f"several columns are named {', '.join(map(repr, repeated))}; give each its own name with AS")


_DAY_SECONDS = 86_400
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


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
        raise _EngineError(
            f"column {name!r} ({kind}) holds a value outside the years 1 to 9999, such as infinity, or the time 24:00; "
            f"make it null in the query: nullif({name}, 'infinity')"
        )


def _with_decimals(frame: pl.LazyFrame, result: _Result) -> pl.LazyFrame:
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
        raise _EngineError(f"column {name!r} (numeric) {problem}; cast it in the query: {name}::double precision, or ::text")
    return frame.with_columns(casts)


def _quoted(name: str) -> str:
    """A name as SQL has it, in DuckDB and Postgres."""
    return '"' + name.replace('"', '""') + '"'


# --- DuckDB ---

# PIVOT is several statements in one: before DuckDB 2.0 the last of them, a SELECT, is found.
_DUCKDB_QUERIES = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)
_DUCKDB_HOLDS_BOUND = duckdb.__version__.startswith("1.")
"""Before 2.0 a relation with parameters holds its whole result in memory."""

_DUCKDB_AS_IS = re.compile(
    r"boolean|u?(tiny|small|big)int|u?integer|float|double|decimal|varchar|blob|uuid|enum|null|"
    r"date|time|timestamp(_s|_ms|_ns| with time zone)?"
)
_DUCKDB_NESTED = {"list": ["child"], "array": ["child"], "struct": None, "map": None}


@contextmanager
def _run_duckdb(url: str, statement: _Statement, parameters: Mapping[str, object]) -> Iterator[_Result]:
    path = url.removeprefix("duckdb://")
    if path and not path.startswith("/"):
        raise _EngineError(
            "a DuckDB file needs three slashes, and one more if its path is absolute: duckdb:///warehouse.duckdb"
        )
    try:
        with _connect_duckdb(path[1:]) as connection:
            connection.execute("set TimeZone = 'UTC'; set enable_progress_bar = false")
            if connection.extract_statements(statement.text)[-1].type not in _DUCKDB_QUERIES:
                raise _EngineError("it gives no rows; a query is a SELECT")
            reader = _duckdb_reader(connection, statement.text, dict(parameters))
            yield _Result(reader.schema, _read_out(reader))
    except (duckdb.Error, pa.ArrowException) as error:
        raise _EngineError(str(error)) from error


def _connect_duckdb(path: str) -> duckdb.DuckDBPyConnection:
    if not path:
        return duckdb.connect(":memory:")
    try:
        return duckdb.connect(path, read_only=True)
    except duckdb.IOException as error:
        if "Could not set lock" in str(error):
            raise _EngineError(
                f"another process is writing to {path}, and DuckDB lets a file be either read by many or written by one: "
                f"try again when it has ended ({error})"
            ) from error
        raise
    except duckdb.ConnectionException as error:
        raise _EngineError(f"this process has {path} open for writing; close that connection first ({error})") from error


def _duckdb_reader(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, object]) -> pa.RecordBatchReader:
    """Run a query, and read it batch by batch."""
    if parameters and _DUCKDB_HOLDS_BOUND:
        relation = connection.sql(f"FROM (\n{sql}\n) LIMIT 0", params=parameters)
        columns = ", ".join(map(_duckdb_column, relation.columns, relation.types))
        return connection.execute(f"SELECT {columns} FROM (\n{sql}\n)", parameters).to_arrow_reader(BATCH_ROWS)
    relation = connection.sql(sql, params=parameters or None)
    return relation.project(", ".join(map(_duckdb_column, relation.columns, relation.types))).to_arrow_reader(BATCH_ROWS)


def _duckdb_column(name: str, kind: Any) -> str:
    column = _quoted(name)
    if kind.id in _DUCKDB_NESTED:
        if inside := _duckdb_without_dtype(kind):
            raise _EngineError(
                f"column {name!r} ({kind}) holds {inside}, which no dtype can; cast it in the query: to_json({name})"
            )
        return column
    if _DUCKDB_AS_IS.fullmatch(kind.id):
        return column
    cast = f"DECIMAL({DECIMAL_DIGITS}, 0)" if kind.id in ("hugeint", "uhugeint") else "VARCHAR"
    return f"{column}::{cast} AS {column}"


def _duckdb_without_dtype(kind: Any) -> str | None:
    """The first type inside a nested one that no dtype can hold."""
    if kind.id not in _DUCKDB_NESTED:
        return None if _DUCKDB_AS_IS.fullmatch(kind.id) else str(kind)
    parts = _DUCKDB_NESTED[kind.id]
    return next(
        (found for name, part in kind.children if not parts or name in parts if (found := _duckdb_without_dtype(part))), None
    )


# --- Databases behind ADBC ---


@contextmanager
def _adbc(extra: str, driver: str, *arguments: object, **options: object) -> Iterator[Any]:
    """A cursor of a driver's DB-API, with the driver's errors as ours."""
    try:
        module = importlib.import_module(f"{driver}.dbapi")
    except ModuleNotFoundError as error:
        raise _EngineError(
            f"no driver for this warehouse is installed: pip install 'cio_dagster[{extra}]' ({error})"
        ) from error
    try:
        with closing(module.connect(*arguments, **options)) as connection, closing(connection.cursor()) as cursor:
            yield cursor
    except (module.Error, pa.ArrowException) as error:
        raise _EngineError(str(error)) from error


def _bound(names: list[str], parameters: Mapping[str, object]) -> pa.RecordBatch | None:
    """Parameters as the one-row batch that ADBC binds, in the order of the names."""
    arrays = []
    for name in names:
        try:
            arrays.append(pa.array([parameters[name]]))
        except (pa.ArrowException, OverflowError) as error:
            raise _EngineError(f"parameter ${name} cannot be bound: {error}") from error
    return pa.record_batch(arrays, names=[f"{place}_{name}" for place, name in enumerate(names)]) if arrays else None


@contextmanager
def _run_postgres(url: str, statement: _Statement, parameters: Mapping[str, object]) -> Iterator[_Result]:
    names = statement.names
    text = statement.rewritten(lambda name: f"${names.index(name) + 1}")
    bound = _bound(names, parameters)
    with _adbc("postgres", "adbc_driver_postgresql", url) as cursor:
        # The driver's COPY cannot bind parameters, and without it the driver holds a whole result; a server-side cursor does neither.
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        for setting in ("transaction_read_only = on", "timezone = 'UTC'", "cursor_tuple_fraction = 1"):
            cursor.execute(f"SET LOCAL {setting}")
        described = cursor.adbc_execute_schema(text, bound)
        _check_names(described.names)
        types = [_metadata(part).get("POSTGRESQL:type", "") for part in described]
        if not all(types):
            _check_for_old_driver(described, parameters)
            types = _asked_types(cursor, text, bound, described.names)
        columns = list(map(_PostgresColumn.of, described, types))
        selected = ", ".join(column.selected for column in columns)
        checks = "".join(f", array_ndims({column.quoted}) > 1" for column in columns if column.is_array)
        cursor.execute(f"DECLARE cio_rows NO SCROLL CURSOR FOR SELECT {selected}{checks} FROM (\n{text}\n) AS cio_query", bound)
        cursor.execute("FETCH 0 FROM cio_rows")
        schema = pa.schema([(part.name, _storage(part.type)) for part in cursor.fetch_record_batch().schema][: len(columns)])
        decimals = {column.name: column.decimal for column in columns if column.is_decimal}
        yield _Result(schema, _postgres_batches(cursor, schema, columns), decimals)


_OLD_DRIVER = "needs Python 3.11 and adbc-driver-postgresql 1.13"
"""Before 1.13, and 1.12 is the last for Python 3.10, the driver does not say Postgres' types and binds nulls in lists as zeros."""


def _check_for_old_driver(described: pa.Schema, parameters: Mapping[str, object]) -> None:
    for name, value in parameters.items():
        if isinstance(value, list) and None in value:
            raise _EngineError(f"parameter ${name} is a list with None in it, which {_OLD_DRIVER}; or leave the None out")
    for part in described:
        if pa.types.is_struct(part.type.value_type if pa.types.is_list(part.type) else part.type):
            raise _EngineError(
                f"column {part.name!r} is of a composite type, which {_OLD_DRIVER}; or cast it in the query: to_json({part.name})"
            )


def _asked_types(cursor: Any, text: str, bound: pa.RecordBatch | None, names: list[str]) -> list[str]:
    """The Postgres types of a query's columns, as newer drivers say them: `money`, `_money` for its arrays. The query is not run."""
    # A domain beside an untyped NULL counts as the type that it is of.
    asked = ", ".join(f"pg_typeof(coalesce({_quoted(name)}, NULL))::text" for name in names)
    cursor.execute(
        f"SELECT {asked} FROM (SELECT) AS one LEFT JOIN (SELECT * FROM (\n{text}\n) AS q LIMIT 0) AS q ON true", bound
    )
    return ["_" + name[:-2] if name.endswith("[]") else name for name in cursor.fetchone()]


def _postgres_batches(cursor: Any, schema: pa.Schema, columns: list[_PostgresColumn]) -> Iterator[pa.RecordBatch]:
    arrays = [column.name for column in columns if column.is_array]
    while True:
        cursor.execute(f"FETCH {BATCH_ROWS} FROM cio_rows")
        rows = 0
        for batch in _read_out(cursor.fetch_record_batch()):
            for name, flattened in zip(arrays, batch.columns[len(columns) :], strict=True):
                if pc.any(flattened).as_py():
                    raise _EngineError(
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
class _PostgresColumn:
    """How a column of a Postgres query is read."""

    name: str
    cast: str | None
    is_array: bool
    is_decimal: bool
    decimal: tuple[int, int] | None

    @classmethod
    def of(cls, field: pa.Field, type_name: str) -> _PostgresColumn:
        """Judged by the type, and the field that the driver describes: opaque types have no Arrow type, and some of the others say less
        than they hold."""
        is_array = pa.types.is_list(field.type)
        kind = field.type.value_type if is_array else field.type
        type_name = type_name.removeprefix("_" if is_array else "")
        if pa.types.is_struct(kind) and (type_name == "record" or any(map(_is_misread, kind)) or not _is_plain(kind)):
            raise _EngineError(
                f"column {field.name!r} is of type {type_name}, with parts that no dtype can hold; cast it in the query: to_json({field.name})"
            )
        cast = _MISREAD.get(type_name)
        is_decimal = type_name in ("numeric", "money")
        if cast is None and not is_decimal and not _is_plain(kind):
            cast = "text"
        return cls(field.name, cast, is_array, is_decimal, None if is_array else _precision_and_scale(field))

    @property
    def quoted(self) -> str:
        return _quoted(self.name)

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


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type, JSON included, can be staged and read back by Polars as they are."""
    if isinstance(kind, pa.JsonType):
        return True
    if pa.types.is_struct(kind):
        return all(_is_plain(part.type) and not isinstance(part.type, pa.JsonType) for part in kind)
    if pa.types.is_list(kind):
        return _is_plain(kind.value_type)
    return not (isinstance(kind, pa.BaseExtensionType) or pa.types.is_interval(kind))


def _storage(kind: pa.DataType) -> pa.DataType:
    """The Arrow type under extension types, whose values are text by the time this is asked."""
    if pa.types.is_list(kind):
        return pa.list_(_storage(kind.value_type))
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


@contextmanager
def _run_snowflake(url: str, statement: _Statement, parameters: Mapping[str, object]) -> Iterator[_Result]:
    with (
        _adbc("snowflake", "adbc_driver_snowflake", url.removeprefix("snowflake://")) as cursor,
        _marked(cursor, statement, parameters) as result,
    ):
        yield result


@contextmanager
def _run_bigquery(url: str, statement: _Statement, parameters: Mapping[str, object]) -> Iterator[_Result]:
    project, given = _authority_and_options(url)
    dataset = url.partition("://")[2].removeprefix(project).partition("?")[0].strip("/")
    options = {"project_id": project, "dataset_id": dataset, "location": given.pop("location", "")}
    if key_file := given.pop("credentials", ""):
        options |= {"auth_type": "adbc.bigquery.sql.auth_type.json_credential_file", "auth_credentials": key_file}
    if given or not project:
        raise _EngineError("a BigQuery URL is bigquery://project/dataset, with ?location= and &credentials= if needed")
    settings = {f"adbc.bigquery.sql.{name}": value for name, value in options.items() if value}
    with (
        _adbc("bigquery", "adbc_driver_bigquery", db_kwargs=settings) as cursor,
        _marked(cursor, statement, parameters) as result,
    ):
        yield result


@contextmanager
def _marked(cursor: Any, statement: _Statement, parameters: Mapping[str, object]) -> Iterator[_Result]:
    """Run a statement with ? for parameters, streaming, where no column needs more than Arrow says."""
    cursor.execute(statement.rewritten(lambda name: "?"), _bound([name for _, _, name in statement.places], parameters))
    reader = cursor.fetch_record_batch()
    for part in reader.schema:
        if not _is_plain(part.type) or isinstance(part.type, pa.JsonType):
            raise _EngineError(f"column {part.name!r} ({part.type}) has no dtype; cast it to text in the query")
    yield _Result(reader.schema, _read_out(reader))


_ENGINES = {
    "duckdb": _Engine("standard", _run_duckdb),
    "postgresql": _Engine("standard", _run_postgres),
    "postgres": _Engine("standard", _run_postgres),
    "snowflake": _Engine("snowflake", _run_snowflake),
    "bigquery": _Engine("bigquery", _run_bigquery),
}


# --- URLs ---


def _engine(url: str) -> _Engine:
    """The engine of a URL. A wrong URL is never quoted, since it may hold a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _ENGINES:
        raise WarehouseError(f"the warehouse's URL must begin with one of {', '.join(f'{name}://' for name in _ENGINES)}")
    # Drivers cut such URLs where nobody meant it, and then quote parts of the password in their errors.
    authority, _ = _authority_and_options(url)
    if scheme != "duckdb" and (rest.count("@") > 1 or "@" in rest.removeprefix(authority)):
        raise WarehouseError(
            "the warehouse's URL has a '@', '/', '?' or '#' inside a part; percent-encode it (%40, %2F, %3F, %23)"
        )
    return _ENGINES[scheme]


def _authority_and_options(url: str) -> tuple[str, dict[str, str]]:
    rest = url.partition("://")[2]
    return re.split(r"[/?#]", rest)[0], dict(parse_qsl(rest.partition("?")[2]))


def _redacted(text: str, url: str) -> str:
    """The text without what the URL says after a user name's colon, or for an option that sounds secret."""
    authority, options = _authority_and_options(url)
    user, at, host = authority.rpartition("@")
    secrets = {user.partition(":")[2]} | {value for name, value in options.items() if _SECRET.search(name)}
    if not at and not (port := host.rpartition(":")[2]).isdigit() and ":" in host:
        secrets.add(port)
    for secret in sorted(secrets | {unquote(secret) for secret in secrets}, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text
