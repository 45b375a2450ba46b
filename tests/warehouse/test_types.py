"""Every engine type through to its Polars dtype and value, and through null."""

from __future__ import annotations

from datetime import date, datetime, time, timezone
from decimal import Decimal

import duckdb
import polars as pl
import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError

from .conftest import OLD_DRIVER

UTC = pl.Datetime("us", "UTC")
NEW_YEAR = datetime(2024, 1, 1)
EVE_IN_UTC = datetime(2023, 12, 31, 22, tzinfo=timezone.utc)
ID = "9eb93fc1-29ff-4845-92bb-b7f01a31c42f"

DUCKDB = {
    "boolean": ("true", pl.Boolean, True),
    "tinyint": ("(-128)::tinyint", pl.Int8, -128),
    "smallint": ("(-32768)::smallint", pl.Int16, -32768),
    "integer": ("7::integer", pl.Int32, 7),
    "bigint": ("9223372036854775807::bigint", pl.Int64, 2**63 - 1),
    "utinyint": ("255::utinyint", pl.UInt8, 255),
    "usmallint": ("65535::usmallint", pl.UInt16, 65535),
    "uinteger": ("4294967295::uinteger", pl.UInt32, 2**32 - 1),
    "ubigint": ("18446744073709551615::ubigint", pl.UInt64, 2**64 - 1),
    "hugeint": ("(2::hugeint ** 100)::hugeint", pl.Decimal(38, 0), Decimal(2**100)),
    "uhugeint": ("5::uhugeint", pl.Decimal(38, 0), Decimal(5)),
    "sum": ("(select sum(x) from (values (1), (2)) t(x))", pl.Decimal(38, 0), Decimal(3)),
    "float": ("1.5::float", pl.Float32, 1.5),
    "double": ("0.1::double", pl.Float64, 0.1),
    "decimal": (
        "'-1234567890123456789012345678.0123456789'::decimal(38, 10)",
        pl.Decimal(38, 10),
        Decimal("-1234567890123456789012345678.0123456789"),
    ),
    "varchar": ("'grüße 🎈'", pl.String, "grüße 🎈"),
    "blob": ("'\\x00\\xff'::blob", pl.Binary, b"\x00\xff"),
    "uuid": (f"'{ID}'::uuid", pl.String, ID),
    "json": ("""'{"a": 1}'::json""", pl.String, '{"a": 1}'),
    "date": ("date '2024-02-29'", pl.Date, date(2024, 2, 29)),
    "time": ("time '12:34:56.789'", pl.Time, time(12, 34, 56, 789000)),
    "timestamp": ("timestamp '2024-01-01 00:00:00.000001'", pl.Datetime("us"), datetime(2024, 1, 1, 0, 0, 0, 1)),
    "timestamp_s": ("'2024-01-01'::timestamp_s", pl.Datetime("ms"), NEW_YEAR),
    "timestamp_ms": ("'2024-01-01'::timestamp_ms", pl.Datetime("ms"), NEW_YEAR),
    "timestamp_ns": ("'2024-01-01'::timestamp_ns", pl.Datetime("ns"), NEW_YEAR),
    "timestamptz": ("timestamptz '2024-01-01 00:00:00+02'", UTC, EVE_IN_UTC),
    "list": ("[1, null]", pl.List(pl.Int32), [1, None]),
    "list_of_lists": ("[['a'], []]", pl.List(pl.List(pl.String)), [["a"], []]),
    "list_of_times": ("[timestamptz '2024-01-01 00:00:00+02']", pl.List(UTC), [EVE_IN_UTC]),
    "array": ("[1, 2]::int[2]", pl.Array(pl.Int32, 2), [1, 2]),
    "struct": (
        "{'a': 1, 'b': {'c': 'x'}}",
        pl.Struct({"a": pl.Int32, "b": pl.Struct({"c": pl.String})}),
        {"a": 1, "b": {"c": "x"}},
    ),
    "interval": ("interval '1 month 2 days 3 seconds'", pl.String, "1 month 2 days 00:00:03"),
    "timetz": ("timetz '12:00:00+02'", pl.String, "12:00:00+02"),
    "bit": ("'101'::bit", pl.String, "101"),
    "union": ("union_value(number := 2)", pl.String, "2"),
    "bignum": ("5::bignum", pl.String, "5"),
}

POSTGRES = {
    "boolean": ("true", pl.Boolean, True),
    "smallint": ("(-32768)::smallint", pl.Int16, -32768),
    "integer": ("7", pl.Int32, 7),
    "bigint": ("9223372036854775807", pl.Int64, 2**63 - 1),
    "oid": ("4000000000::oid", pl.Int64, 4_000_000_000),
    "real": ("1.5::real", pl.Float32, 1.5),
    "double": ("0.1::double precision", pl.Float64, 0.1),
    "numeric": ("'-12345678901234567890.0123456789'::numeric", pl.Decimal(38, 10), Decimal("-12345678901234567890.0123456789")),
    "numeric_zeros": ("1.2500000::numeric", pl.Decimal(38, 2), Decimal("1.25")),
    "numeric_whole": ("10000000000000000000::numeric", pl.Decimal(38, 0), Decimal(10**19)),
    "money": ("money '12.34'", pl.Decimal(38, 2), Decimal("12.34")),
    "domain_of_money": ("'12.34'::late_fee", pl.Decimal(38, 2), Decimal("12.34")),
    "array_of_money": ("array[money '12.34']", pl.List(pl.Decimal(38, 2)), [Decimal("12.34")]),
    "array_of_oid": ("array[4000000000::oid]", pl.List(pl.Int64), [4_000_000_000]),
    "text": ("'grüße 🎈'", pl.String, "grüße 🎈"),
    "varchar": ("'x'::varchar(3)", pl.String, "x"),
    "char": ("'x'::char(3)", pl.String, "x  "),
    "name": ("'x'::name", pl.String, "x"),
    "bytea": ("'\\x00ff'::bytea", pl.Binary, b"\x00\xff"),
    "uuid": (f"'{ID}'::uuid", pl.String, ID),
    "json": ("""'{"a": 1}'::json""", pl.String, '{"a": 1}'),
    "jsonb": ("""'{"a":1}'::jsonb""", pl.String, '{"a": 1}'),
    "enum": ("'ok'::mood", pl.String, "ok"),
    "domain": ("5::positive", pl.Int32, 5),
    "date": ("date '2024-02-29'", pl.Date, date(2024, 2, 29)),
    "time": ("time '12:34:56.789'", pl.Time, time(12, 34, 56, 789000)),
    "timetz": ("timetz '12:00+02'", pl.String, "12:00:00+02"),
    "timestamp": ("timestamp '2024-01-01 00:00:00.000001'", pl.Datetime("us"), datetime(2024, 1, 1, 0, 0, 0, 1)),
    "timestamptz": ("timestamptz '2024-01-01 00:00:00+02'", UTC, EVE_IN_UTC),
    "interval": ("interval '1 month 2 days 3 seconds'", pl.String, "1 mon 2 days 00:00:03"),
    "inet": ("inet '192.0.2.1/24'", pl.String, "192.0.2.1/24"),
    "cidr": ("cidr '10.0.0.0/8'", pl.String, "10.0.0.0/8"),
    "macaddr": ("macaddr '08:00:2b:01:02:03'", pl.String, "08:00:2b:01:02:03"),
    "bit": ("'101'::bit(3)", pl.String, "101"),
    "range": ("int4range(1, 5)", pl.String, "[1,5)"),
    "point": ("point '(1,2)'", pl.String, "(1,2)"),
    "tsvector": ("'a b'::tsvector", pl.String, "'a' 'b'"),
    "composite": ("row('x', 1)::place", pl.Struct({"street": pl.String, "number": pl.Int32}), {"street": "x", "number": 1}),
    "array": ("array[1, null]", pl.List(pl.Int32), [1, None]),
    "empty_array": ("'{}'::int[]", pl.List(pl.Int32), []),
    "array_of_numeric": ("array[1.5, 20.25]", pl.List(pl.Decimal(38, 2)), [Decimal("1.50"), Decimal("20.25")]),
    "array_of_timestamptz": ("array[timestamptz '2024-01-01 00:00:00+02']", pl.List(UTC), [EVE_IN_UTC]),
    "array_of_uuid": (f"array['{ID}'::uuid]", pl.List(pl.String), [ID]),
    "array_of_enum": ("array['ok'::mood]", pl.List(pl.String), ["ok"]),
    "array_of_jsonb": ("array['[1]'::jsonb]", pl.List(pl.String), ["[1]"]),
    "array_of_inet": ("array[inet '192.0.2.1']", pl.List(pl.String), ["192.0.2.1/32"]),
    "array_of_interval": ("array[interval '1 day']", pl.List(pl.String), ["1 day"]),
    "array_of_composite": (
        "array[row('x', 1)::place]",
        pl.List(pl.Struct({"street": pl.String, "number": pl.Int32})),
        [{"street": "x", "number": 1}],
    ),
}

COMPOSITES = {name: POSTGRES[name] for name in ("composite", "array_of_composite")}
if OLD_DRIVER:
    POSTGRES = {name: each for name, each in POSTGRES.items() if name not in COMPOSITES}

BOTH = [("memory", name) for name in DUCKDB] + [("postgres", name) for name in POSTGRES]


@pytest.mark.parametrize(("engine", "name"), BOTH)
def test_type_arrives_as_stated(request: pytest.FixtureRequest, engine: str, name: str) -> None:
    warehouse: Warehouse = request.getfixturevalue(engine)
    literal, dtype, value = (DUCKDB if engine == "memory" else POSTGRES)[name]
    frame = warehouse.query(f"select {literal} as x union all select null").collect()
    assert frame.schema == {"x": dtype}
    assert frame["x"].to_list() == [value, None]


@pytest.mark.parametrize(("engine", "name"), BOTH)
def test_empty_result_keeps_the_dtype(request: pytest.FixtureRequest, engine: str, name: str) -> None:
    warehouse: Warehouse = request.getfixturevalue(engine)
    literal, dtype, _ = (DUCKDB if engine == "memory" else POSTGRES)[name]
    if engine == "postgres" and dtype in (pl.Decimal(38, 10), pl.Decimal(38, 2)):
        dtype = pl.Decimal(38, 0)
    if dtype == pl.List(pl.Decimal(38, 2)):
        dtype = pl.List(pl.Decimal(38, 0))
    assert warehouse.query(f"select {literal} as x where false").collect_schema() == {"x": dtype}


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites_need_a_driver_that_says_their_parts(postgres: Warehouse, name: str) -> None:
    sql = f"select {COMPOSITES[name][0]} as x"
    if not OLD_DRIVER:
        assert postgres.query(sql).collect().height == 1
        return
    wanted = r"column 'x' is of a composite type, which needs Python 3\.11 and adbc-driver-postgresql 1\.13; or cast it in the query: to_json\(x\)"
    with pytest.raises(WarehouseError, match=wanted):
        postgres.query(sql)
    assert "oslo" in postgres.query(f"select to_json({COMPOSITES[name][0].replace('x', 'oslo')}) as x").collect().item()


def test_duckdb_enum_is_categorical(memory: Warehouse) -> None:
    frame = memory.query("select 'ok'::enum ('sad', 'ok') as x union all select null").collect()
    assert isinstance(frame.schema["x"], pl.Categorical)
    assert frame["x"].to_list() == ["ok", None]


def test_numeric_of_a_scale_keeps_it(postgres: Warehouse) -> None:
    frame = postgres.query("select amount as x from prices order by amount").collect()
    assert frame.schema == {"x": pl.Decimal(38, 1) if OLD_DRIVER else pl.Decimal(10, 2)}
    assert frame["x"].to_list() == [Decimal("-3.00"), Decimal("1.50"), None]


def test_map_is_a_map(memory: Warehouse) -> None:
    frame = memory.query("select map {'a': 1} as x").collect()
    assert isinstance(frame.schema["x"], pl.Map)
    assert frame["x"].to_list() == [{"a": 1}]


def test_untyped_null(memory: Warehouse, postgres: Warehouse) -> None:
    null = pl.Int32 if duckdb.__version__.startswith("1.") else pl.Null
    assert memory.query("select null as x").collect_schema() == {"x": null}
    assert postgres.query("select null as x").collect_schema() == {"x": pl.String}


@pytest.mark.parametrize("name", ["a.b", 'a "b', "*", " x", "größe", "from"])
def test_any_column_name(either: Warehouse, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    frame = either.query(f"select 1 as {quoted}, interval '1 day' as other where $given = 1", given=1).collect()
    assert frame.to_dicts() == [{name: 1, "other": "1 day"}]


def test_nan_and_infinity_of_floats_are_kept(either: Warehouse) -> None:
    frame = either.query(
        "select cast('nan' as double precision) as x union all select cast('-infinity' as double precision)"
    ).collect()
    assert frame["x"].is_nan().to_list() == [True, False]
    assert frame["x"].is_infinite().to_list() == [False, True]


def test_numeric_scale_is_the_least_that_loses_nothing(postgres: Warehouse) -> None:
    frame = postgres.query(
        "select x::numeric from unnest(array['1', '-0.125', '2.50', null, '0.00', '999999']) as t(x)"
    ).collect()
    assert frame.schema == {"x": pl.Decimal(38, 3)}
    assert frame["x"].to_list() == [Decimal("1"), Decimal("-0.125"), Decimal("2.5"), None, Decimal("0"), Decimal("999999")]


@pytest.mark.parametrize(
    ("sql", "column", "cast"),
    [
        ("select [interval 1 day] as x", "'x' (INTERVAL[])", "to_json(x)"),
        ("select {'a': timetz '12:00:00+02'} as x", "TIME WITH TIME ZONE", "to_json(x)"),
        ("select [1::hugeint] as x", "HUGEINT", "to_json(x)"),
        ("select date 'infinity' as x", "'x' (date32[day])", "nullif(x, 'infinity')"),
        ("select timestamp '-infinity' as x", "'x' (timestamp[us])", "nullif"),
        ("select [{'a': timestamptz 'infinity'}] as x", "'x'", "nullif"),
        ("select date '0044-03-15 (BC)' as x", "'x'", "nullif"),
    ],
)
def test_duckdb_value_without_dtype_is_a_clear_error(memory: Warehouse, sql: str, column: str, cast: str) -> None:
    with pytest.raises(WarehouseError) as caught:
        memory.query(sql)
    assert column in str(caught.value)
    assert cast in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "column", "cast"),
    [
        ("select row(1, 'a') as x", "'x' is of ", "to_json(x)"),
        ("select row('a', 1)::price as x", "'x' is of ", "to_json(x)"),
        ("select row('a', 1)::priced as x", "'x' is of ", "to_json(x)"),
        ("select array[row(1, array[row('a', 1)::priced])::basket] as x", "'x' is of ", "to_json(x)"),
        ("select array[['a', 'b'], ['c', 'd']] as x", "'x' holds an array of several dimensions", "to_json(x)"),
        ("select 'NaN'::numeric as x", "'x' (numeric) holds NaN", "double precision"),
        ("select array['Infinity'::numeric] as x", "'x' (numeric) holds NaN or infinity", "double precision"),
        ("select 1e30::numeric + 1e-9::numeric as x", "'x' (numeric) needs 31 digits before the point and 9 behind", "::text"),
        ("select date 'infinity' as x", "'x' (date32[day])", "nullif(x, 'infinity')"),
        ("select array[timestamptz '-infinity'] as x", "'x' (timestamp[us, tz=UTC])", "nullif"),
        ("select time '24:00' as x", "24:00", "null"),
    ],
)
def test_postgres_value_without_dtype_is_a_clear_error(postgres: Warehouse, sql: str, column: str, cast: str) -> None:
    with pytest.raises(WarehouseError) as caught:
        postgres.query(sql)
    assert column in str(caught.value)
    assert cast in str(caught.value)


@pytest.mark.parametrize("sql", ["select to_json([interval 1 day]) as x", "select nullif(date 'infinity', 'infinity') as x"])
def test_the_casts_that_errors_name_help(memory: Warehouse, sql: str) -> None:
    assert len(memory.query(sql).collect()) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "select to_json(row(1, 'a')) as x",
        "select to_json(array[['a', 'b'], ['c', 'd']]) as x",
        "select 'NaN'::numeric::double precision as x",
        "select nullif(date 'infinity', 'infinity') as x",
    ],
)
def test_the_casts_that_postgres_errors_name_help(postgres: Warehouse, sql: str) -> None:
    assert len(postgres.query(sql).collect()) == 1
