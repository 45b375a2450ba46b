"""What names a row: its identifiers as strings, the sync key they form, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import polars_hash as plh

from cio_dagster.errors import SpecError
from cio_dagster.limits import EXACT_INTEGER, IDENTIFIER_BYTES
from cio_dagster.prepare.columns import source
from cio_dagster.prepare.json_text import decimal_text, quoted
from cio_dagster.prepare.rejects import Reject, numbered, reject
from cio_dagster.specs import AnySpec, Identifier

EMAIL = r"^[^@\s]+@[^@\s]+$"
"""One @ between two parts without spaces; Customer.io judges the rest."""

PHONE = r"^\+[1-9][0-9]{1,14}$"
"""E.164, the form that Track v2 declares for `phone`."""

LIMITED = ("id", "object_id", "anonymous_id", "cio_id")
"""Kinds held to IDENTIFIER_BYTES. The limits of emails, phones and device tokens are not documented."""


def identifier_text(identifier: Identifier, dtype: pl.DataType, value: pl.Expr | None = None) -> pl.Expr:
    """The identifier as a String expression: integers as digits, emails and phones trimmed, `cio_` prefixes removed.

    `value` is what it is made of; by default its source column. Values that are no identifier give null; `identifier_rejects` says which.
    Raises SpecError for a dtype that names nothing.
    """
    value = source(identifier.column) if value is None else value
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null)) or dtype.is_integer():
        text = value.cast(pl.String)
    elif dtype.is_float():
        whole = value.is_finite() & (value == value.floor()) & value.is_between(-EXACT_INTEGER, EXACT_INTEGER)
        text = pl.when(whole).then(value).cast(pl.Int64, strict=False).cast(pl.String)
    elif isinstance(dtype, pl.Decimal):
        digits = decimal_text(value, dtype)
        text = pl.when(~digits.str.contains(".", literal=True)).then(digits)
    else:
        raise SpecError(
            f"column {identifier.column!r} is {dtype}; {identifier.kind} takes text or whole numbers: cast it in the query"
        )
    if identifier.kind in ("email", "phone"):
        text = text.str.strip_chars()
    if identifier.kind == "cio_id":
        text = text.str.strip_prefix("cio_")
    return text


def identifier_rejects(role: str, identifier: Identifier) -> Iterator[Reject]:
    """What makes an identifier unusable, tested on the prepared column `_<role>` and the source column."""
    kind, column = identifier.kind, identifier.column
    text, value = pl.col(f"_{role}"), source(column)
    yield reject("missing_key", column, value.is_null(), f"{column!r} is null; each row needs its {kind}")
    blank = text.str.strip_chars().str.len_bytes() == 0
    yield reject("missing_key", column, blank, f"{column!r} is empty; each row needs its {kind}")
    yield from malformed_rejects(text, identifier)


def malformed_rejects(text: pl.Expr, identifier: Identifier) -> Iterator[Reject]:
    """What makes an identifier unusable though it is there: tested on what `identifier_text` gives, and the source column."""
    kind, column = identifier.kind, identifier.column
    fraction = text.is_null() & source(column).is_not_null()
    yield reject("invalid_key", column, fraction, f"{column!r} is a fraction or beyond exact whole numbers")
    if kind in LIMITED:
        size = text.str.len_bytes()
        message = numbered(f"{column!r} is ", size, f" bytes; the limit of {kind} is {IDENTIFIER_BYTES}")
        yield reject("key_too_long", column, size > IDENTIFIER_BYTES, message)
    if kind == "email":
        wrong = (text != "") & ~text.str.contains(EMAIL)
        yield reject("invalid_email", column, wrong, f"{column!r} is no email address (one @, no spaces)")
    if kind == "phone":
        yield reject(
            "invalid_phone", column, ~text.str.contains(PHONE), f"{column!r} is no E.164 number (+ and 2 to 15 digits)"
        )


def sync_key(spec: AnySpec) -> pl.Expr:
    """The sync key as one string: the identifier as it is compared, or a JSON array of them."""
    parts = [compared_text(pl.col(f"_{role}"), spec.identifiers[role]) for role in spec.sync_key]
    if len(parts) == 1:
        return parts[0]
    return pl.lit("[") + pl.concat_str([quoted(part) for part in parts], separator=",") + pl.lit("]")


def compared_text(text: pl.Expr, identifier: Identifier) -> pl.Expr:
    """An identifier's text as it is compared: emails in lower case, as Customer.io compares them."""
    return text.str.to_lowercase() if identifier.kind == "email" else text


def sync_keys(spec: AnySpec, keys: Sequence[str]) -> list[str]:
    """Sync keys as people give them, as rows have them: without repeats, emails in lower case."""
    email = [spec.identifiers[role].kind for role in spec.sync_key] == ["email"]
    return list(dict.fromkeys(key.strip().lower() if email else key for key in keys))


def content_key(content: str) -> pl.Expr:
    """The key of rows that have none: the SHA-256 of their content, and which occurrence of that content the row is, from 0."""
    occurrence = pl.int_range(pl.len()).over(content)
    return plh.col(content).chash.sha2_256() + pl.lit("#") + occurrence.cast(pl.String)
