"""A workspace that holds what it accepted: nothing is reported, however odd the values."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from cio_dagster.specs import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from tests.engine import Engine
from tests.readback.conftest import clean, person

NASTY = pl.DataFrame(
    {
        "id": ["a", "b/ü?#% +", ".", "cio_x"],
        "float": [0.1, 1e300, -0.0, 5.0],
        "small": [1e-7, -123456.789, 3.0000000000000004, None],
        "whole": [0, 2**53, 2**53 + 1, -(2**62)],
        "text": ['quote " and \\ and \n', "null", "true", "[1, 2]"],
        "digits": ["007", "1.0", " spaced ", ""],
        "emoji": ["🎉", "é", "日本", None],
        "flag": [True, False, None, True],
        "day": [date(2026, 1, 1), date(1960, 2, 29), None, date(9999, 12, 31)],
        "moment": [datetime(2026, 1, 1, 12, tzinfo=timezone.utc), None, datetime(1999, 1, 1, tzinfo=timezone.utc), None],
        "clock": [time(1, 2, 3), None, time(23, 59, 59, 5), time(0)],
        "span": [timedelta(seconds=1.5), None, timedelta(days=-1), timedelta(0)],
        "price": [Decimal("12.50"), Decimal("0.00"), None, Decimal("99999999999999999.99")],
        "tags": [["x", "y"], [], None, ["", "null"]],
        "nested": [{"a": 1, "b": [1.5, None]}, {"a": None, "b": None}, None, {"a": 2**60, "b": []}],
        "raw": [b"\x00\xff", b"", None, b"abc"],
    },
    schema_overrides={"price": pl.Decimal(38, 2)},
)
DEVICES = pl.DataFrame(
    {
        "token": ["t/1 é", "t2", "t3"],
        "platform": ["iOS", "android", "ios"],
        "person": ["a", "a", "b/ü?#% +"],
        "seen": [datetime(2026, 1, 1, tzinfo=timezone.utc), None, datetime(2025, 1, 1, tzinfo=timezone.utc)],
        "version": [1.5, 2.0, None],
        "flag": [True, None, False],
    }
)


@pytest.mark.parametrize("nulls", ["omit", "clear"])
@pytest.mark.parametrize("unset", ["both", "null", "empty", "none"])
def test_people(engine: Engine, nulls: Any, unset: str) -> None:
    engine.sandbox.settings(person_unset=unset)
    spec = Person(nulls=nulls)
    seen = clean(engine, spec, engine.sync(spec, NASTY))
    assert seen.looked_at == {"rows": 4, "written": 4, "removed": 0, "failures": 0}
    assert seen.requests == 4


@pytest.mark.parametrize("nested", ["replace", "merge"])
def test_people_whose_nested_values_change(engine: Engine, nested: str) -> None:
    engine.sandbox.settings(nested_attributes=nested)
    spec = Person(attributes={"address.city": "city", "address.geo.x": "x", "source": Constant(value="warehouse")})
    clean(engine, spec, engine.sync(spec, [{"id": "a", "city": "Bonn", "x": 1.0}, {"id": "b", "city": None, "x": 2.0}]))
    engine.batch(person("a", address={"street": "Weg 1", "city": "Bonn", "geo": {"x": 1}}))
    clean(engine, spec, engine.sync(spec, [{"id": "a", "city": "Ulm", "x": 1.0}, {"id": "b", "city": None, "x": 2.5}]))


def test_people_with_names_of_their_own_meaning(engine: Engine) -> None:
    rows = [
        {"id": "a", "email": "Ada@Example.com", "unsubscribed": True, "topic": True, "created_at": 1_700_000_000, "anon": "v1"},
        {"id": "b", "email": None, "unsubscribed": False, "topic": False, "created_at": None, "anon": None},
    ]
    spec = Person(
        attributes={
            "email": "email",
            "unsubscribed": "unsubscribed",
            "cio_subscription_preferences.topics.topic_1": "topic",
            "created_at": "created_at",
            "anonymous_id": "anon",
        }
    )
    clean(engine, spec, engine.sync(spec, rows))


@pytest.mark.parametrize("key", ["email", "phone", "cio_id"])
def test_people_by_other_keys(engine: Engine, key: Any) -> None:
    values = {"email": ["Ada@Example.com", "bob+x@example.com"], "phone": ["+4915112345678", "+4915112345679"]}.get(key)
    if values is None:
        engine.batch(person("a"), person("b"))
        values = [each["cio_id"] for each in engine.sandbox.get("people")]
    spec = Person(key=key, column="who")
    clean(engine, spec, engine.sync(spec, [{"who": value, "plan": "pro"} for value in values]))


@pytest.mark.parametrize("nulls", ["omit", "clear"])
@pytest.mark.parametrize("behavior", ["update_or_create", "mirror"])
def test_objects(engine: Engine, nulls: Any, behavior: Any) -> None:
    spec = Object(object_type_id=1, column="id", nulls=nulls, behavior=behavior)
    seen = clean(engine, spec, engine.sync(spec, NASTY))
    # An object whose id would lead elsewhere in a path is not looked at; the others take a call each.
    assert seen.requests == 1 + 3


def test_devices(engine: Engine) -> None:
    spec = Device(column="person", last_used="seen", behavior="mirror")
    clean(engine, spec, engine.sync(spec, DEVICES))
    # The app itself says when it was last used, and that is later.
    device = {"token": "t3", "platform": "ios", "last_used": 1_790_000_000}
    engine.batch({"type": "person", "action": "add_device", "identifiers": {"id": "b/ü?#% +"}, "device": device})
    clean(engine, spec, engine.sync(spec, DEVICES.with_columns(version=pl.lit(3))))


def test_events(engine: Engine) -> None:
    spec = Event(row_id="row", column="who", name="ordered", start="all")
    seen = clean(engine, spec, engine.sync(spec, [{"row": "1", "who": "a", "n": 1.5}, {"row": "2", "who": "b", "n": None}]))
    assert seen.requests == 1


def test_collections(engine: Engine) -> None:
    spec = Collection(name="Things")
    seen = clean(engine, spec, engine.sync(spec, pl.concat([NASTY, NASTY.head(1)])))
    assert seen.looked_at["found_rows"] == seen.looked_at["rows"] == 5
    # Customer.io may spell numbers in its own way, so the bytes are told, and not compared.
    assert seen.looked_at["found_bytes"] > 1_000
    assert seen.requests == 2


@pytest.mark.parametrize("key", ["id", "email", "cio_id"])
def test_segments(engine: Engine, key: Any) -> None:
    engine.batch(person("a/b", email="Ada@Example.com"), person("b", email="bob@example.com"), person("other"))
    people = engine.sandbox.get("people")[:2]
    rows = [{"who": each[key]} for each in people]
    spec = ManualSegment(name="VIP", key=key, column="who", behavior="mirror")
    seen = clean(engine, spec, engine.sync(spec, rows))
    assert seen.looked_at["found_members"] == 2
    # Members whom others put there are no difference.
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/add_customers", {"ids": ["other"]})
    seen = clean(engine, spec, engine.sync(spec, rows))
    assert seen.looked_at["found_members"] == 3


def test_relationships(engine: Engine) -> None:
    spec = Relationship(object_type_id=1, object_column="o", column="p", behavior="mirror")
    rows = [
        {"o": "o/1 ü", "p": "a+b", "role": "boss"},
        {"o": "o2", "p": "a+b", "role": None},
        {"o": "o2", "p": "c", "role": "x"},
    ]
    seen = clean(engine, spec, engine.sync(spec, rows))
    assert seen.requests == 1 + 2


def test_many_pages_of_a_persons_relationships(engine: Engine) -> None:
    spec = Relationship(object_type_id=1, object_column="o", column="p")
    seen = clean(engine, spec, engine.sync(spec, [{"o": f"o{n}", "p": "a"} for n in range(120)]), max_requests=1_000)
    assert seen.requests == 1 + 3


def test_rows_removed_and_what_the_run_did_not_touch(engine: Engine) -> None:
    spec = Object(object_type_id=1, column="id", behavior="mirror")
    engine.sync(spec, [{"id": f"o{n}", "n": n} for n in range(5)])
    report = engine.sync(spec, [{"id": "o0", "n": 0}, {"id": "o1", "n": 7}, {"id": "o2", "n": 2}])
    seen = clean(engine, spec, report)
    assert seen.looked_at == {"rows": 1, "written": 1, "removed": 2, "failures": 0}


def test_nothing_delivered_nothing_read(engine: Engine) -> None:
    spec = Person()
    engine.sync(spec, [{"id": "a", "n": 1}])
    seen = clean(engine, spec, engine.sync(spec, [{"id": "a", "n": 1}]))
    assert seen.looked_at["rows"] == seen.looked_at["written"] == 0
    # Only whether a failed change has come to light since.
    read = [request["path"] for request in engine.requests() if request["api"] == "app"]
    assert len(read) == seen.requests == 3
    assert all(path.startswith("/v1/activities?") for path in read)


def test_an_asset_without_a_snapshot(engine: Engine) -> None:
    from cio_dagster.checks.readback import read_back

    seen = read_back(Person(), engine.state(), engine.connection(), since=datetime.now(timezone.utc), run_id="r")
    assert seen.notes == ["There is no snapshot yet."]
