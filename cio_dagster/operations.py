"""Operations: one row's JSON, as Customer.io's APIs take it.

Pure Polars expressions, String in and String out: no Python object for each row. Shapes by Customer.io's Track API document
(docs.customer.io/files/journeys-track.json) and the App API's collections page.
"""

from __future__ import annotations

import json

import polars as pl

from cio_dagster.limits import COLLECTION_ROW_BYTES, EVENT_DATA_BYTES
from cio_dagster.prepare.columns import NEW
from cio_dagster.prepare.json_text import joined_object, quoted
from cio_dagster.specs import (
    AnySpec,
    Collection,
    Device,
    Event,
    ManualSegment,
    Object,
    Person,
    Relationship,
)


def write_body(spec: AnySpec, data: list[str]) -> pl.Expr:
    """The operation that creates or updates a row (of the columns that `diff` gives)."""
    attributes = [(name, pl.col(NEW + name)) for name in data if name not in _own(spec)]
    match spec:
        case Person():
            only = [("_update", pl.lit("true"))] if spec.behavior == "update_only" else []
            return _person(spec, "identify", [("attributes", joined_object(only + attributes))])
        case Device():
            # Customer.io takes the time of the request for a missing last_used, so it goes along with every update.
            own = [("token", quoted(pl.col("_token"))), ("platform", pl.col("_platform"))]
            if spec.last_used:
                own.append(("last_used", pl.col("_last_used")))
            return _person(spec, "add_device", [("device", joined_object([*own, ("attributes", joined_object(attributes))]))])
        case Event():
            return _event(spec, attributes)
        case Collection():
            return joined_object(attributes)
        case ManualSegment():
            prefixed = spec.key == "cio_id" and spec.cio_id_prefix
            return quoted(pl.lit("cio_") + pl.col("_person") if prefixed else pl.col("_person"))
        case Object():
            return _object(spec, "identify", [("attributes", joined_object(attributes))])
        case Relationship():
            return _relationship(spec, "add_relationships", [("relationship_attributes", joined_object(attributes))])


def removal_body(spec: AnySpec) -> pl.Expr:
    """The operation that removes a row (of the columns of a snapshot). Null for a collection's row, which goes by being absent."""
    match spec:
        case Person():
            return _person(spec, "delete", [])
        case Device():
            return _person(spec, "delete_device", [("device", joined_object([("token", quoted(pl.col("_token")))]))])
        case Collection():
            return pl.lit(None, dtype=pl.String)
        case ManualSegment():
            return write_body(spec, [])
        case Object():
            return _object(spec, "delete", [])
        case Relationship():
            return _relationship(spec, "delete_relationships", [])
        case Event():
            raise TypeError("events are never removed")


def body_limit(spec: AnySpec, operation_bytes: int) -> int:
    """The most bytes that one operation may have; `operation_bytes` is the limit inside a v2 batch."""
    if isinstance(spec, Collection):
        return COLLECTION_ROW_BYTES
    return EVENT_DATA_BYTES if isinstance(spec, Event) and spec.single else operation_bytes


def _own(spec: AnySpec) -> set[str]:
    return {f"_{name}" for name in spec.fields}


def _person(spec: Person | Device | Event | Relationship, action: str, rest: list[tuple[str, pl.Expr]]) -> pl.Expr:
    identifiers = joined_object([(spec.key, quoted(pl.col("_person")))])
    return joined_object([("type", _text("person")), ("identifiers", identifiers), ("action", _text(action)), *rest])


def _object(spec: Object, action: str, rest: list[tuple[str, pl.Expr]]) -> pl.Expr:
    return joined_object(
        [("type", _text("object")), ("identifiers", _object_identifiers(spec)), ("action", _text(action)), *rest]
    )


def _relationship(spec: Relationship, action: str, rest: list[tuple[str, pl.Expr]]) -> pl.Expr:
    one = joined_object([("identifiers", _object_identifiers(spec)), *rest])
    return _person(spec, action, [("cio_relationships", pl.lit("[") + one + pl.lit("]"))])


def _object_identifiers(spec: Object | Relationship) -> pl.Expr:
    return joined_object([("object_type_id", _text(str(spec.object_type_id))), ("object_id", quoted(pl.col("_object")))])


def _event(spec: Event, attributes: list[tuple[str, pl.Expr]]) -> pl.Expr:
    name = pl.col("_name") if spec.name_column else _text(str(spec.name))
    rest = [("name", name), ("id", quoted(pl.col("_ulid")))]
    if spec.timestamp:
        rest.append(("timestamp", pl.col("_timestamp")))
    if spec.single:
        person = [("anonymous_id", quoted(pl.col("_person"))), ("type", _text(spec.kind))]
        return joined_object([*person, *rest, ("data", joined_object(attributes))])
    return _person(spec, spec.kind, [*rest, ("attributes", joined_object(attributes))])


def _text(value: str) -> pl.Expr:
    return pl.lit(json.dumps(value, ensure_ascii=False))
