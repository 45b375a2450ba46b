"""BigQuery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cio_dagster.warehouse.adbc import connected, marked
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import Result

_OPTION = "adbc.bigquery.sql."


@contextmanager
def run_bigquery(session: Session, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement. The session's options are the driver's, `adbc.bigquery.sql....`."""
    project, given = session.authority, session.query
    dataset = session.rest.removeprefix(project).partition("?")[0].strip("/")
    settings = {"project_id": project, "dataset_id": dataset, "location": given.pop("location", "")}
    if key_file := given.pop("credentials", ""):
        settings |= {"auth_type": f"{_OPTION}auth_type.json_credential_file", "auth_credentials": key_file}
    if given or not project:
        raise EngineError("a BigQuery URL is bigquery://project/dataset, with ?location= and &credentials= if needed")
    options = {_OPTION + name: value for name, value in settings.items() if value} | dict(session.options)
    with (
        connected(session, "bigquery", "adbc_driver_bigquery", db_kwargs=options) as cursor,
        marked(cursor, statement, parameters) as result,
    ):
        yield result
