"""Parameters: bound with their types, never pasted, found where SQL has them and nowhere else."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster.warehouse import Warehouse, WarehouseError

from .conftest import OLD_DRIVER

NOON_IN_BERLIN = datetime(2024, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    "value",
    [
        "text",
        "grüße 🎈",
        "",
        "'; drop table customers; --",
        "$other",
        "\\' or 1=1",
        7,
        -(2**62),
        0.1,
        True,
        False,
        Decimal("1.50"),
        Decimal("-123456789012345678901234567890.12"),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 1, 2, 3, 4),
        None,
        ["a", "b"],
        [1, 2],
        [True],
        [date(2024, 1, 1)],
        [Decimal("1.5"), Decimal("10.25")],
    ],
    ids=repr,
)
def test_value_comes_back(either: Warehouse, value: object) -> None:
    assert either.query("select $value as x", value=value).collect()["x"].to_list() == [value]


def test_null_in_a_list(memory: Warehouse, postgres: Warehouse) -> None:
    assert memory.query("select $value as x", value=[0.5, None]).collect()["x"].to_list() == [[0.5, None]]
    if not OLD_DRIVER:
        assert postgres.query("select $value as x", value=[0.5, None]).collect()["x"].to_list() == [[0.5, None]]
        return
    wanted = r"parameter \$value is a list with None in it, which needs Python 3\.11 and adbc-driver-postgresql 1\.13; or leave"
    with pytest.raises(WarehouseError, match=wanted):
        postgres.query("select $value as x", value=[0.5, None])


@pytest.mark.parametrize(
    "value", [NOON_IN_BERLIN, NOON_IN_BERLIN.astimezone(timezone(timedelta(hours=2))), NOON_IN_BERLIN.astimezone(timezone.utc)]
)
def test_aware_datetime_is_the_same_moment(either: Warehouse, value: datetime) -> None:
    assert either.query("select $value as x", value=value).collect()["x"].to_list() == [NOON_IN_BERLIN]


def test_naive_and_aware_datetimes_meet_in_utc(either: Warehouse) -> None:
    sql = "select 1 as x where timestamp '2024-06-01 10:00:00' = $moment"
    assert len(either.query(sql, moment=NOON_IN_BERLIN).collect()) == 1
    sql = "select 1 as x where timestamptz '2024-06-01 12:00:00+02' = $moment"
    assert len(either.query(sql, moment=datetime(2024, 6, 1, 10)).collect()) == 1


def test_list_selects_by_any(either: Warehouse) -> None:
    frame = either.query(
        "select x from (values (1), (2), (3)) as t(x) where x = any($wanted) order by x", wanted=[3, 1]
    ).collect()
    assert frame["x"].to_list() == [1, 3]


def test_same_name_twice_and_side_by_side(either: Warehouse) -> None:
    sql = "select $a+$b as sum, $b||$a as text where $a in ($a,$b)"
    with pytest.raises(WarehouseError):
        either.query(sql, a=1)
    frame = either.query("select $a+$b-$a as sum, ($c||$c) as text where $a in ($a,$b)", a=1, b=2, c="x").collect()
    assert frame.rows() == [(2, "xx")]


def test_parameter_can_group(postgres: Warehouse) -> None:
    sql = "select date_trunc($unit, t) as x, count(*) as n from (values (timestamp '2024-01-01 10:00'), ('2024-01-01 11:00')) as v(t) group by date_trunc($unit, t)"
    assert postgres.query(sql, unit="day").collect()["n"].to_list() == [2]


def test_dollars_that_are_no_parameters(either: Warehouse) -> None:
    frame = either.query(
        """
        -- $a ; $b
        /* $c /* $d */ ; $e */
        select '$f '' ; $g' as literal, "o$h", $$ $i ; $$ as plain, $tag$ $j $x$ $tag$ as tagged, E'\\'$k' as escaped, $l::text as "l$"
        from (select 1 as "o$h") as t; -- $m;
        """,
        l="bound",
    ).collect()
    assert frame.rows() == [("$f ' ; $g", 1, " $i ; ", " $j $x$ ", "'$k", "bound")]
    assert frame.columns[-1] == "l$"


@given(
    before=st.text(alphabet="ab$'\"-/*;\n é"),
    value=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_literal_and_any_value(memory: Warehouse, before: str, value: str) -> None:
    literal = "'" + before.replace("'", "''") + "'"
    assert memory.query(f"select {literal} as a,$value as b", value=value).collect().rows() == [(before, value)]


def test_missing_parameters_are_named(either: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"were not given: \$a, \$b$"):
        either.query("select $a as x, $b as y, $a as z, $c as w", c=1)


def test_parameters_that_the_sql_does_not_name_are_ignored(either: Warehouse) -> None:
    assert either.query("select $a as x", a=1, b=2).collect()["x"].to_list() == [1]


@pytest.mark.parametrize(
    "value", [object(), b"x", {"a": 1}, [[1]], (1, 2), timedelta(days=1)], ids=lambda value: type(value).__name__
)
def test_other_types_are_refused(either: Warehouse, value: object) -> None:
    with pytest.raises(WarehouseError, match=r"parameter \$a holds a value of type \w+; it can be str, int"):
        either.query("select $a as x", a=value)


@pytest.mark.parametrize("value", [2**70, [1, "a"]], ids=repr)
def test_unbindable_value_names_its_parameter(postgres: Warehouse, value: object) -> None:
    with pytest.raises(WarehouseError, match=r"parameter \$a cannot be bound"):
        postgres.query("select $a as x", a=value)


def test_postgres_takes_a_cast_for_a_type(postgres: Warehouse) -> None:
    text = "9eb93fc1-29ff-4845-92bb-b7f01a31c42f"
    assert postgres.query("select $id::uuid as x where $id::uuid is not null", id=text).collect()["x"].to_list() == [text]
