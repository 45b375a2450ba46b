"""Drivers of warehouses that cannot be had here, as far as they go: the real drivers, against servers that speak their protocols, or against
what the driver itself checks before it calls anybody."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from cio_dagster import hash_partitions
from cio_dagster.warehouse import Warehouse, WarehouseError
from cio_dagster.warehouse.errors import EngineError
from cio_dagster.warehouse.sql import Statement
from cio_dagster.warehouse.staging import check_plain
from tests.warehouse.keys import TABLE, found, wanted

SECRET = "s3cr3t-p4ss"
NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


# --- Snowflake: its driver, against fakesnow ---


@pytest.fixture
def snowflake(snowflake_url: str) -> Warehouse:
    return Warehouse(url=snowflake_url)


def test_snowflake_types_and_nulls(snowflake: Warehouse) -> None:
    sql = """
        select 7::number(38, 0) as i, 1.50::number(10, 2) as n, 0.5::float as f, 'grüße' as s, true as b, '2024-02-29'::date as d,
            '2024-01-01 12:00:00'::timestamp_ntz as t, parse_json('{"a":1}') as v
        union all select null, null, null, null, null, null, '2024-01-01 12:00:00'::timestamp_ntz, null
    """
    frame = snowflake.query(sql).collect()
    assert [type(kind) for kind in frame.schema.values()] == [
        pl.Decimal, pl.Decimal, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Datetime, pl.String,
    ]  # fmt: skip
    noon = datetime(2024, 1, 1, 12)  # fakesnow's null of that type is 1970.
    values = (Decimal(7), Decimal("1.50"), 0.5, "grüße", True, date(2024, 2, 29), noon, '{"a":1}')
    assert sorted(frame.rows(), key=str) == sorted([values, (*(None,) * 6, noon, None)], key=str)
    assert frame.columns == ["I", "N", "F", "S", "B", "D", "T", "V"]


def test_snowflake_parameters(snowflake: Warehouse) -> None:
    sql = """
        select $s as s, $i as i, $s as again, cast($n as number(10, 2)) as n
        where cast($t as timestamp_ntz) = '2024-01-01 12:00:00' and cast($d as date) = '2024-02-29' and $y
    """
    frame = snowflake.query(sql, s="$i", i=1, t=NOON, d=date(2024, 2, 29), n=Decimal("1.50"), y=True).collect()
    assert frame.rows() == [("$i", Decimal(1), "$i", Decimal("1.50"))]


def test_snowflake_refusal(snowflake: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"(?i)the query: .*nope"):
        snowflake.query("select nope")


def with_login(url: str, login: str) -> str:
    return url.replace(":snow-password@", "@") + f"&authenticator={login}"


def private_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_snowflake_key_pair(snowflake_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    option = "adbc.snowflake.sql.client_option.jwt_private_key_pkcs8_value"
    url = with_login(snowflake_url, "snowflake_jwt")
    assert Warehouse(url=url, options={option: private_key()}).query("select 1 as x").collect().item() == 1
    with pytest.raises(WarehouseError, match="PrivateKey was not provided"):
        Warehouse(url=url).query("select 1 as x")
    with pytest.raises(WarehouseError, match="Failed to parse PEM") as caught:
        Warehouse(url=url, options={option: SECRET}).query("select 1 as x")
    assert SECRET not in str(caught.value)


def test_snowflake_oauth(snowflake_url: str) -> None:
    warehouse = Warehouse(
        url=with_login(snowflake_url, "oauth"), options={"adbc.snowflake.sql.client_option.auth_token": SECRET}
    )
    assert warehouse.query("select 1 as x").collect().item() == 1


# --- Spark Connect and Flight SQL: their drivers, against Sail ---

SPARK = """
    select 7 as i, cast(1.50 as decimal(10, 2)) as n, 0.5d as f, 'grüße' as s, true as b, date '2024-02-29' as d, binary('x') as bin,
        timestamp '2024-01-01 12:00:00' as t, timestamp_ntz '2024-01-01 12:00:00' as ntz, array(1, null) as l, named_struct('a', 1) as st
    union all select null, null, null, null, null, null, null, null, null, null, null
"""
SPARK_ROW = (
    7, Decimal("1.50"), 0.5, "grüße", True, date(2024, 2, 29), b"x", NOON, NOON.replace(tzinfo=None), [1, None], {"a": 1},
)  # fmt: skip


@pytest.mark.parametrize("server", ["snowflake_url", "spark_url"])
def test_each_row_is_in_the_partition_that_its_hash_says(server: str, request: pytest.FixtureRequest) -> None:
    """The same in these dialects as in ours."""
    warehouse = Warehouse(url=request.getfixturevalue(server))
    table = TABLE.replace("id, email", '"id", "email"') if server == "snowflake_url" else TABLE
    frame = warehouse.query(table).collect()
    assert found(warehouse, "email", hash_partitions(3), table) == wanted(frame, "email", hash_partitions(3))


@pytest.mark.parametrize("server", ["spark_url", "flightsql_url"])
def test_spark_types_and_nulls(request: pytest.FixtureRequest, server: str) -> None:
    rows = Warehouse(url=request.getfixturevalue(server)).query(SPARK).collect().rows()
    assert sorted(rows, key=str) == sorted([SPARK_ROW, (None,) * 11], key=str)


@pytest.mark.parametrize("server", ["spark_url", "flightsql_url"])
def test_spark_streams_small_batches_into_few_groups(request: pytest.FixtureRequest, server: str) -> None:
    import pyarrow.parquet as pq

    warehouse = Warehouse(url=request.getfixturevalue(server))
    frame = warehouse.query("select id from range(200000)")
    assert frame.select(pl.len(), pl.col("id").sum()).collect().row(0) == (200_000, 199_999 * 100_000)
    (staged,) = (warehouse._staging or Path()).iterdir()
    assert pq.ParquetFile(staged).num_row_groups <= 4


def test_spark_parameters(spark_url: str) -> None:
    frame = Warehouse(url=spark_url).query("select $s as s, '$s' as t, $i + 1 as i", s="it's", i=1).collect()
    assert frame.rows() == [("it's", "$s", 2)]


def test_a_server_without_parameters_says_so(flightsql_url: str) -> None:
    with pytest.raises(WarehouseError, match=r"(?i)not.?implemented"):
        Warehouse(url=flightsql_url).query("select $i as i", i=1)


# The last of them, as Sail may go on with the query for a while.
@pytest.mark.parametrize("server", ["spark_url", "flightsql_url"])
def test_spark_refusals_and_time_limit(request: pytest.FixtureRequest, server: str) -> None:
    warehouse = Warehouse(url=request.getfixturevalue(server), statement_timeout=0.5)
    with pytest.raises(WarehouseError, match=r"the query: .*nope"):
        warehouse.query("select nope")
    with pytest.raises(WarehouseError, match=r"took longer than 0\.5 s"):
        warehouse.query("select count(*) as n from range(10000000) a cross join range(1000000) b where (a.id * b.id) % 7 = 3")


# --- Redshift: what of SQL Redshift documents, against Postgres ---


def test_redshift_sql_is_read_only_and_streams(postgres_url: str) -> None:
    warehouse = Warehouse(url=postgres_url.replace("postgresql://", "redshift://"), statement_timeout=30)
    frame = warehouse.query("select i, 1.50::numeric(10, 2) as n, now() as t from generate_series(1, $rows) as s(i)", rows=2500)
    assert frame.collect()["i"].to_list() == list(range(1, 2501))
    with pytest.raises(WarehouseError, match="read-only transaction"):
        warehouse.query("select nextval('numbers') as x")


# --- What drivers check before they call anybody ---

DRIVERS = {
    "bigquery": "adbc_driver_bigquery",
    "snowflake": "adbc_driver_snowflake",
    "flightsql": "adbc_driver_flightsql",
    "sc": "adbc_driver_spark",
}


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("bigquery://project/dataset", {"adbc.bigquery.sql.nope": "x"}, "Unknown database option 'adbc.bigquery.sql.nope'"),
        ("bigquery://project?location=EU&credentials=/no/key.json", {}, "no such file"),
        (
            "bigquery://project",
            {
                "adbc.bigquery.sql.auth_type": "adbc.bigquery.sql.auth_type.json_credential_string",
                "adbc.bigquery.sql.auth_credentials": SECRET,
            },
            "invalid character",
        ),
        (
            "bigquery://project",
            {
                "adbc.bigquery.sql.auth_type": "adbc.bigquery.sql.auth_type.user_authentication",
                "adbc.bigquery.sql.auth.client_id": "id",
                "adbc.bigquery.sql.auth.client_secret": SECRET,
            },
            "refresh_?token",
        ),
        ("bigquery://project", {"adbc.bigquery.sql.auth_type": "nope"}, "(?i)auth.?type"),
        ("snowflake://user@account/db/schema", {}, "password is empty"),
        ("snowflake://user:p@account/db?authenticator=nope", {}, "(?i)authenticator"),
        ("flightsql://host:1", {"adbc.flight.sql.nope": "x"}, "Unknown database option 'adbc.flight.sql.nope'"),
        ("flightsql://host:1", {"adbc.flight.sql.client_option.tls_skip_verify": "perhaps"}, "(?i)invalid"),
        ("flightsql://host:1?transport=pigeon", {}, "(?i)transport"),
        ("sc://host:1", {"adbc.spark.nope": "x"}, "unknown option adbc.spark.nope"),
        ("sc://host:1/;token", {}, "malformed parameter"),
        ("postgresql://host/db", {"adbc.nope": "x"}, "Unknown database option adbc.nope"),
        ("duckdb://", {"nope": "x"}, "(?i)nope"),
        ("databricks://token:" + SECRET + "@host:443/sql/1.0/warehouses/a", {}, "dbc install databricks"),
    ],
)
def test_driver_checks_its_options(url: str, options: dict[str, str], said: str) -> None:
    scheme = url.partition(":")[0]
    if scheme in DRIVERS:
        pytest.importorskip(DRIVERS[scheme])
    with pytest.raises(WarehouseError, match=said) as caught:
        Warehouse(url=url, options=options, statement_timeout=20).query("select 1 as x")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["bigquery:///dataset", "bigquery://project/dataset?locaton=EU"])
def test_wrong_bigquery_url(url: str) -> None:
    with pytest.raises(WarehouseError, match="bigquery://project/dataset"):
        Warehouse(url=url).query("select 1 as x")


def test_motherduck_is_asked_by_its_uri_and_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, asked = duckdb.connect, []

    def local(path: str, **settings: Any) -> duckdb.DuckDBPyConnection:
        asked.append((path, settings))
        connection = connect(":memory:")
        connection.execute("create table t as select 1 as x; create sequence s")
        return connection

    monkeypatch.setattr(duckdb, "connect", local)
    warehouse = Warehouse(url="md:shop", options={"motherduck_token": SECRET})
    assert warehouse.query("from t").collect().item() == 1
    assert asked == [("md:shop", {"config": {"motherduck_token": SECRET}})]
    with pytest.raises(WarehouseError, match="read-only"):
        warehouse.query("select nextval('s') as x")


# --- SQL dialects ---


@pytest.mark.parametrize(
    ("dialect", "sql", "sent"),
    [
        ("snowflake", "$a, '$a\\'$b', $$ $b $$, $b // $c\n, $a -- $c", "?, '$a\\'$b', $$ $b $$, ? // $c\n, ? -- $c"),
        ("bigquery", "$a, \"$a\\\"\", '''$b''' # $c\n, $b, `$c`, $a", "?, \"$a\\\"\", '''$b''' # $c\n, ?, `$c`, ?"),
        (
            "spark",
            "$a, '$a\\'$b', r'$b\\', `$c`, /* $a /* $b */ */ $b -- $c",
            "?, '$a\\'$b', r'$b\\', `$c`, /* $a /* $b */ */ ? -- $c",
        ),
        ("sqlite", "$a, '$a''$b', [$b], `$c`, /* $a /* $b */ $b", "?, '$a''$b', [$b], `$c`, /* $a /* $b */ ?"),
    ],
)
def test_parameters_are_found_by_dialect(dialect: str, sql: str, sent: str) -> None:
    statement = Statement.parse(f"select {sql}", dialect, "the query")
    assert statement.rewritten(lambda name: "?") == f"select {sent}"
    assert set(statement.names) <= {"a", "b"}


@pytest.mark.parametrize(
    "kind", [pa.month_day_nano_interval(), pa.decimal256(50, 2), pa.map_(pa.string(), pa.decimal256(50, 2))]
)
def test_column_without_dtype_is_a_clear_error(kind: pa.DataType) -> None:
    with pytest.raises(EngineError, match=r"column 'x' .* cast it to text"):
        check_plain(pa.schema([("x", kind)]))
