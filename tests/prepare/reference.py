"""The rules of prepare again, in plain Python, one value at a time: what the property tests compare with.

Written from the tables in `cio_dagster.prepare` and the issue's text, not from the expressions.
"""

from __future__ import annotations

import base64
import math
import struct
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

EXACT = 2**53
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Unicode's White_Space; Python's own idea of it is wider."""


class Bad(Exception):
    """A value that has no JSON, or is no identifier; the text is the reason."""


class Single(float):
    """A 32-bit float: equal to every number that rounds to it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float)) and struct.pack("f", self) == struct.pack("f", other)

    __hash__ = float.__hash__


@dataclass(frozen=True)
class Rules:
    iso: bool = False
    zone: str = "UTC"


def json_value(value: Any, dtype: Any, rules: Rules) -> Any:
    """What a value becomes, as `json.loads` would give it. Raises Bad."""
    if value is None:
        return None
    if isinstance(dtype, (pl.List, pl.Array)):
        return [json_value(each, _instance(dtype.inner), rules) for each in value]
    if isinstance(dtype, pl.Struct):
        return {part.name: json_value(value[part.name], _instance(part.dtype), rules) for part in dtype.fields}
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if -EXACT <= value <= EXACT else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Bad("not_a_number")
        return Single(value) if isinstance(dtype, pl.Float32) else value
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _datetime(value, rules)
    if isinstance(value, date):
        return value.isoformat() if rules.iso else (value - EPOCH.date()).days * 86_400
    if isinstance(value, time):
        return value.strftime("%H:%M:%S") + _fraction(value.microsecond)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise AssertionError(dtype)


def _decimal(value: Decimal) -> Any:
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    digits = text.replace("-", "").replace(".", "").lstrip("0")
    if len(digits) > 15:
        return text
    return float(text) if "." in text else int(text)


def _datetime(value: datetime, rules: Rules) -> Any:
    if value.tzinfo is None:
        local = value.replace(tzinfo=ZoneInfo(rules.zone), fold=0)
        utc = local.astimezone(timezone.utc)
        if utc.astimezone(local.tzinfo).replace(tzinfo=None) != value:
            raise Bad("no_such_local_time")
    else:
        utc = value.astimezone(timezone.utc)
    if rules.iso:
        return utc.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + _fraction(utc.microsecond) + "Z"
    return (utc - EPOCH) // timedelta(seconds=1)


def _fraction(microseconds: int) -> str:
    if not microseconds:
        return ""
    return f".{microseconds // 1_000:03}" if microseconds % 1_000 == 0 else f".{microseconds:06}"


def identifier(value: Any, limit: int | None) -> str:
    """An identifier as a string. Raises Bad."""
    if value is None:
        raise Bad("missing_key")
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value) or abs(value) > EXACT:
            raise Bad("invalid_key")
        value = int(value)
    if isinstance(value, Decimal):
        if value != int(value):
            raise Bad("invalid_key")
        value = int(value)
    text = str(value)
    if not text.strip(WHITE):
        raise Bad("missing_key")
    if limit is not None and len(text.encode()) > limit:
        raise Bad("key_too_long")
    return text


@dataclass
class Row:
    """What becomes of one row: its key if it has one, and either its attributes or why it is rejected."""

    key: str | None
    attributes: dict[str, Any]
    reasons: set[str]


def rows(frame: pl.DataFrame, key: str, rules: Rules, *, limit: int | None, value_bytes: int | None, clear: bool) -> list[Row]:
    """All rows of a frame whose other columns are attributes. `value_bytes` is the limit of strings."""
    found = []
    for values in frame.iter_rows():
        row = Row(None, {}, set())
        for (name, dtype), value in zip(frame.schema.items(), values, strict=True):
            try:
                if name == key:
                    row.key = _text_or_none(value)
                    row.key = identifier(value, limit)
                    continue
                sent = json_value(value, dtype, rules)
            except Bad as bad:
                row.reasons.add(str(bad))
                continue
            if sent is not None or clear:
                row.attributes[name] = sent
            if value_bytes is not None and isinstance(value, str) and len(value.encode()) > value_bytes:
                row.reasons.add("value_too_long")
        found.append(row)
    shared = Counter(row.key for row in found)
    for row in found:
        if row.key is not None and shared[row.key] > 1:
            row.reasons.add("duplicate_key")
    return found


def _text_or_none(value: Any) -> str | None:
    """The key of a row that is rejected for its key: what is there, if it is text at all."""
    try:
        return identifier(value, None)
    except Bad:
        return value if isinstance(value, str) else None


def _instance(dtype: Any) -> Any:
    return dtype() if isinstance(dtype, type) else dtype
