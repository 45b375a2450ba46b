"""What names a row: identifiers of every type, and what is wrong with them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.errors import SpecError
from tests.plans import prepared, ready, reason

EXACT = 2**53


def people(values: list[Any], dtype: Any = pl.String) -> pl.DataFrame:
    return pl.DataFrame({"id": pl.Series(values, dtype=dtype)})


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 7, -7], pl.Int8, ["0", "7", "-7"]),
        ([2**63, 2**64 - 1], pl.UInt64, [str(2**63), str(2**64 - 1)]),
        ([2**127 - 1, -(2**127)], pl.Int128, [str(2**127 - 1), str(-(2**127))]),
        ([2**128 - 1], pl.UInt128, [str(2**128 - 1)]),
        ([1.0, -0.0, float(EXACT), -float(EXACT), 1e15], pl.Float64, ["1", "0", str(EXACT), str(-EXACT), "1000000000000000"]),
        ([3.0, 16777216.0], pl.Float32, ["3", "16777216"]),
        ([Decimal("1.00"), Decimal("-20.00"), Decimal("123456789012345678901234567890.00")], pl.Decimal(38, 2), None),
        ([Decimal("100"), Decimal("0")], pl.Decimal(20, 0), ["100", "0"]),
        (["a", " a ", "A", "001", "é", "{}", "^.*$"], pl.String, ["a", " a ", "A", "001", "é", "{}", "^.*$"]),
        (["x", "y"], pl.Categorical, ["x", "y"]),
        (["x", "y"], pl.Enum(["y", "x"]), ["x", "y"]),
    ],
)
def test_identifiers_are_strings(values: list[Any], dtype: Any, expected: list[str] | None) -> None:
    wanted = expected or ["1", "-20", "123456789012345678901234567890"]
    assert ready(people(values, dtype), Person(), "_person") == wanted
    assert ready(people(values, dtype), Person(), "_key") == wanted


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.5, float("nan"), float("inf"), float("-inf"), EXACT + 2.0, 1e300], pl.Float64),
        ([1.5], pl.Float32),
        ([Decimal("1.01"), Decimal("-0.50")], pl.Decimal(10, 2)),
    ],
)
def test_fractions_name_nothing(values: list[Any], dtype: Any) -> None:
    assert reason(people(values, dtype), Person()) == ["invalid_key"] * len(values)


@pytest.mark.parametrize("dtype", [pl.Boolean, pl.Date, pl.Datetime, pl.Binary, pl.List(pl.String), pl.Struct({"a": pl.Int8})])
def test_other_types_name_nothing(dtype: Any) -> None:
    with pytest.raises(SpecError, match=r"column 'id'.*cast it in the query"):
        prepared(people([None], dtype), Person())


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Float64, pl.Decimal(10, 2), pl.Categorical, pl.Null])
def test_null_is_a_missing_key(dtype: Any) -> None:
    rows = prepared(people([None, None], dtype), Person())
    assert rows["_reject"].struct.field("reason").to_list() == ["missing_key"] * 2
    assert rows["_key"].to_list() == [None, None]
    assert rows["_reject"].struct.field("field").to_list() == ["id"] * 2


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", "\u3000 "])
def test_blank_is_a_missing_key(blank: str) -> None:
    for key in ("id", "email", "phone", "cio_id"):
        frame = pl.DataFrame({key: [blank]})
        assert reason(frame, Person(key=key)) == ["missing_key"]


def test_the_length_of_an_identifier_is_in_bytes() -> None:
    fits, over = ["x" * 150, "é" * 75, "日" * 50, "😀" * 37 + "ab"], ["x" * 151, "é" * 75 + "x", "日" * 51, "😀" * 38]
    assert ready(people(fits), Person(), "_person") == fits
    rows = prepared(people(over), Person())
    assert rows["_reject"].struct.field("reason").to_list() == ["key_too_long"] * 4
    assert rows["_reject"].struct.field("message").to_list() == [
        f"'id' is {size} bytes; the limit of id is 150" for size in (151, 151, 153, 152)
    ]


def test_emails_are_trimmed_and_compared_without_case() -> None:
    frame = pl.DataFrame({"email": ["  Ada@Example.com\n", "ada@example.org"]})
    assert ready(frame, Person(key="email"), "_person") == ["Ada@Example.com", "ada@example.org"]
    assert ready(frame, Person(key="email"), "_key") == ["ada@example.com", "ada@example.org"]


@pytest.mark.parametrize("email", ["a", "@", "a@", "@b", "a@b@c", "a b@c.d", "a@b c", "a\n@b", "a@\u00a0b"])
def test_no_email(email: str) -> None:
    assert reason(pl.DataFrame({"email": [email]}), Person(key="email")) == ["invalid_email"]


@pytest.mark.parametrize("email", ["a@b", "é@bücher.example", "o'hara+x@b.c", "{a}@b", '"a"@b', "a" * 300 + "@b"])
def test_emails(email: str) -> None:
    assert ready(pl.DataFrame({"email": [email]}), Person(key="email"), "_person") == [email]


def test_phones() -> None:
    fits = ["+14155552671", " +442071838750 ", "+12", "+123456789012345"]
    assert ready(pl.DataFrame({"phone": fits}), Person(key="phone"), "_person") == [each.strip() for each in fits]
    wrong = ["14155552671", "+04155552671", "+1", "+1234567890123456", "+1 415 555 2671", "+1415555267x", "+١٤١٥"]
    assert reason(pl.DataFrame({"phone": wrong}), Person(key="phone")) == ["invalid_phone"] * len(wrong)


def test_cio_ids_go_without_their_prefix() -> None:
    frame = pl.DataFrame({"cio_id": ["cio_a3000001", "a3000002", "cio_cio_x"]})
    assert ready(frame, Person(key="cio_id"), "_person") == ["a3000001", "a3000002", "cio_x"]
    assert reason(pl.DataFrame({"cio_id": ["cio_"]}), Person(key="cio_id")) == ["missing_key"]
    assert reason(pl.DataFrame({"cio_id": ["cio_x", "x"]}), Person(key="cio_id")) == [None, None], (
        "duplicates are the plan's matter"
    )


def test_several_identifiers_make_one_key() -> None:
    frame = pl.DataFrame({"object_id": [7, 8, None, 9], "email": ["A@b", 'q"@b', "c@d", None]})
    rows = prepared(frame, Relationship(object_type_id=1, key="email"))
    assert rows["_key"].to_list() == ['["7","a@b"]', '["8","q\\"@b"]', None, None]
    assert rows["_reject"].struct.field("reason").to_list() == [None, None, "missing_key", "missing_key"]
    assert rows["_reject"].struct.field("field").to_list() == [None, None, "object_id", "email"]
    assert [json.loads(each) for each in rows["_key"].drop_nulls()] == [["7", "a@b"], ["8", 'q"@b']]


def test_keys_of_several_identifiers_do_not_run_together() -> None:
    frame = pl.DataFrame({"token": ["a", 'a","b'], "id": ['b","c', "c"], "platform": ["ios", "ios"]})
    keys = ready(frame, Device(), "_key")
    assert len(set(keys)) == 2


def test_the_length_of_tokens_is_not_documented() -> None:
    frame = pl.DataFrame({"token": ["t" * 1_000], "id": ["1"], "platform": ["ios"]})
    assert ready(frame, Device(), "_token") == ["t" * 1_000]


@pytest.mark.parametrize("kind", ["anonymous_id", "cio_id", "id"])
def test_limits_of_the_people_of_events(kind: Any) -> None:
    frame = pl.DataFrame({"row": [1, 2], kind: ["x" * 150, "x" * 151]})
    assert reason(frame, Event(row_id="row", name="e", key=kind)) == [None, "key_too_long"]


def test_row_ids_have_no_limit_but_must_be_there() -> None:
    frame = pl.DataFrame({"row": ["r" * 500, None, " "], "id": ["1", "1", "1"]})
    assert reason(frame, Event(row_id="row", name="e")) == [None, "missing_key", "missing_key"]


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        (Person(column="customer"), "'customer'"),
        (Device(), "'token'"),
        (Event(row_id="row", name="x", timestamp="at"), "'row', 'id', 'at'"),
        (ManualSegment(name="vip", key="email"), "'email'"),
        (Object(object_type_id=1), "'object_id'"),
        (Person(keep_newest_by="updated"), "'id', 'updated'"),
        (Person(column="c", nulls={"typo": "clear"}), "'typo'"),
        (Person(column="c", dates={"typo": "iso"}), "'typo'"),
        (Collection(name="x", attributes={"a": "b"}), "'b'"),
    ],
)
def test_columns_that_are_not_there(spec: Any, missing: str) -> None:
    with pytest.raises(SpecError, match=missing) as error:
        prepared(pl.DataFrame({"c": [1]}), spec)
    assert "'c'" in str(error.value), "the error names the columns that are there"


def test_the_newest_is_not_told_by_nested_values() -> None:
    with pytest.raises(SpecError, match="no highest value"):
        prepared(pl.DataFrame({"id": [1], "at": [[1]]}), Person(keep_newest_by="at"))
