"""Whether what the App API shows is what was sent. Pure functions from frames to frames.

The App API gives every attribute as a string, JSON values as their text (Customer.io's customerAttributesObject). How numbers are spelt in
it, and in which order an object's members come, is not documented: both are compared by value.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from cio_dagster.prepare.attributes import TOPIC
from cio_dagster.prepare.json_text import joined_object, typed

VALUE = pl.Schema({"_key": pl.String(), "field": pl.String(), "found": pl.String()})
"""A value that was found, as the App API shows it."""

Found = dict[str, dict[str, Any] | None]


def values_of(found: Found) -> pl.DataFrame:
    """The attributes of people or objects: `_id` (what was asked for), `field`, `found`."""
    rows: list[tuple[str, str, str | None]] = []
    for asked, each in found.items():
        attributes = dict((each or {}).get("identifiers") or {}) | ((each or {}).get("attributes") or {})
        rows.extend((asked, name, _text(value)) for name, value in attributes.items())
        # The one dotted name that Customer.io documents is read back as a part of the attribute that it changes.
        for topic, chosen in _topics(attributes.get("cio_subscription_preferences")).items():
            rows.append((asked, TOPIC.removesuffix("topic_") + topic, _text(chosen)))
    return pl.DataFrame(rows, schema={"_id": pl.String, "field": pl.String, "found": pl.String}, orient="row")


def devices_of(people: Found) -> pl.DataFrame:
    """The devices of people: `_id` (who was asked for), `_token`, `field`, `found`; own fields as `_platform` and `_last_used`."""
    rows: list[tuple[str, str, str, str | None]] = []
    for asked, person in people.items():
        for device in (person or {}).get("devices") or []:
            token = str(device.get("id") or device.get("token"))
            fields = {"_platform": device.get("platform"), "_last_used": device.get("last_used")}
            rows.extend(
                (asked, token, name, _text(value)) for name, value in {**(device.get("attributes") or {}), **fields}.items()
            )
    schema = {"_id": pl.String, "_token": pl.String, "field": pl.String, "found": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def judge(
    rows: pl.DataFrame, removed: pl.DataFrame, seen: pl.DataFrame, values: pl.DataFrame, data: list[str], what: str
) -> pl.DataFrame:
    """What differs (see `cio_dagster.checks.readback.DIFFERENCE`), of the rows that were looked for.

    seen
        `_key` of each row that was looked for, and `_absent`: why it is not there, or null.
    values
        What was found, in the schema VALUE; empty where there is nothing to compare beside existence.
    """
    of_rows = rows.select("_key").join(seen, on="_key")
    missing = of_rows.filter(pl.col("_absent").is_not_null()).select("_key", reason="_absent")
    still = removed.select("_key").join(seen, on="_key").filter(pl.col("_absent").is_null()).select("_key")
    there = of_rows.filter(pl.col("_absent").is_null()).select("_key")
    differing = _differing(rows.join(there, on="_key", how="semi"), values, data) if len(values) else missing.clear()
    parts = [missing, still.with_columns(reason=pl.lit("still_there")), differing]
    columns = ["_key", "what", "field", "expected", "found", "reason"]
    empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    return pl.concat([empty, *parts], how="diagonal").with_columns(what=pl.lit(what)).select(columns)


def _differing(rows: pl.DataFrame, values: pl.DataFrame, data: list[str]) -> pl.DataFrame:
    expected = rows.unpivot(on=data, index="_key", variable_name="field", value_name="expected").cast(pl.String)
    both = expected.filter(pl.col("expected").is_not_null()).join(
        values.unique(["_key", "field"]), on=["_key", "field"], how="left"
    )
    unlike = both.filter(~_same(pl.col("field"), pl.col("expected"), pl.col("found")).fill_null(False))
    nested = unlike["expected"].str.contains(r"^[\[{]")
    # These few are compared by value; the rest differ.
    alike = [
        is_nested and _holds(expected, found)
        for is_nested, expected, found in zip(nested, unlike["expected"], unlike["found"], strict=True)
    ]
    return unlike.filter(~pl.Series(alike, dtype=pl.Boolean)).with_columns(reason=pl.lit("differs"))


def _same(field: pl.Expr, expected: pl.Expr, found: pl.Expr) -> pl.Expr:
    """Whether a string is what the JSON text reads back as; for arrays and objects only if it is the same text."""
    shown, sent = found.fill_null(""), typed(expected, pl.String())
    truth = ["true", "1"]
    return (
        pl.when(expected == "null")
        .then(shown.is_in(["", "null"]))
        # An email is compared without case. Whether an anonymous_id is shown at all is not documented.
        .when(field == "email")
        .then(sent.str.to_lowercase() == shown.str.to_lowercase())
        .when((field == "anonymous_id") & found.is_null())
        .then(True)
        # Track API, identify: any-case true and 1 unsubscribe, anything else does not.
        .when(field == "unsubscribed")
        .then(sent.str.to_lowercase().is_in(truth) == shown.str.to_lowercase().is_in(truth))
        # A device that was used since says so itself.
        .when(field == "_last_used")
        .then(found.cast(pl.Float64, strict=False) >= expected.cast(pl.Float64, strict=False))
        .when(expected.str.starts_with('"'))
        .then(sent == shown)
        .when(expected.is_in(["true", "false"]))
        .then(shown.str.to_lowercase() == expected)
        .when(expected.str.contains(r"^[\[{]"))
        .then(shown == expected)
        .otherwise(found.cast(pl.Float64, strict=False) == expected.cast(pl.Float64, strict=False))
    )


def _holds(expected: str, found: str | None) -> bool:
    try:
        return contained(json.loads(expected), json.loads(found or ""))
    except ValueError:
        return False


def contained(expected: Any, found: Any) -> bool:
    """Whether everything that was sent is there. Members of an object that were not sent may be there too.

    Whether a nested value replaces the one that was there or is merged into it is not documented.
    """
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(contained(value, found.get(name)) for name, value in expected.items())
    if isinstance(expected, list):
        return isinstance(found, list) and len(expected) == len(found) and all(map(contained, expected, found))
    return _text(expected) == _text(found) or _number(expected) == _number(found) is not None


def content_of(rows: pl.DataFrame, data: list[str]) -> pl.DataFrame:
    """A collection's rows as they were sent: `_key`, `_content` (a JSON object)."""
    return rows.select("_key", _content=joined_object([(name, pl.col(name)) for name in data]))


def canonical(row: Any) -> str:
    """JSON that is the same for the same values, whatever the order of members and the spelling of numbers."""
    return json.dumps(_plain(row), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _topics(preferences: Any) -> dict[str, Any]:
    try:
        read = json.loads(preferences) if isinstance(preferences, str) else preferences
    except ValueError:
        return {}
    topics = read.get("topics") if isinstance(read, dict) else None
    return topics if isinstance(topics, dict) else {}
