"""Whatever speaks Arrow Flight SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from cio_dagster.warehouse.adbc import connected, marked
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import Result


@contextmanager
def run_flightsql(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement. The session's options are the driver's, `adbc.flight.sql....`."""
    user, at, host = session.authority.rpartition("@")
    name, _, password = user.partition(":")
    login = {"username": unquote(name), "password": unquote(password)} if at else {}
    transport = session.query.get("transport", "tls")
    if transport not in ("tls", "tcp"):
        raise EngineError("the transport of a Flight SQL URL is tls or tcp, as in flightsql://host:port?transport=tcp")
    # As all versions of the driver have it; the newer ones know flightsql:// too.
    uri = f"grpc+{transport}://{host}"
    options = login | dict(session.options)
    with connected(session, "flightsql", "adbc_driver_flightsql", uri, db_kwargs=options, autocommit=True) as cursor:
        if statement.places:
            # Of a server that cannot prepare statements, the DB-API goes on to an error about something else.
            cursor.adbc_statement.set_sql_query(statement.rewritten(lambda name: "?"))
            cursor.adbc_statement.prepare()
        with marked(cursor, statement, parameters) as result:
            yield result
