"""Which combinations a spec allows, and what it says of the others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from cio_dagster import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.specs import AnySpec

ROW = {"row_id": "row"}
NAMED = {"name": "Order placed"}
TYPE = {"object_type_id": 1}

KEYS: list[tuple[type[Any], dict[str, Any], set[str]]] = [
    (Person, {}, {"id", "email", "cio_id", "phone"}),
    (Device, {}, {"id", "email", "cio_id"}),
    (Event, ROW | NAMED, {"id", "email", "cio_id", "phone", "anonymous_id"}),
    (ManualSegment, NAMED, {"id", "email", "cio_id"}),
    (Relationship, TYPE, {"id", "email", "cio_id"}),
]
BEHAVIORS: list[tuple[type[Any], dict[str, Any], set[str]]] = [
    (Person, {"delete_people": True}, {"update_or_create", "update_only", "mirror"}),
    (Device, {}, {"update_or_create", "mirror"}),
    (Event, ROW | NAMED, {"send"}),
    (Collection, NAMED, {"replace"}),
    (ManualSegment, NAMED, {"update_or_create", "mirror"}),
    (Object, TYPE, {"update_or_create", "mirror"}),
    (Relationship, TYPE, {"update_or_create", "mirror"}),
]
EVERY_KEY = {"id", "email", "cio_id", "phone", "anonymous_id", "object_id", "cio_object_id", "ID", "", "user_id"}
EVERY_BEHAVIOR = {"update_or_create", "update_only", "mirror", "send", "replace", "create_only", "Mirror", "", "delete"}


@pytest.mark.parametrize(("kind", "rest", "allowed"), KEYS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_sync_key_is_one_of_the_allowed_ones(kind: type[Any], rest: dict[str, Any], allowed: set[str]) -> None:
    for key in allowed:
        spec = kind(key=key, **rest)
        assert spec.identifiers["person"].kind == key
        assert spec.identifiers["person"].column == key, "a column is named as the key, if nothing is said"
        assert kind(key=key, column="c", **rest).identifiers["person"].column == "c"
    for key in EVERY_KEY - allowed:
        with pytest.raises(ValidationError) as error:
            kind(key=key, **rest)
        assert all(f"'{each}'" in str(error.value) for each in allowed), "the error names the allowed keys"


@pytest.mark.parametrize(("kind", "rest", "allowed"), BEHAVIORS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_behavior_is_one_of_the_allowed_ones(kind: type[Any], rest: dict[str, Any], allowed: set[str]) -> None:
    for behavior in allowed:
        assert kind(behavior=behavior, **rest).removes == (behavior in ("mirror", "replace"))
    for behavior in EVERY_BEHAVIOR - allowed:
        with pytest.raises(ValidationError) as error:
            kind(behavior=behavior, **rest)
        assert all(f"'{each}'" in str(error.value) for each in allowed), "the error names the allowed behaviours"


@pytest.mark.parametrize("kind", [Collection, Object])
def test_collections_and_objects_have_no_people(kind: type[Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind(key="id", **(NAMED if kind is Collection else TYPE))


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (Person, {"behavior": "mirror"}, "delete_people=True"),
        (Person, {"keys": "id"}, "Extra inputs"),
        (Person, {"nulls": "null"}, "'omit' or 'clear'"),
        (Person, {"nulls": {"a": "drop"}}, "'omit' or 'clear'"),
        (Person, {"send": "some"}, "'changed' or 'all'"),
        (Person, {"dates": "millis"}, "'unix' or 'iso'"),
        (Person, {"dates": {"a": "millis"}}, "'unix' or 'iso'"),
        (Person, {"naive_timezone": "Mars/Olympus"}, "IANA"),
        (Person, {"naive_timezone": "../etc/passwd"}, "IANA"),
        (Person, {"naive_timezone": ""}, "IANA"),
        (Person, {"max_delete": -1}, "greater than or equal to 0"),
        (Person, {"max_delete": 1.5}, "less than or equal to 1"),
        (Person, {"max_rejected": -0.1}, "greater than or equal to 0"),
        (Person, {"attributes": {"a": 1}}, "attributes"),
        (Person, {"attributes": ["a"]}, "dictionary"),
        (Event, {"name": "x"}, "row_id"),
        (Event, ROW, "name='...'.*name_column='...'"),
        (Event, ROW | NAMED | {"name_column": "n"}, "just one"),
        (Event, ROW | {"name": " "}, "blank"),
        (Event, ROW | {"name": "é" * 51}, "102 bytes; the limit is 100"),
        (Event, ROW | NAMED | {"start": "yesterday"}, "'now' or 'all'"),
        (Event, ROW | NAMED | {"start": datetime(2026, 1, 1)}, "timestamp="),
        (Event, ROW | NAMED | {"kind": "click"}, "'event', 'page' or 'screen'"),
        (Event, ROW | NAMED | {"anonymous_endpoint": "v3"}, "'v1' or 'v2'"),
        (Collection, {}, "just one"),
        (Collection, {"name": "x", "id": 1}, "just one"),
        (Collection, {"name": ""}, "blank"),
        (ManualSegment, {}, "just one"),
        (ManualSegment, {"name": "x", "id": 1}, "just one"),
        (ManualSegment, NAMED | {"attributes": {"a": "b"}}, "at most 0"),
        (ManualSegment, NAMED | {"baseline": "customerio"}, "behavior='mirror'"),
        (ManualSegment, NAMED | {"behavior": "mirror", "baseline": "api"}, "'snapshot' or 'customerio'"),
        (Object, {}, "object_type_id"),
        (Object, {"object_type_id": 0}, "greater than or equal to 1"),
        (Object, {"object_type_id": "one"}, "valid integer"),
        (Object, TYPE | {"baseline": "customerio"}, "behavior='mirror'"),
        (Relationship, TYPE | {"baseline": "customerio"}, "Extra inputs"),
        (Device, {"baseline": "customerio"}, "Extra inputs"),
    ],
)
def test_what_a_wrong_combination_is_told(kind: type[Any], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        kind(**arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, [1], {"a": 1}])
def test_a_constant_is_something_that_json_can_say(value: Any) -> None:
    with pytest.raises(ValidationError):
        Constant(value=value)


def test_an_object_type_may_be_written_as_text() -> None:
    assert Object(object_type_id="2").object_type_id == 2  # type: ignore[arg-type]


def test_a_spec_does_not_change() -> None:
    spec = Person()
    with pytest.raises(ValidationError, match="frozen"):
        spec.key = "email"


def test_defaults() -> None:
    for spec in (Person(), Device(), Object(object_type_id=1), Relationship(object_type_id=1)):
        assert (spec.behavior, spec.send, spec.max_delete, spec.max_rejected) == ("update_or_create", "changed", None, None)
        assert (spec.attributes, spec.dates, spec.naive_timezone, spec.keep_newest_by) == (None, "unix", "UTC", None)
        assert spec.null_policy("any") == "omit"
    assert ManualSegment(name="x").baseline == "snapshot"
    event = Event(row_id="row", name="x")
    assert (event.kind, event.start, event.anonymous_endpoint, event.timestamp) == ("event", None, "v1", None)


def test_policies_by_column() -> None:
    spec = Person(nulls={"a": "clear"}, dates={"a": "iso"})
    assert [spec.null_policy(each) for each in "ab"] == ["clear", "omit"]
    assert [spec.date_format(each) for each in "ab"] == ["iso", "unix"]
    assert Person(nulls="clear").null_policy("any") == "clear"
    assert Person(dates="iso").date_format("any") == "iso"


@pytest.mark.parametrize(
    ("spec", "key", "identity"),
    [
        (Person(key="email"), ["person"], {"object": "person", "person": "email"}),
        (Device(), ["token", "person"], {"object": "device", "token": "token", "person": "id"}),
        (Event(row_id="r", name="x"), ["row_id"], {"object": "event", "row_id": "row_id"}),
        (Collection(name="plans"), [], {"object": "collection", "collection": "plans"}),
        (Collection(id=3), [], {"object": "collection", "collection": "id 3"}),
        (ManualSegment(name="vip"), ["person"], {"object": "segment", "person": "id", "segment": "vip"}),
        (Object(object_type_id=4), ["object"], {"object": "object", "object_type_id": "4"}),
        (
            Relationship(object_type_id=4, key="email"),
            ["object", "person"],
            {"object": "relationship", "person": "email", "object_type_id": "4"},
        ),
    ],
)
def test_what_names_a_row_and_what_must_not_change(spec: AnySpec, key: list[str], identity: dict[str, str]) -> None:
    assert spec.sync_key == key
    assert spec.identity == identity


def test_the_columns_of_fields() -> None:
    assert Device(last_used="seen").fields == {"platform": "platform", "last_used": "seen"}
    assert Device(platform="os").fields == {"platform": "os"}
    assert Event(row_id="r", name="x", timestamp="t").fields == {"timestamp": "t"}
    assert Event(row_id="r", name_column="n").fields == {"name": "n"}


def test_only_anonymous_events_of_v1_go_one_by_one() -> None:
    assert Event(row_id="r", name="x", key="anonymous_id").single
    assert not Event(row_id="r", name="x", key="anonymous_id", anonymous_endpoint="v2").single
    assert not Event(row_id="r", name="x").single
