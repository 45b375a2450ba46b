"""The resource `Warehouse`: SQL in, a lazy frame over a staged Parquet file out; or a lake's table, as a lazy frame over its files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
from pydantic import Field, PrivateAttr

from cio_dagster.lineage import Query, note
from cio_dagster.warehouse.errors import EngineError, WarehouseError
from cio_dagster.warehouse.lake import LAKES, scan_table
from cio_dagster.warehouse.running import Running, run
from cio_dagster.warehouse.session import Runner, Session, redacted
from cio_dagster.warehouse.sql import Statement, check_parameters

if TYPE_CHECKING:
    from cio_dagster.key_partitions import Predicate
    from cio_dagster.warehouse.staging import Result


@dataclass(frozen=True)
class _Engine:
    dialect: str
    module: str
    function: str
    is_file: bool = False
    """Whether its URL is a path, in which an @ means nothing."""

    def run(self, session: Session, statement: Statement, parameters: Mapping[str, object]) -> AbstractContextManager[Result]:
        # Imported when it is used: drivers are slow to import, and others' may be missing.
        runner: Runner = getattr(import_module(f"cio_dagster.warehouse.{self.module}"), self.function)
        return runner(session, statement, parameters)


_ENGINES = {
    "duckdb": _Engine("standard", "duckdb", "run_duckdb", is_file=True),
    "md": _Engine("standard", "duckdb", "run_duckdb", is_file=True),
    "sqlite": _Engine("sqlite", "sqlite", "run_sqlite", is_file=True),
    "postgresql": _Engine("standard", "postgres", "run_postgres"),
    "postgres": _Engine("standard", "postgres", "run_postgres"),
    "redshift": _Engine("standard", "postgres", "run_redshift"),
    "snowflake": _Engine("snowflake", "snowflake", "run_snowflake"),
    "bigquery": _Engine("bigquery", "bigquery", "run_bigquery"),
    "databricks": _Engine("spark", "spark", "run_databricks"),
    "sc": _Engine("spark", "spark", "run_spark"),
    "flightsql": _Engine("standard", "flightsql", "run_flightsql"),
}
"""By the scheme of the URL."""


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A database, or a lake, to read from.

    url
        What to read. Its scheme decides; docs/warehouses.md has all forms, such as `duckdb:///warehouse.duckdb`,
        `postgresql://user:password@host:5432/database`, `snowflake://user@account/database/schema?warehouse=small` and
        `delta+s3://bucket/lake`. Give it as `dagster.EnvVar("CIO_WAREHOUSE")` if it holds a password, percent-encoded.
    sql_folder
        Where SQL files are. Relative paths start at the working directory.
    options
        What the driver takes beside the URL, by the driver's own names: keys, tokens, roles. Values may be `dagster.EnvVar`s. Of a lake they
        are Polars' storage options, or PyIceberg's properties.
    statement_timeout
        Seconds after which a query is cancelled. By default it may take as long as it does.

    Sessions are read-only where the engine has that (DuckDB, MotherDuck's transactions, Postgres, Redshift, SQLite), and in UTC. When a run
    is terminated, its query is cancelled in the database.
    """

    url: str = Field(repr=False, description="The warehouse's URL, such as duckdb:///warehouse.duckdb.")
    sql_folder: str = Field(default="sql", description="The folder of the SQL files.")
    options: dict[str, str] = Field(default_factory=dict, repr=False, description="What the driver takes beside the URL.")
    statement_timeout: float | None = Field(default=None, gt=0, description="Seconds after which a query is cancelled.")

    _staging: Path | None = PrivateAttr(default=None)

    def query(self, sql: str | Path, /, *, where: Predicate | None = None, **parameters: object) -> pl.LazyFrame:
        """Run one query now, and return a lazy frame over its staged result.

        where
            Which of its rows are wanted: `partition_predicate(context)`, of an asset that is partitioned by sync key. The database selects
            them.

        `sql` is a file in `sql_folder` if its name ends in `.sql`, else SQL text. Each `$name` in it takes the parameter of that
        name (others are ignored), bound by the driver and never pasted: str, int, float, bool, Decimal, date, datetime, None, or
        a list of one of them (`where id = any($ids)`; DuckDB and Postgres). Postgres may need to be told a type: `$id::uuid`.

        The frame can be read until the resource is torn down, `close` is called, or the process ends. Its dtypes are as the
        package's table says; an empty result has them too.

        Raises WarehouseError: missing file; missing parameters; no driver; a query that takes too long; whatever the database refuses.
        SpecError where the database has no function for `where`.
        """
        source, text = self._read(sql)
        engine = self._engine()
        statement = Statement.parse(text, engine.dialect, source)
        check_parameters(statement, parameters)
        selected = statement if where is None else statement.filtered(where.sql(self._scheme()))
        used = {name: parameters[name] for name in statement.names}
        path = self._staging_folder() / f"{uuid.uuid4().hex}.parquet"

        def staged(running: Running) -> pl.LazyFrame:
            from cio_dagster.warehouse.staging import stage

            with engine.run(replace(self._session(), running=running), selected, used) as result:
                return stage(result, path, running)

        frame = self._run(staged, source)
        note(Query(statement.rewritten(lambda name: "null"), self._scheme(), frame.collect_schema().names()))
        return frame

    def table(self, name: str, *, where: Predicate | None = None) -> pl.LazyFrame:
        """A lazy frame over a table of a lake: what it selects and filters is read from the files, and no more.

        `name` is the table's path under the URL's folder (of Parquet, a folder or a file), or its name in an Iceberg catalog. For SQL, give the
        frame to Polars: `warehouse.table("orders").sql("select * from self where total > 0")`. `where` is as in `query`.

        Raises WarehouseError where the URL is not a lake's, there is no such table, or the store refuses.
        """
        source = f"table {name!r}"
        if self._scheme() not in LAKES:
            raise WarehouseError('tables by name are a lake\'s; of a database, warehouse.query("select ...")', source=source)
        frame = self._run(lambda running: scan_table(self._session(), name), source)
        return frame if where is None else frame.filter(where.expr(frame.collect_schema()[where.identifier.column]))

    def _run(self, work: Callable[[Running], pl.LazyFrame], source: str) -> pl.LazyFrame:
        try:
            return run(work, self.statement_timeout)
        except EngineError as error:
            message = redacted(str(error), self._session())
        raise WarehouseError(message, source=source)

    def _session(self) -> Session:
        return Session(self.url, self.options, self.statement_timeout)

    def _scheme(self) -> str:
        """What the URL begins with. A wrong URL is never quoted, since it may hold a password."""
        scheme = self.url.partition(":")[0]
        known = scheme in _ENGINES or scheme in LAKES
        if not known or not (scheme == "md" or self.url.startswith(f"{scheme}://")):
            names = ["md:", *(f"{name}://" for name in _ENGINES if name != "md"), *(f"{name}://" for name in sorted(LAKES))]
            raise WarehouseError(f"the warehouse's URL must begin with one of {', '.join(names)}")
        return scheme

    def _engine(self) -> _Engine:
        scheme, session = self._scheme(), self._session()
        if scheme in LAKES:
            raise WarehouseError('a lake has no SQL of its own: warehouse.table("orders").sql("select * from self")')
        engine = _ENGINES[scheme]
        # Drivers cut such URLs where nobody meant it, and then quote parts of the password in their errors.
        outside = session.rest.removeprefix(session.authority)
        if not engine.is_file and (session.rest.count("@") > 1 or "@" in outside):
            raise WarehouseError(
                "the warehouse's URL has a '@', '/', '?' or '#' inside a part; percent-encode it (%40, %2F, %3F, %23)"
            )
        return engine

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
