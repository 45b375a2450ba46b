"""Partitions by sync key in the databases: each row is in just one, and in the same one in each of them."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from pathlib import Path

import polars as pl
import pytest

from cio_dagster import Person, SpecError, WarehouseError, hash_partitions, range_partitions
from cio_dagster.key_partitions import Predicate, key_identifier, slices
from cio_dagster.partitions import split
from cio_dagster.warehouse import Warehouse
from tests.warehouse.keys import BY_KEY, TABLE, found, wanted

THREE = hash_partitions(3)


@pytest.mark.parametrize("column", BY_KEY)
def test_each_row_is_in_the_partition_that_its_hash_says(either: Warehouse, column: str) -> None:
    frame = either.query(TABLE).collect()
    parts = found(either, column, THREE)
    assert parts == wanted(frame, column, THREE)
    assert min(map(len, parts)) > 10
    assert None in parts[0], "rows without a key are somewhere too"


def test_the_partition_of_a_key_is_for_ever() -> None:
    """By MD5 as everybody has it, so that a row is where it was in the last version."""
    keys = [str(number) for number in range(1_000)]
    parts = split(pl.LazyFrame({"id": keys}), hash_partitions(16), list(slices(hash_partitions(16))), None, Person())
    for partition, rows in parts.items():
        number = int(partition.removesuffix("-of-16"))
        assert rows.collect()["id"].to_list() == [
            key for key in keys if int(hashlib.md5(key.encode()).hexdigest()[0], 16) == number
        ]


@pytest.mark.parametrize(
    ("column", "bounds"),
    [("number", [-5, 7]), ("email", ["name3", "o"])],
    ids=str,
)
def test_each_row_is_in_the_range_of_its_key(either: Warehouse, column: str, bounds: list[str] | list[int]) -> None:
    definition = range_partitions(bounds)
    assert found(either, column, definition) == wanted(either.query(TABLE).collect(), column, definition)


def test_ranges_are_those_of_bytes_whatever_the_collation(postgres: Warehouse, memory: Warehouse, tmp_path: Path) -> None:
    values, definition = ["a", "B", "b", "é", "z", "_", "10", "9"], range_partitions(["9", "a", "b"])
    rows = ", ".join(f"('{value}')" for value in values)
    parts = [["10"], ["9", "B", "_"], ["a"], ["b", "z", "é"]]
    collated = f'select id collate "unicode" as id from (values {rows}) as t(id)'
    assert found(postgres, "id", definition, collated) == parts
    assert found(memory, "id", definition, f"select id from (values {rows}) as t(id)") == parts
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t (id text collate nocase)")
        connection.executemany("insert into t values (?)", [(value,) for value in values])
    assert found(Warehouse(url=f"sqlite:///{tmp_path}/shop.db"), "id", definition, "select id from t") == parts


@pytest.mark.parametrize(
    ("url", "said"), [("sqlite:///shop.db", "split it by range_partitions"), ("flightsql://host:1", r"\$partition_start")]
)
def test_a_database_that_cannot_say_it_says_what_to_do(url: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        found(Warehouse(url=url), "id", THREE, "select 1 as id")


def test_a_predicate_is_about_what_the_query_gives(either: Warehouse) -> None:
    """Parameters, comments, a semicolon and a name that differs from the table's are no matter to it."""
    sql = 'with t as (select * from (values (1, 10), (2, 20), (3, 30)) as v(a, b)) select a as "Id", b from t where b >= $least -- $x\n; -- ;'
    parts = slices(range_partitions([2, 3]))
    where = Predicate.of(key_identifier(Person(column="Id"), "Id"), [parts["..2"], parts["3.."]])
    assert either.query(sql, where=where, least=5).collect()["Id"].to_list() == [1, 3]
    assert either.query(sql, where=where, least=30).collect()["Id"].to_list() == [3]
    with pytest.raises(WarehouseError, match="Id"):
        either.query("select 1 as other", where=where)


def test_the_sql_of_the_documentation_selects_the_same(either: Warehouse) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes" / "partitions.md").read_text()
    by_hash, by_range = (
        block.replace("customer_id, email, plan from customers", "customer_id from customers")
        for block in re.findall(r"```sql\n(select .*?)```", page, re.DOTALL)
    )
    customers = f"with customers as (select number as customer_id from ({TABLE}) as t) "
    rows, spec = either.query(customers + "select customer_id from customers").collect(), Person(column="customer_id")
    for sql, definition, open_ends in ((by_hash, THREE, ("", "g")), (by_range, range_partitions([5, 20]), (None, None))):
        parts = slices(definition)
        whole = split(rows.lazy(), definition, list(parts), None, spec)
        for key, part in parts.items():
            bounds = {"partition_start": part.start or open_ends[0], "partition_end": part.end or open_ends[1]}
            selected = either.query(customers + sql, **bounds).collect()["customer_id"].sort().to_list()
            given = whole[key].collect()["customer_id"].sort()
            assert selected == (given if part.hashed else given.drop_nulls()).to_list()


def test_a_table_of_a_lake_is_filtered(tmp_path: Path) -> None:
    pl.DataFrame({"id": range(100)}).write_parquet(tmp_path / "people.parquet")
    lake, identifier = Warehouse(url=f"parquet:///{tmp_path}"), key_identifier(Person(), None)
    parts = [lake.table("people.parquet", where=Predicate.of(identifier, [part])).collect() for part in slices(THREE).values()]
    assert [part["id"].to_list() for part in parts] == wanted(pl.concat(parts), "id", THREE)
    assert pl.concat(parts)["id"].sort().to_list() == list(range(100))


def test_a_row_that_the_database_takes_for_another_partitions_is_an_error(postgres: Warehouse) -> None:
    """Rather than a row in two partitions, or in none: here by a collation whose lower() leaves accented letters."""
    spec, key = Person(key="email"), "0-of-2"
    definition = hash_partitions(2)
    rows = ", ".join(f"('É{number}@x.org')" for number in range(20))
    where = Predicate.of(key_identifier(spec, None), [slices(definition)[key]])
    frame = postgres.query(f'select email collate "C" as email from (values {rows}) as t(email)', where=where)
    with pytest.raises(SpecError, match=r"rows belong to no partition of this run \(by the sync key in 'email'\)"):
        split(frame, definition, [key], None, spec)


def test_a_range_is_asked_of_the_column_as_it_is() -> None:
    """So that a database can read it alone."""
    where = Predicate.of(key_identifier(Person(), None), [slices(range_partitions(["g", "p"]))["g..p"]])
    assert where.sql("snowflake") == """"id" >= 'g' AND "id" < 'p'"""


def test_bigquery_gives_its_hash_in_hex() -> None:
    """Not to be had here, as Redshift is not."""
    where = Predicate.of(key_identifier(Person(key="email"), None), list(slices(THREE).values())[1:2])
    key = r"LOWER(TRIM(CAST(`email` AS STRING), ' \t\r\n'))"
    assert where.sql("bigquery") == f"TO_HEX(MD5({key})) >= '5556' AND TO_HEX(MD5({key})) < 'aaab'"
