"""The rule for each Polars dtype: what JSON text its values become, and which values have none.

| dtype | JSON |
|---|---|
| String, Categorical, Enum | string |
| Boolean | true, false |
| integers | number; a string with all digits beyond ±2^53, where JSON readers that use doubles would lose some |
| Float32, Float64 | number, shortest form that reads back the same; NaN and infinity have no JSON |
| Decimal | number without trailing zeros; a string with more than 15 significant digits |
| Date | Unix seconds of midnight UTC, or an ISO 8601 date |
| Datetime | whole Unix seconds, or ISO 8601 in UTC; naive ones are taken to be in a given zone |
| Time | string HH:MM:SS, with a fraction where there is one |
| Duration | number of seconds, with a fraction where there is one |
| Binary | string, base64 |
| List, Array | array, by the rule of what is inside |
| Struct | object, by the rules of its fields, nulls kept |
| Null | null |

Any other dtype (Object) cannot be sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.limits import EXACT_INTEGER

EXACT_DIGITS = 15
"""Significant decimal digits that every double keeps (IEEE 754 binary64)."""


@dataclass(frozen=True)
class DateRule:
    """How dates are written: `iso`, else Unix seconds; and the zone of datetimes that have none."""

    iso: bool = False
    naive_timezone: str = "UTC"


def json_text(value: pl.Expr, dtype: pl.DataType, dates: DateRule) -> pl.Expr:
    """The JSON text of each value, as a String expression; null stays null.

    Values that `unsendable` finds give null or text that is no JSON, so test them with that first.
    Raises SpecError for a dtype that has no rule.
    """
    if isinstance(dtype, pl.List):
        return _array(value, dtype.inner, dates)
    if isinstance(dtype, pl.Array):
        return _array(value.arr.to_list(), dtype.inner, dates)
    if isinstance(dtype, pl.Struct):
        return _object(value, dtype, dates)
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return quoted(value.cast(pl.String))
    if isinstance(dtype, pl.Binary):
        return quoted(value.bin.encode("base64"))
    if isinstance(dtype, (pl.Boolean, pl.Null)):
        return value.cast(pl.String)
    if dtype.is_integer():
        text = value.cast(pl.String)
        return pl.when(value.is_between(-EXACT_INTEGER, EXACT_INTEGER)).then(text).otherwise(quoted(text))
    if dtype.is_float():
        return value.cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        text = decimal_text(value, dtype)
        digits = text.str.replace_all(r"[-.]", "").str.strip_chars_start("0").str.len_bytes()
        return pl.when(digits <= EXACT_DIGITS).then(text).otherwise(quoted(text))
    if isinstance(dtype, pl.Date):
        return quoted(value.dt.to_string("%Y-%m-%d")) if dates.iso else value.dt.epoch("s").cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        utc = _in_utc(value, dtype, dates)
        return quoted(utc.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")) if dates.iso else _unix_seconds(utc).cast(pl.String)
    if isinstance(dtype, pl.Time):
        return quoted(value.dt.to_string("%H:%M:%S%.f"))
    if isinstance(dtype, pl.Duration):
        micros = value.dt.total_microseconds()
        whole = (micros // 1_000_000).cast(pl.String)
        return pl.when(micros % 1_000_000 == 0).then(whole).otherwise((micros / 1_000_000).cast(pl.String))
    raise SpecError(f"dtype {dtype} cannot be sent to Customer.io; cast the column in the query, or leave it out")


def unsendable(value: pl.Expr, dtype: pl.DataType, dates: DateRule) -> dict[str, pl.Expr]:
    """Which values have no JSON: problem to Boolean expression; no entry for a problem that the dtype cannot have.

    Problems: `not_a_number` (NaN, infinity) and `no_such_local_time` (a naive datetime that a clock change skipped).
    """
    if isinstance(dtype, pl.List):
        return _any_inside(value, dtype.inner, dates)
    if isinstance(dtype, pl.Array):
        return _any_inside(value.arr.to_list(), dtype.inner, dates)
    if isinstance(dtype, pl.Struct):
        found: dict[str, pl.Expr] = {}
        for part in dtype.fields:
            inner = unsendable(value.struct.field(part.name), _instance(part.dtype), dates)
            for problem, test in inner.items():
                found[problem] = found[problem] | test if problem in found else test
        return {problem: test.fill_null(False) for problem, test in found.items()}
    if dtype.is_float():
        return {"not_a_number": (~value.is_finite()).fill_null(False)}
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and dates.naive_timezone != "UTC":
        return {"no_such_local_time": value.is_not_null() & _in_utc(value, dtype, dates).is_null()}
    return {}


def json_dtype(dtype: pl.DataType, dates: DateRule) -> pl.DataType:
    """The dtype that JSON text of this dtype reads back to: dates become Int64 or String, as they were sent."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(json_dtype(_instance(dtype.inner), dates))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({part.name: json_dtype(_instance(part.dtype), dates) for part in dtype.fields})
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        return pl.String() if dates.iso else pl.Int64()
    if isinstance(dtype, pl.Duration):
        return pl.Float64()
    return dtype if isinstance(dtype, (pl.Boolean, pl.Decimal)) or dtype.is_numeric() else pl.String()


def typed(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """JSON text as values again, of a dtype that `json_dtype` gave; the text `null`, and null, are null."""
    text = pl.when(text != "null").then(text)
    if isinstance(dtype, pl.Boolean):
        return text == "true"
    if dtype.is_numeric():
        return text.str.strip_chars('"').cast(dtype, strict=False)
    return text.str.json_decode(dtype)


def quoted(text: pl.Expr) -> pl.Expr:
    """Strings as JSON strings, escaped by Polars' own encoder; null stays null."""
    encoded = pl.struct(text.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)


def decimal_text(value: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
    """Decimals as their digits, without trailing zeros after the point."""
    text = value.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if dtype.scale else text


def joined_object(names_and_texts: list[tuple[str, pl.Expr]]) -> pl.Expr:
    """A JSON object from names and JSON texts; a null text leaves its name out."""
    members = [pl.lit(json.dumps(name, ensure_ascii=False) + ":") + text for name, text in names_and_texts]
    if not members:
        return pl.lit("{}")
    return pl.lit("{") + pl.concat_str(members, separator=",", ignore_nulls=True) + pl.lit("}")


def _array(value: pl.Expr, inner: object, dates: DateRule) -> pl.Expr:
    text = value.list.eval(json_text(pl.element(), _instance(inner), dates).fill_null("null")).list.join(",")
    return pl.lit("[") + text + pl.lit("]")


def _object(value: pl.Expr, dtype: pl.Struct, dates: DateRule) -> pl.Expr:
    members = [
        (part.name, json_text(value.struct.field(part.name), _instance(part.dtype), dates).fill_null("null"))
        for part in dtype.fields
    ]
    return pl.when(value.is_not_null()).then(joined_object(members))


def _any_inside(value: pl.Expr, inner: object, dates: DateRule) -> dict[str, pl.Expr]:
    inside = unsendable(pl.element(), _instance(inner), dates)
    return {problem: value.list.eval(test).list.any().fill_null(False) for problem, test in inside.items()}


def _in_utc(value: pl.Expr, dtype: pl.Datetime, dates: DateRule) -> pl.Expr:
    if dtype.time_zone is not None:
        return value.dt.convert_time_zone("UTC")
    zoned = value.dt.replace_time_zone(dates.naive_timezone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _unix_seconds(utc: pl.Expr) -> pl.Expr:
    return utc.dt.timestamp("us") // 1_000_000


def _instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]
