"""The rule for each Polars dtype: what JSON text its values become, and which values have none.

| dtype | JSON |
|---|---|
| String, Categorical, Enum | string |
| Boolean | true, false |
| integers | number; a string with all digits beyond ±2^53, where JSON readers that use doubles would lose some |
| Float32, Float64 | number, shortest form that reads back the same; NaN and infinity have no JSON |
| Decimal | number without trailing zeros; a string with more than 15 significant digits |
| Date | Unix seconds of midnight UTC, or an ISO 8601 date; only years 1 to 9999 have JSON |
| Datetime | whole Unix seconds, or ISO 8601 in UTC; naive ones are taken to be in a given zone; years as for Date |
| Time | string HH:MM:SS, with a fraction where there is one |
| Duration | number of seconds, with a fraction where there is one |
| Binary | string, base64 |
| List, Array | array, by the rule of what is inside |
| Struct | object, by the rules of its fields, nulls kept |
| Map | object, by the rule of its values, nulls kept; keys by the rule of keys, as strings, dates always as ISO 8601 |
| Null | null |

Any other dtype (Object) cannot be sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.limits import EXACT_INTEGER

EXACT_DIGITS = 15
"""Significant decimal digits that every double keeps (IEEE 754 binary64)."""

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""0001-01-01 and 9999-12-31 in days since 1970. What warehouses call infinity lies far beyond, where Polars cannot format dates."""

DAY = 86_400
TICKS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Time unit to its number in a second."""


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
    if isinstance(dtype, pl.Map):
        return _map(value, dtype, dates)
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return quoted(value.cast(pl.String))
    if isinstance(dtype, pl.Binary):
        return quoted(value.bin.encode("base64"))
    if isinstance(dtype, (pl.Boolean, pl.Null)):
        return value.cast(pl.String)
    if dtype.is_integer():
        text = value.cast(pl.String)
        lowest = 0 if dtype.is_unsigned_integer() else -EXACT_INTEGER
        return pl.when(value.is_between(lowest, EXACT_INTEGER)).then(text).otherwise(quoted(text))
    if dtype.is_float():
        return value.cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        text = decimal_text(value, dtype)
        digits = text.str.replace_all(r"[-.]", "").str.strip_chars_start("0").str.len_bytes()
        return pl.when(digits <= EXACT_DIGITS).then(text).otherwise(quoted(text))
    if isinstance(dtype, pl.Date):
        value = _with_year(value, dtype)
        return quoted(value.dt.to_string("%Y-%m-%d")) if dates.iso else value.dt.epoch("s").cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        utc = _in_utc(value, dtype, dates)
        if dates.iso:
            return quoted(utc.dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ"))
        return (utc.to_physical() // TICKS[dtype.time_unit]).cast(pl.String)
    if isinstance(dtype, pl.Time):
        return quoted(value.dt.to_string("%H:%M:%S%.f"))
    if isinstance(dtype, pl.Duration):
        return _seconds(value.to_physical(), TICKS[dtype.time_unit])
    raise SpecError(f"dtype {dtype} cannot be sent to Customer.io; cast the column in the query, or leave it out")


def unsendable(value: pl.Expr, dtype: pl.DataType, dates: DateRule) -> dict[str, pl.Expr]:
    """Which values have no JSON: problem to Boolean expression; no entry for a problem that the dtype cannot have.

    Problems: `not_a_number` (NaN, infinity), `date_out_of_range` (years before 1 or after 9999) and `no_such_local_time` (a naive
    datetime that a clock change skipped).
    """
    if isinstance(dtype, pl.List):
        return _any_inside(value, dtype.inner, dates)
    if isinstance(dtype, pl.Array):
        return _any_inside(value.arr.to_list(), dtype.inner, dates)
    if isinstance(dtype, pl.Struct):
        found: dict[str, pl.Expr] = {}
        for part in dtype.fields:
            inner = unsendable(_member(value, dtype, part.name), _instance(part.dtype), dates)
            for problem, test in inner.items():
                found[problem] = found[problem] | test if problem in found else test
        return {problem: test.fill_null(False) for problem, test in found.items()}
    if isinstance(dtype, pl.Map):
        return _any_inside(value.map.entries(), pl.Struct({"key": dtype.key, "value": dtype.value}), dates)
    if dtype.is_float():
        return {"not_a_number": (~value.is_finite()).fill_null(False)}
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        dated = _with_year(value, dtype)
        found = {"date_out_of_range": value.is_not_null() & dated.is_null()}
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and dates.naive_timezone != "UTC":
            found["no_such_local_time"] = dated.is_not_null() & _in_utc(value, dtype, dates).is_null()
        return found
    return {}


def json_dtype(dtype: pl.DataType, dates: DateRule) -> pl.DataType:
    """The dtype that JSON text of this dtype reads back to: dates become Int64 or String, as they were sent.

    Structs without fields and maps have no such dtype, so these, and what holds them, stay JSON text.
    """
    if _stays_text(dtype):
        return pl.String()
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
    """JSON text as values again, of a dtype that `json_dtype` gave; the text `null`, and null, are null.

    Text of another kind, from before a column changed its type, stays as it is where strings are wanted, and is null elsewhere.
    """
    text = pl.when(text != "null").then(text)
    if isinstance(dtype, pl.Boolean):
        return text == "true"
    if dtype.is_numeric():
        return text.str.strip_chars('"').cast(dtype, strict=False)
    opening = '"' if isinstance(dtype, pl.String) else "{" if isinstance(dtype, pl.Struct) else "["
    decoded = pl.when(text.str.starts_with(opening)).then(text).str.json_decode(_lenient(dtype)).cast(dtype, strict=False)
    return pl.coalesce(decoded, text) if isinstance(dtype, pl.String) else decoded


def quoted(text: pl.Expr) -> pl.Expr:
    """Strings as JSON strings, escaped by Polars' own encoder; null stays null."""
    encoded = pl.struct(text.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
    return pl.when(text.is_not_null()).then(encoded)


def decimal_text(value: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
    """Decimals as their digits, without trailing zeros after the point."""
    text = value.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if dtype.scale else text


def joined_object(names_and_texts: Sequence[tuple[str, pl.Expr]]) -> pl.Expr:
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
        (part.name, json_text(_member(value, dtype, part.name), _instance(part.dtype), dates).fill_null("null"))
        for part in dtype.fields
    ]
    return pl.when(value.is_not_null()).then(joined_object(members))


def _map(value: pl.Expr, dtype: pl.Map, dates: DateRule) -> pl.Expr:
    # Whole seconds could make two keys one.
    key = json_text(pl.element().struct.field("key"), _instance(dtype.key), replace(dates, iso=True))
    key = pl.when(key.str.starts_with('"')).then(key).otherwise(quoted(key))
    text = json_text(pl.element().struct.field("value"), _instance(dtype.value), dates).fill_null("null")
    members = value.map.entries().list.eval(key + pl.lit(":") + text).list.join(",")
    return pl.lit("{") + members + pl.lit("}")


def _stays_text(dtype: object) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _stays_text(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return not dtype.fields or any(_stays_text(part.dtype) for part in dtype.fields)
    return isinstance(dtype, pl.Map)


def _member(value: pl.Expr, dtype: pl.Struct, name: str) -> pl.Expr:
    """A field of a struct, by any name: `struct.field` would take `*` and `^...$` for patterns."""
    names = [part.name for part in dtype.fields]
    place = names.index(name)
    return value.struct.rename_fields([str(each) for each in range(len(names))]).struct.field(str(place))


def _any_inside(value: pl.Expr, inner: object, dates: DateRule) -> dict[str, pl.Expr]:
    inside = unsendable(pl.element(), _instance(inner), dates)
    return {problem: value.list.eval(test).list.any().fill_null(False) for problem, test in inside.items()}


def _in_utc(value: pl.Expr, dtype: pl.Datetime, dates: DateRule) -> pl.Expr:
    value = _with_year(value, dtype)
    if dtype.time_zone is not None:
        return value.dt.convert_time_zone("UTC")
    zoned = value.dt.replace_time_zone(dates.naive_timezone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _seconds(ticks: pl.Expr, second: int) -> pl.Expr:
    """Ticks as seconds, digit by digit: a quotient of floats would end in ...98999999."""
    size = ticks.cast(pl.Int128).abs()
    fraction = (size % second).cast(pl.String).str.zfill(len(str(second)) - 1).str.strip_chars_end("0")
    sign = pl.when(ticks < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    point = pl.when(fraction != "").then(pl.lit(".")).otherwise(pl.lit(""))
    return pl.when(ticks.is_not_null()).then(pl.concat_str(sign, (size // second).cast(pl.String), point, fraction))


def _with_year(value: pl.Expr, dtype: pl.Date | pl.Datetime) -> pl.Expr:
    """Null for dates whose year is not 1 to 9999."""
    if isinstance(dtype, pl.Date):
        return pl.when(value.to_physical().is_between(FIRST_DAY, LAST_DAY)).then(value)
    if dtype.time_unit == "ns":
        return value  # 64 bits of nanoseconds reach from 1677 to 2262.
    tick = TICKS[dtype.time_unit]
    return pl.when(value.to_physical().is_between(FIRST_DAY * DAY * tick, (LAST_DAY + 1) * DAY * tick - 1)).then(value)


def _lenient(dtype: object) -> pl.DataType:
    """The dtype to decode JSON as, before the cast to the one wanted: numbers as text, for those sent with all digits as strings."""
    if isinstance(dtype, pl.List):
        return pl.List(_lenient(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({part.name: _lenient(part.dtype) for part in dtype.fields})
    dtype = _instance(dtype)
    return pl.String() if dtype.is_numeric() else dtype


def _instance(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]
