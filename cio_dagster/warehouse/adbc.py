"""Databases behind ADBC drivers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa

from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import Result, check_plain, read_out


@contextmanager
def connected(session: Session, extra: str, driver: str, *arguments: object, **options: object) -> Iterator[Any]:
    """A cursor of a driver's DB-API, that a stop of the session cancels, with the driver's errors as EngineError."""
    try:
        module = importlib.import_module(f"{driver}.dbapi")
    except ModuleNotFoundError as error:
        raise EngineError(f"no driver for this warehouse is installed: pip install 'cio_dagster[{extra}]' ({error})") from error
    try:
        with (
            closing(module.connect(*arguments, **options)) as connection,
            closing(connection.cursor()) as cursor,
            session.running.cancelled_by(_cancel(cursor, module)),
        ):
            yield cursor
    except (module.Error, pa.ArrowException) as error:
        raise EngineError(str(error)) from error


def _cancel(cursor: Any, module: Any) -> Callable[[], None]:
    def cancel() -> None:
        try:
            cursor.adbc_cancel()
        except module.NotSupportedError:
            # The query then ends at its next batch.
            return

    return cancel


def bound(names: list[str], parameters: Mapping[str, object]) -> pa.RecordBatch | None:
    """Parameters as the one-row batch that ADBC binds, in the order of the names; None where there are none."""
    arrays = []
    for name in names:
        try:
            arrays.append(pa.array([parameters[name]]))
        except (pa.ArrowException, OverflowError) as error:
            raise EngineError(f"parameter ${name} cannot be bound: {error}") from error
    return pa.record_batch(arrays, names=[f"{place}_{name}" for place, name in enumerate(names)]) if arrays else None


@contextmanager
def marked(cursor: Any, statement: Statement, parameters: Mapping[str, object]) -> Iterator[Result]:
    """Run a statement with ? for parameters, streaming, where no column needs more than Arrow says."""
    values = bound([name for _, _, name in statement.places], parameters)
    cursor.execute(statement.rewritten(lambda name: "?"), values)
    reader = cursor.fetch_record_batch()
    check_plain(reader.schema)
    yield Result(reader.schema, read_out(reader))
