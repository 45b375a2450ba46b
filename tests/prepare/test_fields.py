"""Customer.io's own fields: platforms, names and times."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from typing import Any

import polars as pl
import pytest

from cio_dagster import Device, Event
from cio_dagster.errors import SpecError
from tests.plans import planned, prepared

LATEST = 253_402_300_799


def events(times: list[Any], dtype: Any = None) -> pl.DataFrame:
    return pl.DataFrame({"row": range(len(times)), "id": ["1"] * len(times), "t": pl.Series(times, dtype=dtype)})


TIMED = Event(row_id="row", name="e", timestamp="t", attributes={})


def test_platforms() -> None:
    platforms = ["ios", " iOS ", "ANDROID", "web", "", None, '"ios"']
    frame = pl.DataFrame({"token": map(str, range(len(platforms))), "id": ["1"] * len(platforms), "platform": platforms})
    plan = planned(frame, Device())
    assert [body["device"]["platform"] for body in plan.bodies()] == ["ios", "ios", "android"]
    assert plan.reasons() == dict.fromkeys(range(3, 7), "unknown_platform")
    assert "'ios' nor 'android'" in plan.rejected["_reject"][0]["message"]


def test_the_last_use_of_devices_may_be_missing() -> None:
    frame = pl.DataFrame(
        {
            "token": ["a", "b", "c"],
            "id": ["1"] * 3,
            "platform": ["ios"] * 3,
            "seen": [datetime(2026, 1, 1), None, datetime(1960, 1, 1)],
        }
    )
    plan = planned(frame, Device(last_used="seen"))
    assert [body["device"].get("last_used") for body in plan.bodies()] == [1_767_225_600, None]
    assert plan.reasons() == {2: "invalid_timestamp"}


def test_names_of_events_are_trimmed() -> None:
    names = [" Order placed\n", 'a "b"', "", "  ", None]
    frame = pl.DataFrame({"row": range(5), "id": ["1"] * 5, "n": names})
    plan = planned(frame, Event(row_id="row", name_column="n"))
    assert [body["name"] for body in plan.bodies()] == ["Order placed", 'a "b"']
    assert plan.reasons() == dict.fromkeys([2, 3, 4], "missing_name")


@pytest.mark.parametrize(
    ("times", "dtype", "seconds"),
    [
        ([0, 1_700_000_000, LATEST], pl.Int64, [0, 1_700_000_000, LATEST]),
        ([1_700_000_000], pl.UInt32, [1_700_000_000]),
        ([1_700_000_000], pl.Int128, [1_700_000_000]),
        ([date(1970, 1, 1), date(2026, 1, 1)], pl.Date, [0, 1_767_225_600]),
        ([datetime(1970, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 999_999)], pl.Datetime("us"), [0, 1_767_225_600]),
        ([datetime(2026, 1, 1, tzinfo=timezone.utc)], pl.Datetime("ns", "UTC"), [1_767_225_600]),
        ([datetime(9999, 12, 31, 23, 59, 59)], pl.Datetime("ms"), [LATEST]),
    ],
)
def test_times(times: list[Any], dtype: Any, seconds: list[int]) -> None:
    plan = planned(events(times, dtype), TIMED)
    assert [body["timestamp"] for body in plan.bodies()] == seconds


def test_times_are_unix_seconds_whatever_the_setting_of_dates_says() -> None:
    plan = planned(events([datetime(2026, 1, 1)]), Event(row_id="row", name="e", timestamp="t", dates="iso"))
    assert plan.bodies()[0]["timestamp"] == 1_767_225_600


@pytest.mark.parametrize(
    ("times", "dtype"),
    [
        ([-1, LATEST + 1, 1_700_000_000_000], pl.Int64),
        ([2**127 - 1, 2**64], pl.Int128),
        ([2**64 - 1], pl.UInt64),
        ([date(1969, 12, 31)], pl.Date),
        ([datetime(1969, 12, 31, 23, 59, 59, 999_999)], pl.Datetime("us")),
    ],
)
def test_no_times(times: list[Any], dtype: Any) -> None:
    assert planned(events(times, dtype), TIMED).reasons() == dict.fromkeys(range(len(times)), "invalid_timestamp")


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("ms"), pl.Datetime("us", "UTC")])
def test_infinite_times(dtype: Any) -> None:
    low, high = (-(2**31), 2**31 - 1) if dtype == pl.Date else (-(2**63), 2**63 - 1)
    frame = events([low, high], pl.Int32 if dtype == pl.Date else pl.Int64).with_columns(pl.col("t").cast(dtype))
    for zone in ("UTC", "Europe/Berlin"):
        spec = Event(row_id="row", name="e", timestamp="t", naive_timezone=zone)
        assert planned(frame, spec).reasons() == dict.fromkeys(range(2), "invalid_timestamp")


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Datetime("us"), pl.Null])
def test_an_event_needs_its_time(dtype: Any) -> None:
    assert planned(events([None], dtype), TIMED).reasons() == {0: "missing_timestamp"}


def test_a_time_that_a_clock_change_skipped() -> None:
    spec = Event(row_id="row", name="e", timestamp="t", naive_timezone="Europe/Berlin")
    plan = planned(events([datetime(2024, 3, 31, 2, 30), datetime(2024, 3, 31, 3, 30)]), spec)
    assert plan.reasons() == {0: "invalid_timestamp"}
    assert "Europe/Berlin" in plan.rejected["_reject"][0]["message"]
    assert plan.bodies()[0]["timestamp"] == 1_711_848_600


@pytest.mark.parametrize(
    ("column", "values"),
    [("t", ["2026-01-01"]), ("t", [1.5]), ("t", [True]), ("n", [1]), ("n", [[1]])],
)
def test_columns_of_the_wrong_type(column: str, values: list[Any]) -> None:
    frame = pl.DataFrame({"row": [1], "id": ["1"], "n": ["e"], "t": [1]}).with_columns(pl.Series(column, values))
    with pytest.raises(SpecError, match=f"column '{column}'.*cast it"):
        prepared(frame, Event(row_id="row", name_column="n", timestamp="t"))


@pytest.mark.parametrize("kind", ["event", "page", "screen"])
@pytest.mark.parametrize("key", ["id", "email", "cio_id", "phone", "anonymous_id"])
def test_events_of_every_kind(kind: Any, key: Any) -> None:
    person = {"email": "a@b", "phone": "+14155552671"}.get(key, "p")
    frame = pl.DataFrame({"row": [1], key: [person], "t": [5], "a": [1]})
    spec = Event(row_id="row", name="e", kind=kind, key=key, timestamp="t")
    plan = planned(frame, spec)
    (ulid,) = plan.operations["_ulid"]
    common = {"name": "e", "id": ulid, "timestamp": 5}
    (body,) = plan.bodies()
    v2 = {"type": "person", "identifiers": {key: person}, "action": kind, "attributes": {"a": 1}} | common
    if key == "anonymous_id":
        assert body == {"anonymous_id": person, "type": kind, "data": {"a": 1}} | common
        assert planned(frame, spec.model_copy(update={"anonymous_endpoint": "v2"})).bodies() == [v2]
    else:
        assert body == v2
    assert json.loads(plan.operations["_body"][0]) == body
