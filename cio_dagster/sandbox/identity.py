"""Who an operation is about: identifiers, their shapes and spellings, and the ids that Customer.io itself gives."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from typing import NamedTuple

PERSON_IDENTIFIERS = ("id", "email", "phone")
"""The identifiers that a sender chooses, in the order in which a request's body is searched for them."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_CIO_ID = re.compile(r"cio_([a-zA-Z0-9]+)")
_E164 = re.compile(r"\+[1-9]\d{1,14}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Identifier(NamedTuple):
    """One identifier of a person: ``id``, ``email``, ``phone``, ``cio_id`` or ``anonymous_id``, and its value."""

    kind: str
    value: str


def from_path(value: str) -> Identifier:
    """The identifier in a v1 path, its kind taken from its shape.

    A phone number is an ``id`` there. Source: Customer.io's Track OpenAPI, components.parameters.track_customer_id.
    """
    if match := _CIO_ID.fullmatch(value):
        return Identifier("cio_id", match[1])
    return Identifier("email" if is_email(value) else "id", value)


def bare_cio_id(value: str) -> str:
    """A ``cio_id`` without the prefix that v1 paths, segment calls and App activities use."""
    match = _CIO_ID.fullmatch(value)
    return match[1] if match else value


def is_email(value: str) -> bool:
    """Whether a value has the shape of an email address."""
    return _EMAIL.fullmatch(value) is not None


def is_phone(value: str) -> bool:
    """Whether a value is a phone number in E.164 form, the only one that identifies a person."""
    return _E164.fullmatch(value) is not None


def is_ulid(value: object) -> bool:
    """Whether a value is a ULID, which is what deduplicates events."""
    return isinstance(value, str) and _ULID.fullmatch(value) is not None


def match_key(kind: str, value: str) -> str:
    """What two equal identifiers share: emails differ by case only in spelling; ids differ.

    Source: docs.customer.io/journeys/identifying-people.
    """
    return value.strip().lower() if kind == "email" else value


def new_cio_id() -> str:
    """An identifier for a new person; never one that an earlier person had."""
    return secrets.token_hex(6)


def new_cio_object_id() -> str:
    """An identifier for a new object, in the shape of Customer.io's example ``obb7fd050101``."""
    return f"ob{secrets.token_hex(5)}"


def new_ulid(milliseconds: int) -> str:
    """A ULID of this moment with 80 random bits."""
    return _time_part(milliseconds) + "".join(map(_CROCKFORD.__getitem__, map((31).__and__, secrets.token_bytes(16))))


@lru_cache(maxsize=64)
def _time_part(milliseconds: int) -> str:
    return "".join(_CROCKFORD[(milliseconds >> shift) & 31] for shift in range(45, -1, -5))
