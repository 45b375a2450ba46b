"""Rejected rows: why, where and in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

REJECT = pl.Struct({"reason": pl.String, "field": pl.String, "message": pl.String})
"""The dtype of the `_reject` column: a reason for programs, the source column, and a sentence for people. Null where a row is fine."""


@dataclass(frozen=True)
class Reject:
    """A test for one problem: where `test` is true, the row is rejected with this reason, field and message."""

    test: pl.Expr
    value: pl.Expr


def reject(reason: str, field: str, test: pl.Expr, message: str | pl.Expr) -> Reject:
    """A reject of one kind. `message` names the column, the value's problem and the limit; null tests count as false."""
    text = pl.lit(message) if isinstance(message, str) else message
    return Reject(
        test.fill_null(False),
        pl.struct(reason=pl.lit(reason), field=pl.lit(field), message=text.cast(pl.String)),
    )


def numbered(before: str, number: pl.Expr, after: str) -> pl.Expr:
    """A message with each row's number in it. (A format string would stumble over braces in a column's name.)"""
    return pl.concat_str(pl.lit(before), number.cast(pl.String), pl.lit(after))


def first_reject(rejects: Iterable[Reject]) -> pl.Expr:
    """The first problem of each row, as a struct of dtype REJECT; null where there is none."""
    found = [pl.when(each.test).then(each.value) for each in rejects]
    return pl.coalesce(*found, pl.lit(None, dtype=REJECT))
