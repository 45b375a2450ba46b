"""The warehouse: a DuckDB file whose rows are made from their number, so that they are the same in every run."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb

COLUMNS = "customer_id, email, first_name, plan, lifetime_value, orders, created_at, opted_in"

CHANGED, GONE = 100, 1_000
"""One row in so many is changed, or gone, in a source that is so."""

DAY = 86_400


def people(database: Path, rows: int) -> str:
    """Make a table of people of 8 columns, if it is not there; return the query that reads it."""
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"""
            create table if not exists people_{rows} as select
                i as n, 'cus_' || i as customer_id, 'person' || i || '@example.com' as email, 'Name ' || (i % 1000) as first_name,
                case when i % 3 = 0 then 'free' else 'pro' end as plan, (i % 10000) / 7 as lifetime_value, i % 50 as orders,
                make_timestamp((1600000000 + i) * 1000000) as created_at, i % 2 = 0 as opted_in
            from range({rows}) t(i)""")
    return f"select {COLUMNS} from people_{rows}"


def changed_people(rows: int) -> str:
    """The query that reads the table of `people` with 1 % of its rows changed and 0.1 % gone."""
    columns = COLUMNS.replace("orders", f"case when n % {CHANGED} = 1 then orders + 1 else orders end as orders")
    return f"select {columns} from people_{rows} where n % {GONE} <> 0"


def varied_people(database: Path, rows: int) -> tuple[str, str]:
    """Make a table of people of 8 columns whose values no compression can guess, if it is not there.

    Return the query that reads it, and the one that reads of it the 1 % of its rows that are changed.
    """
    columns = COLUMNS.split(", ")
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"""
            create table if not exists varied_{rows} as select
                i as n, md5('c' || i)::uuid::varchar as customer_id, left(md5('e' || i), 16) || '@example.com' as email,
                'Name ' || hash(i, 1) % 10000 as first_name, case when hash(i, 2) % 3 = 0 then 'free' else 'pro' end as plan,
                (hash(i, 3) % 1000000) / 100 as lifetime_value, hash(i, 4) % 50 as orders,
                make_timestamp(((1600000000 + hash(i, 5) % 100000000) * 1000000)::bigint) as created_at, hash(i, 6) % 2 = 0 as opted_in
            from range({rows}) t(i)""")
    changed = ", ".join("orders + 1 as orders" if name == "orders" else name for name in columns)
    return f"select {COLUMNS} from varied_{rows}", f"select {changed} from varied_{rows} where n % {CHANGED} = 1"


def touched_people(rows: int, touched: int) -> str:
    """The query that reads the table of `people` with the first rows changed, so many of them."""
    columns = COLUMNS.replace("orders", f"case when n < {touched} then orders + 1 else orders end as orders")
    return f"select {columns} from people_{rows}"


def events(database: Path, rows: int, days: int) -> list[str]:
    """Make a table of events, so many a day from 2026-01-01 on, if it is not there; return the query that reads each day's."""
    first = 1_767_225_600
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"""
            create table if not exists events as select
                'evt_' || i as event_id, 'cus_' || (i * 7919 % {rows}) as customer_id, (i % 10000) / 7 as total, i % 9 as items,
                make_timestamp(({first} + i // {rows} * {DAY} + i % {rows} * {DAY} // {rows}) * 1000000) as ordered_at
            from range({rows * days}) t(i)""")
    starts = [f"make_timestamp({first + day * DAY}000000)" for day in range(days + 1)]
    return [f"select * from events where ordered_at >= {a} and ordered_at < {b}" for a, b in itertools.pairwise(starts)]


def members(database: Path, rows: int) -> tuple[str, str]:
    """Make a table of ids; return the queries that read so many of them, and as many of which 1 % are others."""
    churn = rows // 100
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            f"create table if not exists members as select i as n, 'cus_' || i as customer_id from range({rows + churn}) t(i)"
        )
    read = "select customer_id from members where n"
    return f"{read} < {rows}", f"{read} >= {churn}"
