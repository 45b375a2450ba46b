"""Spark, by Spark Connect, and Databricks, by its own driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cio_dagster.warehouse.adbc import connected, marked
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import Result


@contextmanager
def run_spark(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement. The session's options are the driver's, `adbc.spark....`."""
    options = dict(session.options)
    with (
        connected(session, "spark", "adbc_driver_spark", session.url, db_kwargs=options, autocommit=True) as cursor,
        marked(cursor, statement, parameters) as result,
    ):
        yield result


@contextmanager
def run_databricks(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement with the driver that `dbc` installs, as PyPI has none."""
    options = {"uri": session.url} | dict(session.options)
    try:
        with (
            connected(session, "databricks", "adbc_driver_manager", "databricks", db_kwargs=options, autocommit=True) as cursor,
            marked(cursor, statement, parameters) as result,
        ):
            yield result
    except EngineError as error:
        if "dlopen" not in str(error):
            raise
        raise EngineError(
            "no driver for Databricks is installed: pip install 'cio_dagster[databricks]', and with that dbc install databricks "
            f"({error})"
        ) from error
