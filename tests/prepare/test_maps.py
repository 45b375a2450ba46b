"""Maps, as DuckDB gives them: JSON objects, rejects inside included."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest

from cio_dagster.prepare.json_text import DateRule, json_dtype, json_text, typed
from cio_dagster.specs import Event, Object, Person
from tests.plans import planned, ready, reason


def maps(sql: str) -> pl.DataFrame:
    """A column `m` from DuckDB, and ids."""
    found = pl.DataFrame(duckdb.sql(f"select {sql} as m union all select null").to_arrow_reader().read_all())
    return found.with_columns(id=pl.Series([f"p{n}" for n in range(len(found))]))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("map {'a': 1, 'b': null}", {"a": 1, "b": None}),
        ("map {}::map(varchar, integer)", {}),
        ("map {'a \"b\"': 'c\\d'}", {'a "b"': "c\\d"}),
        ("map {3: [1, null], 9007199254740993: null}", {"3": [1, None], "9007199254740993": None}),
        ("map {true: 1.50::decimal(5, 2)}", {"true": 1.5}),
        ("map {1.5::double: 'x'}", {"1.5": "x"}),
        ("map {date '2024-02-29': date '1970-01-02'}", {"2024-02-29": 86_400}),
        (
            "map {timestamp '2024-01-01 00:00:00.1': 1, timestamp '2024-01-01 00:00:00.2': 2}",
            {"2024-01-01T00:00:00.100Z": 1, "2024-01-01T00:00:00.200Z": 2},
        ),
        ("map {'in': map {'k': true}}", {"in": {"k": True}}),
        ("map {['a', 'b']: 1}", {'["a","b"]': 1}),
        ("[map {'a': 1}, null, map {}]", [{"a": 1}, None, {}]),
        ("{'m': map {'a': {'b': 2}}}", {"m": {"a": {"b": 2}}}),
    ],
)
def test_map_is_an_object(sql: str, expected: Any) -> None:
    text, null = ready(maps(sql), Object(object_type_id=1, column="id"), "m")
    assert json.loads(str(text)) == expected
    assert null is None


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("map {'a': 'nan'::double}", "not_a_number"),
        ("map {'infinity'::double: 1}", "not_a_number"),
        ("map {'a': ['-infinity'::double]}", "not_a_number"),
        ("[map {'a': 1.0::double}, map {'b': 'nan'::double}]", "not_a_number"),
        ("map {'a': map {date 'infinity': 1}}", "date_out_of_range"),
    ],
)
def test_what_has_no_json_inside_is_a_rejected_row(sql: str, problem: str) -> None:
    assert reason(maps(sql), Person()) == [problem, None]


@pytest.mark.parametrize("iso", [True, False])
def test_values_follow_the_dates_setting_and_keys_do_not(iso: bool) -> None:
    frame = maps("map {date '2024-01-01': date '1970-01-01'}")
    [value, _] = ready(frame, Person(dates="iso" if iso else "unix"), "m")
    assert json.loads(str(value)) == {"2024-01-01": "1970-01-01" if iso else 0}


def test_skipped_local_time_in_a_key() -> None:
    frame = maps("map {timestamp '2024-03-31 02:30': 1}")
    assert reason(frame, Person(naive_timezone="Europe/Berlin")) == ["no_such_local_time", None]


def test_map_is_sent_and_only_when_it_changes() -> None:
    spec = Event(row_id="id", column="id", name="x")
    assert planned(maps("map {'a': 1}"), spec).bodies()[0]["attributes"] == {"m": {"a": 1}}
    person = Person()
    before = planned(maps("map {'a': 1}"), person).snapshot(None, person)
    assert planned(maps("map {'a': 1}"), person, snapshot=before).bodies() == []
    [body] = planned(maps("map {'a': 2}"), person, snapshot=before).bodies()
    assert body["attributes"] == {"m": {"a": 2}}


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([{"a": Decimal("1.5")}, None], dtype=pl.Map(pl.String, pl.Decimal(5, 2))),
        pl.Series([[{"a": date(2024, 1, 1)}, None], None], dtype=pl.List(pl.Map(pl.String, pl.Date))),
        pl.Series([{"m": {"a": datetime(2024, 1, 1)}}, None], dtype=pl.Struct({"m": pl.Map(pl.String, pl.Datetime("us"))})),
        pl.Series([[{}], None], dtype=pl.List(pl.Struct({}))),
    ],
    ids=lambda series: str(series.dtype),
)
def test_snapshots_give_their_json_text(series: pl.Series) -> None:
    dates = DateRule()
    dtype = json_dtype(series.dtype, dates)
    assert dtype == pl.String()
    texts = pl.select(json_text(pl.lit(series), series.dtype, dates).alias("v"))
    assert texts.select(typed(pl.col("v"), dtype))["v"].to_list() == texts["v"].to_list()
