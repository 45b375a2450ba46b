"""One SQL statement: where its parameters are, and nothing that only looks like one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from cio_dagster.warehouse.errors import WarehouseError

_SCALARS = (str, int, float, bool, Decimal, date, datetime, type(None))
_COMMENTS = ("--", "//", "/*", "#")

_NOT_SQL = {
    "standard": r"""
        --[^\n]* | [eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    """,
    "snowflake": r"""
        --[^\n]* | //[^\n]* | /\*.*?\*/ | '(?:\\.|''|[^'\\])*' | "(?:""|[^"])*" | \$\$.*?\$\$
    """,
    "bigquery": r"""
        --[^\n]* | \#[^\n]* | /\*.*?\*/ | '{3}(?:\\.|.)*?'{3} | "{3}(?:\\.|.)*?"{3} | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `[^`]*`
    """,
    "spark": r"""
        --[^\n]* | [rR]'[^']*' | [rR]"[^"]*" | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `(?:``|[^`])*`
    """,
    "sqlite": r"""
        --[^\n]* | /\*.*?\*/ | '(?:''|[^'])*' | "(?:""|[^"])*" | `(?:``|[^`])*` | \[[^\]]*\]
    """,
}
"""What can hold a $ or a ; and is no SQL, by dialect: comments (nested ones apart), literals and quoted names."""

_LEXERS = {
    dialect: re.compile(
        rf"(?P<skipped>{skipped}) | (?P<comment>/\*) | [^\W\d][\w$]* | \$(?P<name>[^\W\d]\w*) | (?P<end>;) | \S",
        re.DOTALL | re.VERBOSE,
    )
    for dialect, skipped in _NOT_SQL.items()
}


@dataclass(frozen=True)
class Statement:
    """One SQL statement without its closing semicolon, and where its parameters are: start, end, name."""

    text: str
    places: list[tuple[int, int, str]]

    @classmethod
    def parse(cls, text: str, dialect: str, source: str) -> Statement:
        """The statement in a text. Raises WarehouseError, which names the source, for no statement or more than one."""
        places: list[tuple[int, int, str]] = []
        position, end, empty = 0, None, True
        while match := _LEXERS[dialect].search(text, position):
            position = match.end()
            if match["comment"]:
                position = _comment_end(text, match.start())
            elif match["skipped"] and match["skipped"].startswith(_COMMENTS):
                continue
            elif match["end"]:
                end = match.start() if end is None else end
            elif end is not None:
                raise WarehouseError("there is more than one statement in it; a query is one", source=source)
            else:
                empty = False
                if match["name"]:
                    places.append((match.start(), match.end(), match["name"]))
        if empty:
            raise WarehouseError("there is no SQL in it", source=source)
        return cls(text[:end], places)

    @property
    def names(self) -> list[str]:
        """Its parameters, in the order in which they first stand."""
        return list(dict.fromkeys(name for _, _, name in self.places))

    def rewritten(self, placeholder: Callable[[str], str]) -> str:
        """The text with `placeholder(name)` for each parameter."""
        parts, end = [], 0
        for start, stop, name in self.places:
            parts += [self.text[end:start], placeholder(name)]
            end = stop
        return "".join([*parts, self.text[end:]])

    def filtered(self, condition: str) -> Statement:
        """The statement's rows for which a condition on its columns is true."""
        before, after = "SELECT * FROM (\n", f"\n) AS unfiltered WHERE {condition}"
        places = [(start + len(before), stop + len(before), name) for start, stop, name in self.places]
        return Statement(before + self.text + after, places)


def _comment_end(text: str, start: int) -> int:
    """Where a comment ends whose comments count: those of DuckDB and Postgres do."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(text)


def check_parameters(statement: Statement, parameters: Mapping[str, object]) -> None:
    """Raise WarehouseError for parameters that are missing, or of types that cannot be bound."""
    if missing := [name for name in statement.names if name not in parameters]:
        raise WarehouseError(f"the SQL names parameters that were not given: {', '.join('$' + name for name in missing)}")
    for name, value in parameters.items():
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, _SCALARS):
                allowed = ", ".join(kind.__name__ for kind in _SCALARS[:-1])
                raise WarehouseError(
                    f"parameter ${name} holds a value of type {type(each).__name__}; it can be {allowed}, None, or a list of one of these"
                )


def quoted(name: str) -> str:
    """A name as SQL has it, in DuckDB, Postgres and SQLite."""
    return '"' + name.replace('"', '""') + '"'
