"""The sizes that Customer.io publishes, and the checks of them.

Sources: Customer.io's Track OpenAPI (info) for people, objects, events and v2 requests; its App OpenAPI for
collections; docs.customer.io/journeys/invalid-api-requests for the wording of the v1 messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ID_BYTES = 150
ATTRIBUTE_NAME_BYTES = 150
ATTRIBUTE_VALUE_BYTES = 1000
ATTRIBUTES = 300
OBJECT_ATTRIBUTES_BYTES = 100_000
EVENT_NAME_BYTES = 100
EVENT_DATA_BYTES = 100_000
SEGMENT_IDS = 1000
COLLECTION_BYTES = 10_000_000
COLLECTION_ROW_BYTES = 10_000
COLLECTION_KEY_BYTES = 1024
PEOPLE_BY_ID = 100


class Invalid(Exception):
    """An operation that breaks a rule: the field, and a message for a person to read."""

    def __init__(self, field: str, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.reason = reason


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(value: object) -> str:
    """A value as compact JSON."""
    return _COMPACT.encode(value)


def utf8_bytes(text: str) -> int:
    """How many bytes a text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def value_bytes(value: object) -> int:
    """How many bytes an attribute's value takes: a string's own, anything else's as compact JSON."""
    return utf8_bytes(value if isinstance(value, str) else encoded(value))


def check_attributes(attributes: Mapping[str, Any], field: str = "attributes") -> None:
    """Check the number, names and values of the attributes in one call.

    Raises:
        Invalid: They are over a limit.
    """
    if len(attributes) > ATTRIBUTES:
        raise Invalid(field, f"cannot identify more than {ATTRIBUTES} attributes in one request")
    for name, value in attributes.items():
        if len(name) * 4 > ATTRIBUTE_NAME_BYTES and utf8_bytes(name) > ATTRIBUTE_NAME_BYTES:
            raise Invalid(f"{field}.{name}", f"attribute name cannot be longer than {ATTRIBUTE_NAME_BYTES} bytes")
        if isinstance(value, str):
            # At most four bytes a character, so most values need no encoding to be known as short enough.
            long = len(value) * 4 > ATTRIBUTE_VALUE_BYTES and utf8_bytes(value) > ATTRIBUTE_VALUE_BYTES
        else:
            long = isinstance(value, (list, dict)) and value_bytes(value) > ATTRIBUTE_VALUE_BYTES
        if long:
            message = f"value for attribute '{name}' cannot be longer than {ATTRIBUTE_VALUE_BYTES} bytes"
            raise Invalid(f"{field}.{name}", message)


def total_bytes(attributes: Mapping[str, Any]) -> int:
    """How many bytes the names and values of attributes take together."""
    return sum(utf8_bytes(name) + value_bytes(value) for name, value in attributes.items())


def check_total(attributes: Mapping[str, Any], field: str = "attributes") -> None:
    """Check the size of all attributes of an object or a relationship.

    Raises:
        Invalid: They are over a limit.
    """
    if total_bytes(attributes) > OBJECT_ATTRIBUTES_BYTES:
        raise Invalid(field, f"attributes cannot be larger than {OBJECT_ATTRIBUTES_BYTES} bytes in total")


def check_id(value: object, field: str, name: str = "id") -> str:
    """Check an identifier that a sender chose, and return it.

    Raises:
        Invalid: It is no string, empty or too long.
    """
    if not isinstance(value, str):
        raise Invalid(field, f"{name} attribute must be a string value")
    if not value.strip():
        raise Invalid(field, f"{name} attribute cannot be an empty string")
    if utf8_bytes(value) > ID_BYTES and name != "email":
        raise Invalid(field, f"{name} attribute cannot be longer than {ID_BYTES} bytes")
    return value


def check_event(name: object, data: object, field: str) -> None:
    """Check an event's name and data.

    Raises:
        Invalid: They are missing, of the wrong type, or over a limit.
    """
    if not isinstance(name, str) or not name.strip():
        raise Invalid("name", "event name must not be blank")
    if utf8_bytes(name.strip()) > EVENT_NAME_BYTES:
        raise Invalid("name", f"event name cannot be longer than {EVENT_NAME_BYTES} bytes")
    if data is not None and not isinstance(data, dict):
        raise Invalid(field, "event data must be a hash")
    if data and utf8_bytes(encoded(data)) > EVENT_DATA_BYTES:
        raise Invalid(field, f"event data cannot be longer than {EVENT_DATA_BYTES} bytes")
