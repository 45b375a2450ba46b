"""Snowflake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal

from cio_dagster.warehouse.adbc import connected, marked
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import Result


@contextmanager
def run_snowflake(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement. The session's options are the driver's, `adbc.snowflake.sql....`."""
    # What is no parameter of the driver's is one of the Snowflake session.
    uri = f"{session.rest}{'&' if '?' in session.rest else '?'}TIMEZONE=UTC"
    with (
        connected(session, "snowflake", "adbc_driver_snowflake", uri, db_kwargs=dict(session.options)) as cursor,
        marked(cursor, statement, {name: _bindable(value) for name, value in parameters.items()}) as result,
    ):
        yield result


def _bindable(value: object) -> object:
    """The driver binds neither times nor decimals; Snowflake reads both from text, where it compares them with a column of their type."""
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
