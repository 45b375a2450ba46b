"""Lakes: folders of Parquet files, Delta tables and Iceberg tables, on disk and in object stores, scanned by Polars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import polars as pl

from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.session import Session

_CATALOGS = ("http", "https", "sqlite", "postgresql")
"""What an Iceberg catalog's URI begins with."""

Scan: TypeAlias = Callable[[str, Mapping[str, str]], pl.LazyFrame]


def scan_table(session: Session, name: str) -> pl.LazyFrame:
    """A table of the lake that the session's URL names. Raises EngineError where it cannot be read."""
    scheme, _, rest = session.url.partition("://")
    kind, _, store = scheme.partition("+")
    if kind == "iceberg" and store in _CATALOGS:
        return _opened(lambda: _of_catalog(f"{store}://{rest}", name, session.options))
    if not store and not rest.startswith("/"):
        raise EngineError(f"a folder needs three slashes, and one more if its path is absolute: {kind}:///lake")
    folder = f"{store}://{rest}" if store else rest[1:]
    place = f"{folder.rstrip('/')}/{name}" if folder else name
    return _opened(lambda: _SCANS[kind](place, session.options))


def _opened(scan: Callable[[], pl.LazyFrame]) -> pl.LazyFrame:
    """The frame, whose schema was read: what is wrong is said now, and not by whoever collects it."""
    try:
        frame = scan()
        frame.collect_schema()
    except ModuleNotFoundError as error:
        raise EngineError(f"no reader of Iceberg is installed: pip install 'cio_dagster[iceberg]' ({error})") from error
    except Exception as error:
        # Object stores, Polars, Delta and Iceberg each have errors of their own.
        raise EngineError(str(error) or type(error).__name__) from error
    return frame


def _parquet(place: str, options: Mapping[str, str]) -> pl.LazyFrame:
    # Object stores have no folders, so a name that is to be one needs a slash.
    is_file = place.endswith(".parquet") or "*" in place
    return pl.scan_parquet(place if is_file else f"{place}/", storage_options=dict(options) or None)


def _delta(place: str, options: Mapping[str, str]) -> pl.LazyFrame:
    return pl.scan_delta(place, storage_options=dict(options) or None)


def _iceberg(place: str, options: Mapping[str, str]) -> pl.LazyFrame:
    from pyiceberg.table import StaticTable

    return pl.scan_iceberg(StaticTable.from_metadata(place, dict(options)))


def _of_catalog(uri: str, name: str, options: Mapping[str, str]) -> pl.LazyFrame:
    from pyiceberg.catalog import load_catalog

    # The name is that under which an SQL catalog keeps its tables; others have no use for it.
    properties = {"name": "default", "uri": uri, **options}
    return pl.scan_iceberg(load_catalog(**properties).load_table(name))


_SCANS: dict[str, Scan] = {"parquet": _parquet, "delta": _delta, "iceberg": _iceberg}

STORES = ("s3", "gs", "az", "abfss")
"""The object stores that a folder can be in."""

LAKES = frozenset(
    [*_SCANS, *(f"{kind}+{store}" for kind in _SCANS for store in STORES), *(f"iceberg+{each}" for each in _CATALOGS)]
)
"""The schemes of lakes."""
