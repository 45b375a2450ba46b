"""Customer.io's own fields of an operation: a device's platform and last use, an event's name and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.limits import EVENT_NAME_BYTES
from cio_dagster.prepare.columns import source
from cio_dagster.prepare.json_text import DateRule, json_text, quoted
from cio_dagster.prepare.rejects import Reject, numbered, reject
from cio_dagster.specs import AnySpec

TIMES = ("_timestamp", "_last_used")
PLATFORMS = ("ios", "android")

LATEST_SECOND = 253_402_300_799
"""The end of the year 9999. Larger numbers are milliseconds taken for seconds."""


def field_text(name: str, column: str, spec: AnySpec, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The field `_<name>` as JSON text: times in Unix seconds, platforms in lower case, event names trimmed."""
    dtype = schema[column]
    if name in TIMES:
        if dtype.is_integer() or isinstance(dtype, pl.Null):
            return source(column).cast(pl.String)
        if not isinstance(dtype, (pl.Date, pl.Datetime)):
            raise SpecError(f"column {column!r} is {dtype}; {name[1:]} takes a date, a datetime or whole Unix seconds: cast it")
        return json_text(source(column), dtype, DateRule(iso=False, naive_timezone=spec.naive_timezone))
    if not isinstance(dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise SpecError(f"column {column!r} is {dtype}; {name[1:]} takes text: cast it in the query")
    text = source(column).cast(pl.String).str.strip_chars()
    return quoted(text.str.to_lowercase() if name == "_platform" else text)


def field_dtype(name: str) -> pl.DataType:
    """The dtype that a field's JSON text reads back to."""
    return pl.Int64() if name in TIMES else pl.String()


def field_rejects(name: str, column: str, spec: AnySpec, schema: Mapping[str, pl.DataType]) -> Iterator[Reject]:
    """What makes a field unusable, tested on the prepared column and the source column."""
    text, value = pl.col(name), source(column)
    if name in TIMES:
        if name == "_timestamp":
            message = f"{column!r} is null; Customer.io would take the time of receipt for the event's"
            yield reject("missing_timestamp", column, value.is_null(), message)
        seconds = text.cast(pl.Int64, strict=False)
        outside = value.is_not_null() & ~seconds.is_between(0, LATEST_SECOND).fill_null(False)
        message = f"{column!r} is no time between 1970 and 9999 in Unix seconds (are these milliseconds?)"
        if isinstance(schema[column], pl.Datetime):
            message = f"{column!r} is no time between 1970 and 9999 that the zone {spec.naive_timezone} has"
        yield reject("invalid_timestamp", column, outside, message)
    elif name == "_platform":
        known = text.is_in([f'"{platform}"' for platform in PLATFORMS])
        message = f"{column!r} is neither {' nor '.join(map(repr, PLATFORMS))}, the platforms that Customer.io has"
        yield reject("unknown_platform", column, ~known.fill_null(False), message)
    elif name == "_name":
        plain = value.cast(pl.String).str.strip_chars()
        size = plain.str.len_bytes()
        yield reject("missing_name", column, size.fill_null(0) == 0, f"{column!r} is empty; each event needs a name")
        too_long = numbered(f"{column!r} is ", size, f" bytes; the limit of an event's name is {EVENT_NAME_BYTES}")
        yield reject("name_too_long", column, size > EVENT_NAME_BYTES, too_long)
