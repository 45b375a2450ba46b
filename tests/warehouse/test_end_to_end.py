"""Every type of a warehouse through a sync, to what the sandbox then holds; and through null."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cio_dagster.specs import Person
from cio_dagster.warehouse import Warehouse
from tests.engine import Engine

from .conftest import OLD_DRIVER

ID = "9eb93fc1-29ff-4845-92bb-b7f01a31c42f"
NEW_YEAR_EVE = 1_704_060_000
"""2023-12-31 22:00 UTC."""

POSTGRES: dict[str, tuple[str, Any]] = {
    "boolean": ("true", True),
    "smallint": ("(-32768)::smallint", -32768),
    "integer": ("7", 7),
    "bigint": ("9007199254740993::bigint", "9007199254740993"),
    "real": ("0.5::real", 0.5),
    "double": ("0.1::double precision", 0.1),
    "numeric": ("1.50::numeric(10, 2)", 1.5),
    "numeric_free": ("12345678901234567890.0123456789::numeric", "12345678901234567890.0123456789"),
    "money": ("money '12.34'", 12.34),
    "text": ("'grüße 🎈'", "grüße 🎈"),
    "char": ("'x'::char(3)", "x  "),
    "bytea": ("'\\x00ff'::bytea", "AP8="),
    "uuid": (f"'{ID}'::uuid", ID),
    "json": ("""'{"a": [1, null]}'::json""", '{"a": [1, null]}'),
    "jsonb": ("""'{"a":1}'::jsonb""", '{"a": 1}'),
    "enum": ("'ok'::mood", "ok"),
    "domain": ("5::positive", 5),
    "date": ("date '2024-02-29'", 1_709_164_800),
    "time": ("time '12:34:56'", "12:34:56"),
    "timetz": ("timetz '12:00+02'", "12:00:00+02"),
    "timestamp": ("timestamp '2023-12-31 22:00:00'", NEW_YEAR_EVE),
    "timestamptz": ("timestamptz '2024-01-01 00:00:00+02'", NEW_YEAR_EVE),
    "interval": ("interval '1 month 2 days'", "1 mon 2 days"),
    "inet": ("inet '192.0.2.1/24'", "192.0.2.1/24"),
    "cidr": ("cidr '10.0.0.0/8'", "10.0.0.0/8"),
    "macaddr": ("macaddr '08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
    "bits": ("'101'::bit(3)", "101"),
    "range": ("int4range(1, 5)", "[1,5)"),
    "point": ("point '(1,2)'", "(1,2)"),
    "array": ("array[1, null]", [1, None]),
    "array_of_text": ("array['a', 'ü']", ["a", "ü"]),
    "array_of_numeric": ("array[1.5, 20.25]", [1.5, 20.25]),
    "array_of_timestamptz": ("array[timestamptz '2024-01-01 00:00:00+02']", [NEW_YEAR_EVE]),
    "array_of_uuid": (f"array['{ID}'::uuid]", [ID]),
    "array_of_enum": ("array['ok'::mood]", ["ok"]),
    "array_of_jsonb": ("array['[1]'::jsonb]", ["[1]"]),
    "empty_array": ("'{}'::int[]", []),
}
if not OLD_DRIVER:
    POSTGRES["composite"] = ("row('x', 1)::place", {"street": "x", "number": 1})

DUCKDB: dict[str, tuple[str, Any]] = {
    "boolean": ("true", True),
    "tinyint": ("(-128)::tinyint", -128),
    "ubigint": ("18446744073709551615::ubigint", "18446744073709551615"),
    "hugeint": ("170141183460469231::hugeint", "170141183460469231"),
    "double": ("0.1::double", 0.1),
    "decimal": ("1.50::decimal(10, 2)", 1.5),
    "varchar": ("'grüße 🎈'", "grüße 🎈"),
    "blob": ("'\\x00\\xff'::blob", "AP8="),
    "uuid": (f"'{ID}'::uuid", ID),
    "json": ("""'{"a": 1}'::json""", '{"a": 1}'),
    "enum": ("'ok'::enum ('sad', 'ok')", "ok"),
    "date": ("date '2024-02-29'", 1_709_164_800),
    "time": ("time '12:34:56'", "12:34:56"),
    "timestamp": ("timestamp '2023-12-31 22:00:00'", NEW_YEAR_EVE),
    "timestamptz": ("timestamptz '2024-01-01 00:00:00+02'", NEW_YEAR_EVE),
    "timestamp_ns": ("'2023-12-31 22:00:00'::timestamp_ns", NEW_YEAR_EVE),
    "interval": ("interval '1 month 2 days'", "1 month 2 days"),
    "bits": ("'101'::bit", "101"),
    "list": ("[1, null]", [1, None]),
    "list_of_times": ("[timestamptz '2024-01-01 00:00:00+02']", [NEW_YEAR_EVE]),
    "array": ("[1, 2]::int[2]", [1, 2]),
    "struct": ("{'a': 1, 'b': {'c': 'x'}}", {"a": 1, "b": {"c": "x"}}),
    "map": ("map {'a': 1}", {"a": 1}),
}


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_every_type_arrives(request: pytest.FixtureRequest, engine: Engine, kind: str) -> None:
    warehouse: Warehouse = request.getfixturevalue("memory" if kind == "duckdb" else "postgres")
    types = DUCKDB if kind == "duckdb" else POSTGRES
    columns = ", ".join(f"{literal} as {name}_is" for name, (literal, _) in types.items())
    nulls = ", ".join(["null"] * len(types))
    frame = warehouse.query(f"select 'full' as id, {columns} union all select 'empty', {nulls}")
    report = engine.sync(Person(nulls="clear"), frame)
    assert (report.created, report.rejected) == (2, 0)
    people = {person["id"]: person["attributes"] for person in engine.sandbox.get("people")}
    got = {name: people["full"].get(f"{name}_is") for name in types}
    assert json.loads(json.dumps(got)) == {name: value for name, (_, value) in types.items()}
    assert {name: value for name, value in people["empty"].items() if name.endswith("_is") and value is not None} == {}
