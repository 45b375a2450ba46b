"""Partitions by sync key, for an asset too big for one machine: by the key's hash, or by ranges of keys.

A partition's name says all there is to know of it, so that definitions are plain static ones, and states tell what they hold:

| partition | rows |
|---|---|
| `03-of-16` | those of which the MD5 of the key's text, in hex digits, is in the 4th of 16 ranges (`3000` up to `4000`) |
| `1000..2000`, `g..p` | those with a key from the first bound up to the second, which is not of it |
| `..1000`, `p..` | the first and the last range |

Which partition a row is in never changes, and is the same in every warehouse. The key's text is what becomes the sync key: emails in lower case,
emails and phones without spaces around them, `cio_id`s without their prefix. Ranges of text are in the order of its bytes, in UTF-8. Rows without
a key, which prepare rejects, are of the first partition.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from polars_hash import NonCryptographicHashingNameSpace

from cio_dagster.errors import SpecError
from cio_dagster.prepare.identifiers import compared_text, identifier_text
from cio_dagster.specs import AnySpec, Identifier

if TYPE_CHECKING:
    from sqlglot import exp

MOST = 4_096
"""Hash partitions of an asset. Beyond it, they would differ in size by more than a sixteenth, as they are told apart by PREFIXES."""

PREFIXES = 16**4
"""Values of the first four hex digits of a hash, of which each partition has a range."""

HASH = re.compile(r"(\d+)-of-(\d+)")
BARE = r"[A-Za-z][\w@-]*"
"""A text bound that is written as it is; others are, as JSON, between quotes."""

BOUND = rf'(-?\d+|{BARE}|"(?:[^"\\]|\\["\\])*")?'
RANGE = re.compile(rf"{BOUND}\.\.{BOUND}", re.ASCII)

DIALECTS = {"postgresql": "postgres", "md": "duckdb", "sc": "spark"}
"""sqlglot's names of engines that it has under another one."""

LEAST, GREATEST = -(2**63), 2**63 - 1

COLLATION = {"postgres": '"C"', "sqlite": "BINARY"}
"""What has text in the order of its bytes, where a database or a column may have another one."""

SPACES = " \t\r\n"
"""What SQL takes off at both ends of emails and phones. Prepare takes off other white space too; rows with that are told by our own test."""


def hash_partitions(count: int) -> dg.StaticPartitionsDefinition:
    """Partitions of an asset by the hash of its sync key: `00-of-16` to `15-of-16`. All are about as large.

    count
        How many, from 2 to 4,096. Another count is another split: change it with `cio-state repartition`.

    Raises SpecError for another count.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST:
        raise SpecError(
            f"hash_partitions takes a count from 2 to {MOST:,}, not {count!r}; one partition is an asset without any."
        )
    return dg.StaticPartitionsDefinition([f"{number:0{_digits(count)}}-of-{count}" for number in range(count)])


def range_partitions(bounds: Sequence[str] | Sequence[int]) -> dg.StaticPartitionsDefinition:
    """Partitions of an asset by ranges of its sync key: below the first bound, from each bound up to the next, and from the last one on.

    bounds
        Where ranges begin, in rising order: all int, for a column of whole numbers; or all str, in the order of their bytes in UTF-8: digits
        before capitals before small letters before accented ones, and `"10"` before `"9"`; for a column of text. Other bounds are another split: change them with
        `cio-state repartition`.

    Raises SpecError for bounds that are none, mixed, or not rising.
    """
    found: list[Any] = [] if isinstance(bounds, str) else list(bounds)
    kinds = {type(bound) for bound in found}
    if not found or kinds not in ({int}, {str}):
        raise SpecError(f"range_partitions takes a list of bounds, all int or all str, and not {bounds!r}.")
    if wide := [bound for bound in found if isinstance(bound, int) and not LEAST <= bound <= GREATEST]:
        raise SpecError(f"range_partitions takes whole numbers of 64 bits, and not {wide[0]}.")
    if odd := [bound for bound in found if isinstance(bound, str) and (not bound or "..." in bound or not bound.isprintable())]:
        raise SpecError(f"range_partitions cannot name partitions by {odd[0]!r}: a bound is text to be read, without '...'.")
    for lower, upper in pairwise(found):
        if not _sortable(lower) < _sortable(upper):
            raise SpecError(
                f"range_partitions takes rising bounds, text in the order of its bytes: {upper!r} comes after {lower!r}."
            )
    return dg.StaticPartitionsDefinition([_range_name(start, end) for start, end in pairwise([None, *found, None])])


@dataclass(frozen=True)
class Slice:
    """The keys, or if `hashed` their MD5s, from `start` up to `end`, which is not of it; None is an open end."""

    start: str | int | None
    end: str | int | None
    hashed: bool


def slice_of(partition: str | None) -> Slice | None:
    """The slice that a partition's name says; None where it is no partition by sync key."""
    if partition is None:
        return None
    if match := HASH.fullmatch(partition):
        number, count = int(match[1]), int(match[2])
        if number < count and 2 <= count <= MOST and partition == f"{number:0{_digits(count)}}-of-{count}":
            return Slice(_prefix(number, count), _prefix(number + 1, count), hashed=True)
    if (match := RANGE.fullmatch(partition)) and partition != "..":
        start, end = (None if text is None else _read(text) for text in match.groups())
        alike = start is None or end is None or type(start) is type(end)
        if alike and partition == _range_name(start, end):
            return Slice(start, end, hashed=False)
    return None


def slices(definition: object) -> dict[str, Slice]:
    """Partition to slice, of what `hash_partitions` or `range_partitions` made; nothing for other definitions."""
    if not isinstance(definition, dg.StaticPartitionsDefinition):
        return {}
    return slices_of(definition.get_partition_keys())


def slices_of(partitions: Iterable[str]) -> dict[str, Slice]:
    """Partition to slice, where these are all partitions of one definition by sync key, in their order; else nothing."""
    found = {key: slice_of(key) for key in partitions}
    known = {key: each for key, each in found.items() if each is not None}
    parts = list(known.values())
    whole = bool(parts) and parts[0].start is None and parts[-1].end is None
    chained = all(one.end == other.start and one.hashed == other.hashed for one, other in pairwise(parts))
    return known if len(known) == len(found) and whole and chained else {}


def read_bounds(texts: Iterable[str]) -> list[Any]:
    """Bounds as names of partitions have them: whole numbers, text, and in double quotes text that would not be read as such."""
    return [_read(text) if re.fullmatch(BOUND, text, re.ASCII) and text else text for text in texts]


def overlap(one: Slice | None, other: Slice | None) -> bool:
    """Whether two slices may have keys in common; None is the whole."""
    if one is None or other is None or one.hashed != other.hashed:
        return True
    return _below(one.start, other.end) and _below(other.start, one.end)


def _below(start: str | int | None, end: str | int | None) -> bool:
    if start is None or end is None or type(start) is not type(end):
        return True
    return bool(_sortable(start) < _sortable(end))


def into(partitions: Sequence[str]) -> str:
    """The options of `cio-state repartition` for a split into these: all of one definition by sync key, or none for the whole."""
    parts = list(slices_of(partitions).values())
    if not parts:
        return "--whole"
    if parts[0].hashed:
        return f"--into {len(parts)}"
    return " ".join(f"--bound {shlex.quote(_named(part.start))}" for part in parts[1:])


def key_identifier(spec: AnySpec, column: object) -> Identifier:
    """The part of the sync key by which rows are split: that of a column (an asset's `partition_expr`), or, if None, the only one.

    Raises SpecError where it is none.
    """
    parts = {spec.identifiers[role].column: spec.identifiers[role] for role in spec.sync_key}
    if column is None and len(parts) == 1:
        return next(iter(parts.values()))
    if isinstance(column, str) and column in parts:
        return parts[column]
    said = f"partition_expr={column!r} is none" if column is not None else "say partition_expr"
    raise SpecError(
        f"Partitions by sync key are by a column of it, so that a row can never change its partition; {said}: of this "
        f"{spec.object} it can be {' or '.join(map(repr, parts)) or 'nothing'}."
    )


@dataclass(frozen=True)
class Predicate:
    """Which rows are of some partitions by sync key: as SQL in a warehouse's dialect, or as a Polars expression."""

    identifier: Identifier
    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, identifier: Identifier, partitions: Iterable[Slice]) -> Predicate:
        """The predicate of these partitions, ranges that meet joined."""
        merged: list[Slice] = []
        for each in sorted(partitions, key=lambda found: (found.start is not None, _sortable(found.start or 0))):
            if merged and merged[-1].end == each.start:
                merged[-1] = Slice(merged[-1].start, each.end, each.hashed)
            else:
                merged.append(each)
        return cls(identifier, tuple(merged))

    def expr(self, dtype: pl.DataType) -> pl.Expr:
        """For the identifier's column, of this dtype. Raises SpecError for a dtype that cannot have such partitions."""
        whole = dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0) or dtype == pl.Null
        if self._by_number and not whole:
            raise SpecError(
                f"column {self.identifier.column!r} is {dtype}, but the partitions are ranges of whole numbers: let the query give whole "
                "numbers, or say the bounds as text."
            )
        text = identifier_text(self.identifier, dtype, pl.col(self.identifier.column))
        return self.of_text(compared_text(text, self.identifier))

    def of_text(self, text: pl.Expr) -> pl.Expr:
        """For the key's text, as the sync key has it."""
        value = text.cast(pl.Int128, strict=False) if self._by_number else text
        if self.slices[0].hashed:
            value = NonCryptographicHashingNameSpace(text).md5()
        return pl.any_horizontal(_within(each, value, text) for each in self.slices)

    def sql(self, engine: str) -> str:
        """For a query's column of that name, in the SQL of an engine, by its URL's scheme.

        Raises SpecError for one that has no MD5, or of which the SQL is not known.
        """
        # Here, as it takes half a second, and most of what imports this package runs no query.
        from sqlglot import exp

        dialect = DIALECTS.get(engine, engine)
        if dialect == "flightsql":
            raise SpecError(
                "What SQL there is behind Flight SQL is not known here: select the rows in the query, by $partition_start and $partition_end of "
                "**partition_parameters(context)."
            )
        column = exp.column(self.identifier.column, quoted=True)
        value: exp.Expr = column
        if not self._by_number:
            # Of a range, a database reads just that where nothing is done to the column.
            value = _text_sql(exp.cast(column, "text") if self.slices[0].hashed else column, self.identifier.kind)
        if self.slices[0].hashed:
            if dialect == "sqlite":
                raise SpecError("SQLite has no md5() for hash_partitions: split it by range_partitions([...]).")
            value = exp.MD5(this=value)
        if dialect in COLLATION and not self._by_number:
            value = exp.Collate(this=value, expression=exp.Var(this=COLLATION[dialect]))
        return exp.or_(*(_within_sql(each, value, column) for each in self.slices)).sql(dialect=dialect)

    @property
    def _by_number(self) -> bool:
        return any(isinstance(bound, int) for each in self.slices for bound in (each.start, each.end))


def _within(part: Slice, value: pl.Expr, text: pl.Expr) -> pl.Expr:
    """Whether a value is in a slice; so is a key that is null in the first. The value is named once, as its hash is what takes the time."""
    if part.start is not None and part.end is not None:
        return value.is_between(pl.lit(part.start), pl.lit(part.end), closed="left").fill_null(False)
    if part.start is not None:
        return (value >= part.start).fill_null(False)
    test = pl.lit(True) if part.end is None else (value < part.end).fill_null(False)
    return test | text.is_null()


def _within_sql(part: Slice, value: exp.Expr, column: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    tests: list[exp.Expr] = []
    if part.start is not None:
        tests.append(exp.GTE(this=value.copy(), expression=exp.convert(part.start)))
    if part.end is not None:
        tests.append(exp.LT(this=value.copy(), expression=exp.convert(part.end)))
    test: exp.Expr = exp.and_(*tests) if tests else exp.true()
    return exp.or_(test, column.copy().is_(exp.null())) if part.start is None and tests else test


def _text_sql(text: exp.Expr, kind: str) -> exp.Expr:
    """The key's text as `identifier_text` and `compared_text` have it."""
    from sqlglot import exp

    if kind in ("email", "phone"):
        text = exp.Trim(this=text, expression=exp.Literal.string(SPACES))
    if kind == "cio_id":
        prefixed = exp.Substring(this=text.copy(), start=exp.convert(1), length=exp.convert(4)).eq("cio_")
        text = exp.case().when(prefixed, exp.Substring(this=text.copy(), start=exp.convert(5))).else_(text)
    return exp.Lower(this=text) if kind == "email" else text


def _digits(count: int) -> int:
    return len(str(count - 1))


def _prefix(number: int, count: int) -> str | None:
    """Where a hash partition begins; None for the first, and beyond the last. Of 2n partitions, each two are one of n."""
    return f"{-(-number * PREFIXES // count):04x}" if 0 < number < count else None


def _range_name(start: str | int | None, end: str | int | None) -> str:
    return f"{_named(start)}..{_named(end)}"


def _named(bound: str | int | None) -> str:
    if bound is None:
        return ""
    return (
        str(bound) if isinstance(bound, int) or re.fullmatch(BARE, bound, re.ASCII) else json.dumps(bound, ensure_ascii=False)
    )


def _read(text: str) -> str | int:
    if text.startswith('"'):
        found: str = json.loads(text)
        return found
    return text if text[0].isalpha() else int(text)


def _sortable(bound: str | int) -> Any:
    return bound.encode() if isinstance(bound, str) else bound
