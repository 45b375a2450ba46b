"""The rule of each dtype: the table of `cio_dagster.prepare.json_text`, line by line."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cio_dagster.errors import SpecError
from cio_dagster.prepare.json_text import DateRule, json_dtype, json_text, typed, unsendable

ISO = DateRule(iso=True)
BERLIN = DateRule(naive_timezone="Europe/Berlin")
BERLIN_ISO = DateRule(iso=True, naive_timezone="Europe/Berlin")
EXACT = 2**53


def text(values: list[Any], dtype: Any, dates: DateRule | None = None) -> list[str | None]:
    """The JSON text of values; all that is there must be JSON."""
    series = pl.Series("v", values, dtype=dtype)
    found: list[str | None] = (
        series.to_frame()
        .lazy()
        .select(v=json_text(pl.col("v"), series.dtype, dates or DateRule()))
        .collect(engine="streaming")["v"]
    ).to_list()
    for each in found:
        if each is not None:
            json.loads(each, parse_constant=pytest.fail)
    return found


def problems(values: list[Any], dtype: Any, dates: DateRule | None = None) -> list[str | None]:
    """The problem of each value, of which there is one at most."""
    series = pl.Series("v", values, dtype=dtype)
    tests = unsendable(pl.col("v"), series.dtype, dates or DateRule())
    rows = series.to_frame().lazy().select(**tests).collect(engine="streaming").to_dicts() if tests else [{}] * len(series)
    return [next((problem for problem, wrong in row.items() if wrong), None) for row in rows]


WIDTHS: list[tuple[Any, int]] = [(pl.Int8, 8), (pl.Int16, 16), (pl.Int32, 32), (pl.Int64, 64), (pl.Int128, 128)]
UNSIGNED: list[tuple[Any, int]] = [(pl.UInt8, 8), (pl.UInt16, 16), (pl.UInt32, 32), (pl.UInt64, 64), (pl.UInt128, 128)]


@pytest.mark.parametrize(("dtype", "bits"), WIDTHS + UNSIGNED)
def test_integers_of_every_width(dtype: Any, bits: int) -> None:
    signed = dtype.is_signed_integer()
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = [0, 1, lowest, highest, None]
    expected = [str(each) if abs(each) <= EXACT else f'"{each}"' for each in values if each is not None]
    assert text(values, dtype) == [*expected, None]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.Int128, pl.UInt128])
def test_integers_are_numbers_up_to_two_to_the_53(dtype: Any) -> None:
    assert text([EXACT - 1, EXACT, EXACT + 1], dtype) == [str(EXACT - 1), str(EXACT), f'"{EXACT + 1}"']
    if dtype in (pl.Int64, pl.Int128):
        assert text([-EXACT, -EXACT - 1], dtype) == [f"-{EXACT}", f'"-{EXACT + 1}"']


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 0.1, 1.0, -2.5, 1e15, 1e16, 1e21, 1e22, 1.7976931348623157e308, 5e-324, 123456789012345680.0, 1e-7]
)
def test_floats_read_back_the_same(value: float) -> None:
    (found,) = text([value], pl.Float64)
    assert found is not None
    assert json.loads(found) == value
    assert len(found) <= len(repr(value)) + 1


def test_smaller_floats_are_written_with_no_more_digits_than_they_have() -> None:
    assert text([0.1, 16777216.0, 3.4028235e38, None], pl.Float32) == ["0.1", "16777216.0", "3.4028235e+38", None]
    assert text([0.5, 65504.0], pl.Float16) == ["0.5", "65504.0"]


@pytest.mark.parametrize("dtype", [pl.Float16, pl.Float32, pl.Float64])
def test_nan_and_infinity_have_no_json(dtype: Any) -> None:
    bad = "not_a_number"
    assert problems([float("nan"), float("inf"), float("-inf"), 1.0, None], dtype) == [bad, bad, bad, None, None]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.0, float("nan")], pl.List(pl.Float64)),
        ([float("inf"), None], pl.Array(pl.Float32, 2)),
        ([[None, [float("nan")]]], pl.List(pl.List(pl.List(pl.Float64)))),
        ({"a": float("nan"), "b": 1}, pl.Struct({"a": pl.Float64, "b": pl.Int8})),
        ({"a": {"b": [{"c": float("inf")}]}}, pl.Struct({"a": pl.Struct({"b": pl.List(pl.Struct({"c": pl.Float64}))})})),
        ([{"a": None}, {"a": [1.0, float("nan")]}], pl.List(pl.Struct({"a": pl.Array(pl.Float64, 2)}))),
    ],
)
def test_nan_and_infinity_are_found_at_any_depth(value: Any, dtype: Any) -> None:
    assert problems([value, None], dtype) == ["not_a_number", None]


@pytest.mark.parametrize(
    ("scale", "values", "expected"),
    [
        (0, ["100", "0", "-7"], ["100", "0", "-7"]),
        (2, ["1.10", "100.00", "0.00", "-0.50", "-100.00"], ["1.1", "100", "0", "-0.5", "-100"]),
        (10, ["0.0000000001", "1.0000000000"], ["0.0000000001", "1"]),
        (2, ["1234567890123.45", "12345678901234.56"], ["1234567890123.45", '"12345678901234.56"']),
        (2, ["12345678901234.50", "1234567890123450.00"], ["12345678901234.5", '"1234567890123450"']),
        (0, ["999999999999999", "1000000000000000"], ["999999999999999", '"1000000000000000"']),
        (20, ["0.00000123456789012345", "0.00001234567890123456"], ["0.00000123456789012345", '"0.00001234567890123456"']),
    ],
)
def test_decimals_keep_their_digits(scale: int, values: list[str], expected: list[str]) -> None:
    assert text([Decimal(each) for each in values], pl.Decimal(38, scale)) == expected


def test_dates() -> None:
    values = [date(1970, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31), None]
    assert text(values, pl.Date) == ["0", "-86400", "1709164800", "-62135596800", "253402214400", None]
    assert text(values, pl.Date, ISO) == [
        '"1970-01-01"',
        '"1969-12-31"',
        '"2024-02-29"',
        '"0001-01-01"',
        '"9999-12-31"',
        None,
    ]


UNITS = ["ms", "us", "ns"]


@pytest.mark.parametrize("unit", UNITS)
def test_datetimes_are_whole_seconds_rounded_down(unit: Any) -> None:
    values = [
        datetime(1970, 1, 1),
        datetime(1969, 12, 31, 23, 59, 59, 500_000),
        datetime(2024, 1, 1, 0, 0, 0, 999_000),
        datetime(1900, 1, 1, 0, 0, 0, 1_000),
        None,
    ]
    assert text(values, pl.Datetime(unit)) == ["0", "-1", "1704067200", "-2208988800", None]
    assert text(values, pl.Datetime(unit), ISO) == [
        '"1970-01-01T00:00:00Z"',
        '"1969-12-31T23:59:59.500Z"',
        '"2024-01-01T00:00:00.999Z"',
        '"1900-01-01T00:00:00.001Z"',
        None,
    ]


def test_fractions_of_iso_datetimes() -> None:
    assert text([datetime(2024, 1, 1, microsecond=1)], pl.Datetime("us"), ISO) == ['"2024-01-01T00:00:00.000001Z"']
    nanosecond = pl.Series([1]).cast(pl.Datetime("ns"))
    assert text(nanosecond.to_list(), pl.Datetime("ns"), ISO) == ['"1970-01-01T00:00:00Z"'], "Python has no nanoseconds"
    frame = nanosecond.to_frame("v").select(json_text(pl.col("v"), pl.Datetime("ns"), ISO))
    assert frame.item() == '"1970-01-01T00:00:00.000000001Z"'


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("zone", "offset"), [("UTC", 0), ("America/New_York", 5 * 3600), ("Asia/Kathmandu", -20_700)])
def test_aware_datetimes_keep_their_moment(unit: Any, zone: str, offset: int) -> None:
    series = pl.Series("v", [datetime(2024, 1, 1), None], dtype=pl.Datetime(unit)).dt.replace_time_zone(zone)
    found = series.to_frame().select(
        unix=json_text(pl.col("v"), series.dtype, BERLIN), iso=json_text(pl.col("v"), series.dtype, BERLIN_ISO)
    )
    moment = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=offset)
    assert found["unix"].to_list() == [str(int(moment.timestamp())), None]
    assert found["iso"].to_list() == [f'"{moment:%Y-%m-%dT%H:%M:%S}Z"', None]


@pytest.mark.parametrize("unit", UNITS)
def test_naive_datetimes_are_in_the_zone_of_the_setting(unit: Any) -> None:
    # Winter, summer, the hour that comes twice in autumn (its first time is meant), and before time zones were whole hours.
    values = [datetime(2024, 1, 1), datetime(2024, 7, 1), datetime(2024, 10, 27, 2, 30), datetime(1890, 1, 1), None]
    expected = ["2023-12-31T23:00:00", "2024-06-30T22:00:00", "2024-10-27T00:30:00", "1889-12-31T23:06:32"]
    assert text(values, pl.Datetime(unit), BERLIN_ISO) == [*(f'"{each}Z"' for each in expected), None]
    seconds = [int(datetime.fromisoformat(each + "+00:00").timestamp()) for each in expected]
    assert text(values, pl.Datetime(unit), BERLIN) == [*map(str, seconds), None]


@pytest.mark.parametrize("unit", UNITS)
def test_the_hour_that_a_clock_change_skips_has_no_json(unit: Any) -> None:
    values = [
        datetime(2024, 3, 31, 1, 59, 59),
        datetime(2024, 3, 31, 2),
        datetime(2024, 3, 31, 2, 59),
        datetime(2024, 3, 31, 3),
        None,
    ]
    gap = "no_such_local_time"
    assert problems(values, pl.Datetime(unit), BERLIN) == [None, gap, gap, None, None]
    assert problems(values, pl.Datetime(unit)) == [None] * 5
    assert problems([values, values[:1], [], None], pl.List(pl.Datetime(unit)), BERLIN) == [gap, None, None, None]
    assert problems([{"a": values[1]}, {"a": None}, None], pl.Struct({"a": pl.Datetime(unit)}), BERLIN) == [gap, None, None]


@pytest.mark.parametrize("dates", [DateRule(), ISO, BERLIN, BERLIN_ISO])
@pytest.mark.parametrize(
    "dtype", [pl.Date(), *(pl.Datetime(unit, zone) for unit in ("ms", "us") for zone in (None, "UTC", "Asia/Tokyo"))], ids=str
)
def test_dates_beyond_the_calendar_have_no_json(dtype: pl.DataType, dates: DateRule) -> None:
    # What PostgreSQL calls infinity comes as the highest and lowest number that the type holds.
    physical = pl.Int32 if dtype == pl.Date else pl.Int64
    days = pl.Series([-719_162, -719_163, 2_932_896, 2_932_897], dtype=pl.Int64)
    ticks = {"ms": 1_000, "us": 1_000_000}[dtype.time_unit] * 86_400 if isinstance(dtype, pl.Datetime) else 1
    bounds = [-(2**31), 2**31 - 1] if dtype == pl.Date else [-(2**63), 2**63 - 1]
    numbers = pl.Series("v", [*(days * ticks), *bounds, None], dtype=physical).cast(dtype)
    frame = numbers.to_frame().lazy().select(v=json_text(pl.col("v"), dtype, dates), **unsendable(pl.col("v"), dtype, dates))
    found = frame.collect(engine="streaming")
    assert found["date_out_of_range"].to_list() == [False, True, False, True, True, True, False]
    assert [each is None for each in found["v"]] == [False, True, False, True, True, True, True]
    inside = pl.DataFrame({"v": numbers.implode()}).lazy().select(**unsendable(pl.col("v"), pl.List(dtype), dates))
    assert inside.collect(engine="streaming")["date_out_of_range"].to_list() == [True]


def test_times() -> None:
    values = [time(0), time(23, 59, 59), time(1, 2, 3, 4_000), time(1, 2, 3, 4), None]
    assert text(values, pl.Time) == ['"00:00:00"', '"23:59:59"', '"01:02:03.004"', '"01:02:03.000004"', None]


@pytest.mark.parametrize("unit", UNITS)
def test_durations_are_seconds(unit: Any) -> None:
    values = [
        timedelta(days=1),
        timedelta(seconds=-90),
        timedelta(milliseconds=1_500),
        timedelta(milliseconds=-1),
        timedelta(),
        None,
    ]
    assert text(values, pl.Duration(unit)) == ["86400", "-90", "1.5", "-0.001", "0", None]


def test_durations_are_exact() -> None:
    assert text([timedelta(days=-1, microseconds=1), timedelta(microseconds=1)], pl.Duration("us")) == [
        "-86399.999999",
        "0.000001",
    ]


def test_the_longest_and_the_shortest_durations() -> None:
    for unit, second in (("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)):
        numbers = [2**63 - 1, -(2**63), 1]
        series = pl.Series("v", numbers).cast(pl.Duration(unit))  # type: ignore[arg-type]
        found = series.to_frame().select(v=json_text(pl.col("v"), series.dtype, DateRule()))["v"]
        assert [json.loads(each) for each in found] == pytest.approx([each / second for each in numbers], rel=1e-15)


def test_booleans_and_nulls() -> None:
    assert text([True, False, None], pl.Boolean) == ["true", "false", None]
    assert text([None, None], pl.Null) == [None, None]


STRINGS = [
    "",
    "null",
    '"',
    "\\",
    '\\"',
    "\n\r\t\b\f",
    "\x00\x01\x1f\x7f",
    "é",
    "日本",
    "😀",
    "\u2028\u2029",
    "</script>",
    "{}",
    '"},{"',
]


def test_strings_are_escaped() -> None:
    found = text([*STRINGS, None], pl.String)
    assert [each if each is None else json.loads(each) for each in found] == [*STRINGS, None]
    assert found[:-1] == [json.dumps(each, ensure_ascii=False) for each in STRINGS]


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(STRINGS)], ids=["categorical", "enum"])
def test_categories_are_strings(dtype: Any) -> None:
    assert text([*STRINGS, None], dtype) == [*(json.dumps(each, ensure_ascii=False) for each in STRINGS), None]


def test_binary_is_base64() -> None:
    assert text([b"\x00\xff\x10", b"", None], pl.Binary) == ['"AP8Q"', '""', None]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([[1, None, 2], [], None], pl.List(pl.Int8), ["[1,null,2]", "[]", None]),
        ([[1, None], None], pl.Array(pl.Int8, 2), ["[1,null]", None]),
        ([[], None], pl.Array(pl.Int8, 0), ["[]", None]),
        ([[[[1], [2]], [[3], [4]]], None], pl.Array(pl.Int8, (2, 2, 1)), ["[[[1],[2]],[[3],[4]]]", None]),
        ([[[], None, [None]], None], pl.List(pl.List(pl.String)), ["[[],null,[null]]", None]),
        ([[None], [], None], pl.List(pl.Null), ["[null]", "[]", None]),
        ([[], None], pl.List(pl.List(pl.Struct({"a": pl.String}))), ["[]", None]),
        ([['"', "null", None]], pl.List(pl.String), ['["\\"","null",null]']),
        ([["b", None]], pl.List(pl.Enum(["a", "b"])), ['["b",null]']),
        ([[EXACT + 1, 1]], pl.List(pl.UInt64), [f'["{EXACT + 1}",1]']),
        ([[Decimal("1.50"), None]], pl.List(pl.Decimal(10, 2)), ["[1.5,null]"]),
        ([[date(1970, 1, 2)]], pl.List(pl.Date), ["[86400]"]),
        ([{"a": 1, "b": None}, None], pl.Struct({"a": pl.Int8, "b": pl.String}), ['{"a":1,"b":null}', None]),
        ([{"a": None}], pl.Struct({"a": pl.Struct({"b": pl.Int8})}), ['{"a":null}']),
        ([{"a": {"b": None}}], pl.Struct({"a": pl.Struct({"b": pl.Int8})}), ['{"a":{"b":null}}']),
        ([[{"a": 1}, None]], pl.List(pl.Struct({"a": pl.Int8})), ['[{"a":1},null]']),
        ([{}, None], pl.Struct({}), ["{}", None]),
        ([[{}, None]], pl.List(pl.Struct({})), ["[{},null]"]),
    ],
)
def test_nested_values(values: list[Any], dtype: Any, expected: list[str | None]) -> None:
    assert text(values, dtype) == expected
    assert problems(values, dtype) == [None] * len(values)


@pytest.mark.parametrize("name", ["^a.*$", "^.*$", "*", "", "a", 'q"', "n\nl", "d.t", "{}", "\\", "0", "1"])
def test_fields_of_structs_have_any_name(name: str) -> None:
    dtype = pl.Struct({"aa": pl.Int8, name: pl.Float64, "1": pl.Int8} if name != "1" else {"aa": pl.Int8, "1": pl.Float64})
    value = {each.name: 2 if each.dtype != pl.Float64 else 1.0 for each in dtype.fields}
    (found,) = text([value], dtype)
    assert found is not None
    assert json.loads(found) == value
    (found,) = text([[value]], pl.List(dtype))
    assert found is not None
    assert json.loads(found) == [value]
    assert problems([value | {name: float("nan")}, value], dtype) == ["not_a_number", None]
    assert problems([[value, value | {name: float("nan")}], []], pl.List(dtype)) == ["not_a_number", None]


def test_objects_cannot_be_sent() -> None:
    series = pl.Series("v", [object()], dtype=pl.Object)
    with pytest.raises(SpecError, match="Object cannot be sent"):
        json_text(pl.col("v"), series.dtype, DateRule())


@pytest.mark.parametrize(
    ("values", "dtype", "back"),
    [
        ([1, EXACT + 1, None], pl.Int64, [1, EXACT + 1, None]),
        ([2**100, None], pl.Int128, [2**100, None]),
        ([0.1, None], pl.Float64, [0.1, None]),
        ([Decimal("1.50"), Decimal("12345678901234567.25")], pl.Decimal(38, 2), None),
        ([True, False, None], pl.Boolean, None),
        (["null", "", "5", None], pl.String, None),
        (["a", None], pl.Categorical, None),
        ([b"\x00", None], pl.Binary, ["AA==", None]),
        ([date(1970, 1, 2), None], pl.Date, [86_400, None]),
        ([timedelta(milliseconds=1_500), None], pl.Duration("us"), [1.5, None]),
        ([[EXACT + 1, 1, None], [], None], pl.List(pl.Int64), None),
        ([[Decimal("12345678901234567.25"), Decimal("0.50")]], pl.List(pl.Decimal(38, 2)), None),
        ([[1.5, 1e21], None], pl.List(pl.Float64), None),
        ([[True, None]], pl.List(pl.Boolean), None),
        ([[1, 2], None], pl.Array(pl.UInt64, 2), None),
        ([{"a": 2**63, "b": ["x", None]}, None], pl.Struct({"a": pl.UInt64, "b": pl.List(pl.String)}), None),
        ([[{"a": -(2**63), "b": None}, None]], pl.List(pl.Struct({"a": pl.Int64, "b": pl.Date})), None),
        ([{}, None], pl.Struct({}), ["{}", None]),
    ],
)
def test_text_reads_back_as_values(values: list[Any], dtype: Any, back: list[Any] | None) -> None:
    series = pl.Series("v", values, dtype=dtype)
    target = json_dtype(series.dtype, DateRule())
    written = series.to_frame().lazy().select(v=json_text(pl.col("v"), series.dtype, DateRule()))
    read = written.select(typed(pl.col("v"), target)).collect(engine="streaming")["v"]
    assert read.dtype == target
    assert read.to_list() == (values if back is None else back)


def test_text_of_another_kind_than_wanted_reads_back_as_null() -> None:
    texts = pl.DataFrame({"v": ["5", '"x"', "true", '{"a":1}', '["x"]', "null", None]})
    for dtype in (pl.Int64(), pl.Boolean(), pl.String(), pl.List(pl.Int64()), pl.Struct({"a": pl.Float64()})):
        read = texts.lazy().select(typed(pl.col("v"), dtype)).collect(engine="streaming")["v"]
        assert read.dtype == dtype
        assert read.to_list()[-2:] == [None, None]
