"""Deterministic ULIDs: the same row gives the same ULID on any machine and in any version.

A ULID (github.com/ulid/spec) is 48 bits of milliseconds and 80 further bits, as 26 characters of Crockford's base 32. The time part
is the event's own time; the further bits are the first 80 of the SHA-256 of the event's name (as JSON text, so that it ends where it
ends), a line feed and the row's id: one row may feed several events. Customer.io ignores a repeated ULID (Track API, dedupe_id).
"""

from __future__ import annotations

import polars as pl
import polars_hash as plh

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
"""Two characters for each number of ten bits: half as many look-ups."""

LATEST_MILLISECOND = 2**48 - 1


def ulid(seed: str, seconds: pl.Expr) -> pl.Expr:
    """ULIDs from a String column (`<name as JSON>\\n<row id>`) and event times (Unix seconds, Int64; null and what is out of range: the nearest bound)."""
    digest = plh.col(seed).chash.sha2_256()
    milliseconds = seconds.fill_null(0).clip(0, LATEST_MILLISECOND // 1_000) * 1_000
    time = [_pair(milliseconds // 1024**place) for place in reversed(range(5))]
    # Five hexadecimal digits are 20 bits are four characters.
    groups = [digest.str.slice(start, 5).str.to_integer(base=16, dtype=pl.Int64) for start in range(0, 20, 5)]
    return pl.concat_str([*time, *(_pair(group // 1024**place) for group in groups for place in (1, 0))])


def _pair(numbers: pl.Expr) -> pl.Expr:
    # Unlike `replace_strict`, this needs no more than some rows at a time.
    return (numbers % 1024).cast(pl.UInt16).cat.to(pl.Enum(PAIRS)).cast(pl.String)
