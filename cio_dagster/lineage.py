"""LINEAGE: which columns of upstream tables an asset's columns are made of, as the SQL says that it ran.

`Warehouse.query` notes its SQL while an asset's function runs (`noting`, `note`); what the function returns then has lineage

- of columns that one query gave, and that Polars did not make, as far as the text of the frame's plan says;
- to columns of tables, as sqlglot finds them in the SQL;
- where a table is just one of the asset's `deps`, by the last parts of its key: `raw.customers` is `["raw", "customers"]` or
  `["warehouse", "raw", "customers"]`, or `["customers"]` if nothing else is.

Where one of these cannot be told, a column has no lineage.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from cio_dagster.prepare.landed import Landed

if TYPE_CHECKING:
    from sqlglot import exp

log = logging.getLogger(__name__)

Table = tuple[str, ...]
"""The parts of a table's name, in lower case."""

DIALECTS = {"postgresql": "postgres", "md": "duckdb", "sc": "spark"}
"""sqlglot's names of engines that it has under another one."""

OPAQUE = ("OPAQUE_PYTHON", "UNPIVOT", "UNNEST", "DF [")
"""What in a frame's plan may make any column of anything: functions of the user's own, reshaping, and rows that no query gave."""


@dataclass(frozen=True)
class Query:
    """A query that ran: its SQL, with null for each parameter; the scheme of the warehouse's URL; and the columns that it gave."""

    sql: str
    engine: str
    columns: Sequence[str]


_QUERIES: ContextVar[list[Query] | None] = ContextVar("queries", default=None)


@contextmanager
def noting() -> Iterator[list[Query]]:
    """Have the queries that run inside noted, in a list."""
    queries: list[Query] = []
    token = _QUERIES.set(queries)
    try:
        yield queries
    finally:
        _QUERIES.reset(token)


def note(query: Query) -> None:
    """Note a query, if somebody asked for that."""
    if (queries := _QUERIES.get()) is not None:
        queries.append(query)


def column_lineage(
    columns: Sequence[Landed], frame: object, queries: Sequence[Query], deps: Iterable[dg.AssetKey]
) -> dg.TableColumnLineage | None:
    """The lineage of the columns that land; None where there is none.

    frame
        What the asset's function returned.
    deps
        The keys of the tables upstream.
    """
    of_query = _untouched(frame, queries)
    origins = [_origins(query) for query in queries]
    found: dict[str, set[tuple[Table, str]]] = {}
    for each in columns:
        queried = [(column, of_query[column]) for column in each.sources if column in of_query]
        if queried and len(queried) == len(each.sources) and all(column in origins[number] for column, number in queried):
            found[each.name] = set().union(*(origins[number][column] for column, number in queried))
    keys = match_tables({table for origin in found.values() for table, _ in origin}, deps)
    lineage = {
        name: [dg.TableColumnDep(keys[table], column) for table, column in sorted(origin)]
        for name, origin in found.items()
        if origin and all(table in keys for table, _ in origin)
    }
    return dg.TableColumnLineage(lineage) if lineage else None


def match_tables(tables: Iterable[Table], deps: Iterable[dg.AssetKey]) -> dict[Table, dg.AssetKey]:
    """The asset that each table is: the one with most of its name's last parts, if it has more of no other's, and no other has as many."""
    keys = list(deps)
    scores = {(table, key): _common(table, [part.lower() for part in key.path]) for table in tables for key in keys}
    return {
        table: key
        for (table, key), score in scores.items()
        if score and all(other < score for (t, k), other in scores.items() if (t == table) != (k == key))
    }


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two names have in common, from the last on."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _untouched(frame: object, queries: Sequence[Query]) -> dict[str, int]:
    """The columns of a frame that one query gave, and which query that was.

    Polars has no public way to ask which columns of a lazy frame are as they were read. The text of its plan names those that are made,
    with what they are made of: `col("a").alias("b")`.
    """
    if not isinstance(frame, pl.LazyFrame):
        return {}
    plan = frame.explain(optimized=False)
    if any(word in plan for word in OPAQUE):
        return {}
    made = {name for name in frame.collect_schema() if f'.alias("{name}")' in plan or f"ROW_INDEX: {name}" in plan}
    given: dict[str, list[int]] = defaultdict(list)
    for number, query in enumerate(queries):
        for column in query.columns:
            given[column].append(number)
    return {
        column: given[column][0] for column in frame.collect_schema() if column not in made and len(given.get(column, [])) == 1
    }


def _origins(query: Query) -> dict[str, set[tuple[Table, str]]]:
    """The table columns that each column of a query is made of; without those for which that cannot be told."""
    # Here, as it takes half a second, and most of what imports this package runs no query.
    from sqlglot import Dialect, exp
    from sqlglot.lineage import lineage

    dialect = DIALECTS.get(query.engine, query.engine)
    if Dialect.get(dialect) is None:
        return {}
    try:
        nodes = lineage(None, query.sql, {}, dialect=dialect, trim_selects=False)
    except Exception as error:  # noqa: BLE001
        # Lineage is an ornament: SQL that the database understood, and sqlglot does not, must not fail a run.
        log.debug("no column lineage, as sqlglot cannot read the SQL: %s", type(error).__name__)
        return {}
    if set(nodes) == {"*"}:
        table = _only_table(query.sql, dialect)
        return {} if table is None else {column: {(table, column)} for column in query.columns}
    names = {column.lower(): column for column in query.columns}
    found: dict[str, set[tuple[Table, str]]] = {}
    for name, node in nodes.items():
        leaves = [each for each in node.walk() if not each.downstream]
        origins = {
            (_parts(each.expression), exp.to_column(each.name, dialect=dialect).name)
            for each in leaves
            if isinstance(each.expression, exp.Table) and isinstance(each.expression.this, exp.Identifier)
        }
        # The rest may be constants, such as 1 in `coalesce(x, 1)`.
        told = all(isinstance(each.expression, (exp.Table, exp.Alias)) for each in leaves)
        if told and name.lower() in names and all(column != "*" for _, column in origins):
            found[names[name.lower()]] = origins
    return found


def _only_table(sql: str, dialect: str) -> Table | None:
    """The table of a plain `select * from table`, with whatever conditions."""
    from sqlglot import exp, parse_one

    query = parse_one(sql, dialect=dialect)
    if not isinstance(query, exp.Select) or query.find(exp.Subquery, exp.CTE):
        return None
    # DuckDB and Snowflake have `* exclude (a)` and `* rename (a as b)`.
    star = query.selects[0] if len(query.selects) == 1 else None
    tables = list(query.find_all(exp.Table))
    plain = isinstance(star, exp.Star) and not any(star.args.values())
    return _parts(tables[0]) if plain and len(tables) == 1 and isinstance(tables[0].this, exp.Identifier) else None


def _parts(table: exp.Table) -> Table:
    return tuple(part.name.lower() for part in table.parts)
