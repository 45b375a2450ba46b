"""Which source columns become which attributes, and the limits of their names and values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import polars as pl

from cio_dagster.errors import SpecError
from cio_dagster.limits import ATTRIBUTE_NAME_BYTES, ATTRIBUTE_VALUE_BYTES, ATTRIBUTES_PER_OPERATION, EXACT_INTEGER
from cio_dagster.prepare.columns import is_internal, is_pattern, source
from cio_dagster.prepare.identifiers import identifier_text, malformed_rejects
from cio_dagster.prepare.json_text import DateRule, joined_object, json_dtype, json_text, quoted, unsendable
from cio_dagster.prepare.rejects import Reject, numbered, reject
from cio_dagster.specs import AnySpec, Constant, Device, Event, Identifier, Object, Person, Relationship

TOPIC = "cio_subscription_preferences.topics.topic_"
"""The one dotted name that Customer.io documents: it changes one topic and keeps the rest (Track API, person_attributes)."""

CONTROLS = ("_update", "_timestamp", "cio_relationships", "cio_id")
"""Names that steer a request, or that Customer.io sets itself (Track API; docs.customer.io/journeys/attributes)."""

IDENTIFYING = ("id", "email", "anonymous_id")
"""People's attributes that identify them too, so they are held to the rules of identifiers: strings, always."""

Source: TypeAlias = "str | Constant | dict[str, Source]"
"""A source column, a constant, or the parts of a nested value."""


@dataclass(frozen=True)
class Attribute:
    """One attribute: its name in Customer.io, and where its value comes from."""

    name: str
    origin: Source


def attributes_of(spec: AnySpec, schema: Mapping[str, pl.DataType]) -> list[Attribute]:
    """The attributes that a frame of this schema has under this spec. Raises SpecError naming what cannot be sent."""
    roles = {part.column for part in spec.identifiers.values()} | set(spec.fields.values())
    if spec.attributes is None:
        mapping: Mapping[str, str | Constant] = {name: name for name in schema if name not in roles}
    else:
        mapping = spec.attributes
    tree: dict[str, Source] = {}
    for name, origin in mapping.items():
        if isinstance(origin, str) and origin not in schema:
            raise SpecError(
                f"attribute {name!r} takes column {origin!r}, which the query does not give; it gives {sorted(schema)}"
            )
        # A column's own name is taken as it is; only a mapping asks for nested values.
        nested = spec.attributes is not None and not name.startswith(TOPIC)
        _plant(tree, name.split(".") if nested else [name], origin, name)
    for name in tree:
        _check_name(spec, name)
    folded: dict[str, str] = {}
    for name in tree:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            raise SpecError(f"attributes {other!r} and {name!r} differ by case only; rename one with `attributes`")
    return [Attribute(name, origin) for name, origin in tree.items()]


def attribute_text(attribute: Attribute, spec: AnySpec, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The attribute's JSON text, as a String expression; null where nothing is sent. A blank identifier is as good as null."""
    text = _text(attribute.origin, spec, schema)
    if (part := _identifier(attribute, spec)) is not None:
        value = identifier_text(part, schema[part.column])
        text = quoted(pl.when(value.str.strip_chars() != "").then(value))
        if spec.null_policy(part.column) == "clear":
            text = text.fill_null("null")
    if isinstance(spec, Device):
        text = pl.when(text.str.starts_with('"')).then(text).otherwise(quoted(text))
    return text.alias(attribute.name)


def attribute_dtype(attribute: Attribute, spec: AnySpec, schema: Mapping[str, pl.DataType]) -> pl.DataType:
    """The dtype that the attribute's JSON text reads back to; String for nested values put together by the mapping."""
    match attribute.origin:
        case Constant(value=bool()):
            return pl.Boolean()
        case Constant(value=int(value)) if abs(value) <= EXACT_INTEGER:
            return pl.Int64()
        case Constant(value=float()):
            return pl.Float64()
        case str(column) if not isinstance(spec, Device) and _identifier(attribute, spec) is None:
            return json_dtype(schema[column], _dates(spec, column))
        case _:
            return pl.String()


def attribute_rejects(attributes: list[Attribute], spec: AnySpec, schema: Mapping[str, pl.DataType]) -> Iterator[Reject]:
    """What makes an attribute unsendable, tested on the prepared text columns and the source columns."""
    for attribute in attributes:
        for column in columns_of(attribute.origin):
            yield from value_rejects(column, schema[column], _dates(spec, column))
        if isinstance(spec, (Person, Object, Relationship)):
            size = _value(attribute, schema).str.len_bytes()
            field = ", ".join(columns_of(attribute.origin)) or attribute.name
            message = numbered(f"{attribute.name!r} is ", size, f" bytes; the limit of a value is {ATTRIBUTE_VALUE_BYTES}")
            yield reject("value_too_long", field, size > ATTRIBUTE_VALUE_BYTES, message)
        if (part := _identifier(attribute, spec)) is not None:
            yield from malformed_rejects(identifier_text(part, schema[part.column]), part)
    if len(attributes) > ATTRIBUTES_PER_OPERATION and not isinstance(spec, (Event, Device)):
        count = pl.sum_horizontal([pl.col(each.name).is_not_null().cast(pl.UInt32) for each in attributes])
        message = numbered("the row has ", count, f" attributes; the limit is {ATTRIBUTES_PER_OPERATION}")
        yield reject("too_many_attributes", "", count > ATTRIBUTES_PER_OPERATION, message)


def value_rejects(column: str, dtype: pl.DataType, dates: DateRule) -> Iterator[Reject]:
    """Values of a column that have no JSON."""
    words = {
        "not_a_number": f"{column!r} holds NaN or infinity, which JSON cannot say; make it null or a number in the query",
        "date_out_of_range": f"{column!r} is in no year from 1 to 9999; make it null or a date in the query",
        "no_such_local_time": f"{column!r} is a local time that a clock change in {dates.naive_timezone} skipped",
    }
    for problem, test in unsendable(source(column), dtype, dates).items():
        yield reject(problem, column, test, words[problem])


def _text(origin: Source, spec: AnySpec, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    if isinstance(origin, Constant):
        return pl.lit(_constant_text(origin.value))
    if isinstance(origin, str):
        text = json_text(source(origin), schema[origin], _dates(spec, origin))
        return text.fill_null("null") if spec.null_policy(origin) == "clear" else text
    members = [(name, _text(part, spec, schema)) for name, part in origin.items()]
    return pl.when(pl.any_horizontal(text.is_not_null() for _, text in members)).then(joined_object(members))


def _constant_text(value: str | bool | int | float) -> str:
    if isinstance(value, int) and abs(value) > EXACT_INTEGER:
        value = str(value)
    return json.dumps(value, ensure_ascii=False)


def _value(attribute: Attribute, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """What the limit of a value is about: a string itself, as its JSON text has two quotes more, and escapes; else the JSON text."""
    if isinstance(attribute.origin, Constant) and isinstance(attribute.origin.value, str):
        return pl.lit(attribute.origin.value)
    if isinstance(attribute.origin, str) and isinstance(schema[attribute.origin], (pl.String, pl.Categorical, pl.Enum)):
        return source(attribute.origin).cast(pl.String)
    return pl.col(attribute.name)


def _identifier(attribute: Attribute, spec: AnySpec) -> Identifier | None:
    """The attribute as an identifier, if it is one of those that identify people too."""
    if isinstance(spec, Person) and attribute.name in IDENTIFYING and isinstance(attribute.origin, str):
        return Identifier(attribute.name, attribute.origin)
    return None


def _dates(spec: AnySpec, column: str) -> DateRule:
    return DateRule(spec.date_format(column) == "iso", spec.naive_timezone)


def columns_of(source: Source) -> list[str]:
    """The source columns that a value is made of; none of a constant."""
    if isinstance(source, dict):
        return [column for part in source.values() for column in columns_of(part)]
    return [source] if isinstance(source, str) else []


def _plant(tree: dict[str, Source], path: list[str], source: Source, name: str) -> None:
    for step in path[:-1]:
        branch = tree.setdefault(step, {})
        if not isinstance(branch, dict):
            raise SpecError(f"attribute {name!r} would be inside {step!r}, which is an attribute itself; rename one of them")
        tree = branch
    if path[-1] in tree:
        raise SpecError(f"attribute {name!r} is mapped twice, or is inside another; rename one of them")
    if not all(path):
        raise SpecError(f"attribute name {name!r} has an empty part; dots separate the names of nested values")
    tree[path[-1]] = source


def _check_name(spec: AnySpec, name: str) -> None:
    size = len(name.encode())
    if size > ATTRIBUTE_NAME_BYTES:
        raise SpecError(
            f"attribute name {name!r} is {size} bytes; the limit is {ATTRIBUTE_NAME_BYTES}: rename it with `attributes`"
        )
    if isinstance(spec, Person):
        if name in CONTROLS:
            raise SpecError(
                f"attribute {name!r} is Customer.io's own; rename it with `attributes`, or leave it out of the query"
            )
        if name == spec.key:
            raise SpecError(
                f"column {name!r} would be sent as attribute {name!r} beside the key {spec.key!r} (column {spec.column!r}) and could "
                f"give people another {name}; leave it out of the query, or rename it with `attributes`"
            )
    if is_internal(name):
        raise SpecError(f"attribute {name!r} has a name that snapshots use themselves; rename it with `attributes`")
    if "\x00" in name:
        raise SpecError(
            f"attribute {name!r} has a NUL character in its name, which Arrow cannot hold; rename it with `attributes`"
        )
    if is_pattern(name):
        raise SpecError(f"attribute {name!r} has a name that stands for many columns; rename it with `attributes`")
