"""Filters of people and objects: ``and``, ``or``, ``not``, and conditions with ``eq`` and ``exists``.

Source: Customer.io's Track OpenAPI, components.schemas.audienceFilter and objectFilter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cio_dagster.sandbox.people import as_text

Condition = Callable[[Any], "Filter"]
Filter = Callable[[Mapping[str, Any]], bool]


class InvalidFilter(ValueError):
    """A filter that the contract does not allow."""


def read_filter(given: object, conditions: Mapping[str, Condition]) -> Filter:
    """Compile a filter; ``conditions`` names the leaves that it may have.

    Raises:
        InvalidFilter: It is not one of the contract's.
    """
    if not isinstance(given, dict) or len(given) != 1:
        raise InvalidFilter(f"a filter has one of and, or, not, {', '.join(conditions)}")
    [(name, value)] = given.items()
    if name in ("and", "or"):
        if not isinstance(value, list):
            raise InvalidFilter(f"{name} takes an array of filters")
        parts = [read_filter(each, conditions) for each in value]
        if name == "and":
            return lambda record: all(part(record) for part in parts)
        return lambda record: any(part(record) for part in parts)
    if name == "not":
        inner = read_filter(value, conditions)
        return lambda record: not inner(record)
    if name not in conditions:
        raise InvalidFilter(f"a filter has one of and, or, not, {', '.join(conditions)}, not {name}")
    return conditions[name](value)


def attribute_condition(given: object) -> Filter:
    """``{"field","operator":"eq"|"exists","value"?}``, compared as text, which is what attributes are when read."""
    if not isinstance(given, dict) or not isinstance(given.get("field"), str):
        raise InvalidFilter("an attribute condition needs a field and an operator")
    field, operator = given["field"], given.get("operator")
    if operator == "exists":
        return lambda record: record.get(field) is not None
    if operator != "eq":
        raise InvalidFilter("operator is eq or exists")
    if "value" not in given:
        raise InvalidFilter("eq needs a value")
    value = as_text(given["value"])
    return lambda record: record.get(field) is not None and as_text(record[field]) == value
