"""Which columns become which attributes, and what cannot be one."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from cio_dagster import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.errors import SpecError
from cio_dagster.prepare.columns import INTERNAL
from tests.plans import planned, prepared


def attributes(frame: pl.DataFrame, spec: Any) -> list[dict[str, Any]]:
    """What is sent as attributes, row by row."""
    return [body["attributes"] for body in planned(frame, spec).bodies()]


ROW = pl.DataFrame({"id": ["1"], "a": [1], "b": ["x"], "c": [None]}, schema_overrides={"c": pl.Int64})


def test_every_other_column_is_sent_if_nothing_is_said() -> None:
    assert attributes(ROW, Person()) == [{"a": 1, "b": "x"}]
    assert attributes(ROW.rename({"id": "customer"}), Person(column="customer")) == [{"a": 1, "b": "x"}]


def test_a_mapping_sends_what_it_names() -> None:
    assert attributes(ROW, Person(attributes={"b": "a"})) == [{"b": 1}]
    assert attributes(ROW, Person(attributes={})) == [{}]
    assert attributes(ROW, Person(attributes={"b": "a", "a": "b"})) == [{"b": 1, "a": "x"}], "names that swap columns"
    assert attributes(ROW, Person(attributes={"one": "a", "two": "a"})) == [{"one": 1, "two": 1}]
    assert attributes(ROW, Person(attributes={"the id": "id"})) == [{"the id": "1"}], "the key's column, under another name"


def test_constants() -> None:
    spec = Person(
        attributes={
            "text": Constant(value='a "b"'),
            "yes": Constant(value=True),
            "int": Constant(value=3),
            "big": Constant(value=2**53 + 1),
            "float": Constant(value=1.5),
        }
    )
    assert attributes(ROW, spec) == [{"text": 'a "b"', "yes": True, "int": 3, "big": str(2**53 + 1), "float": 1.5}]


def test_dotted_names_build_nested_values() -> None:
    spec = Person(attributes={"x.y.z": "a", "x.w": Constant(value=1), "v": "b", "x.y.n": "c", "u.n": "c"})
    assert attributes(ROW, spec) == [{"x": {"y": {"z": 1}, "w": 1}, "v": "x"}], (
        "parts that are null are left out, and empty wholes too"
    )
    assert attributes(ROW, Person(nulls="clear", attributes={"u.n": "c"})) == [{"u": {"n": None}}]


def test_topics_keep_their_dots() -> None:
    topic = "cio_subscription_preferences.topics.topic_1"
    spec = Person(attributes={topic: Constant(value=True), "cio_subscription_preferences.other": "a"})
    assert attributes(ROW, spec) == [{topic: True, "cio_subscription_preferences": {"other": 1}}]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"x": "a", "x.y": "b"}, "'x.y' would be inside 'x'"),
        ({"x.y": "b", "x": "a"}, "'x' is mapped twice, or is inside another"),
        ({"x.y.z": "b", "x.y": "a"}, "'x.y' is mapped twice"),
        ({"x": Constant(value=1), "x.y": "a"}, "'x.y' would be inside 'x'"),
        ({"": "a"}, "'' has an empty part"),
        ({".x": "a"}, "has an empty part"),
        ({"x.": "a"}, "has an empty part"),
        ({"x..y": "a"}, "has an empty part"),
        ({"x": "nope"}, "column 'nope', which the query does not give"),
        ({"Plan": "a", "plan": "b"}, "'Plan' and 'plan' differ by case only"),
        ({"É": "a", "é": "b"}, "differ by case only"),
        ({"n" * 151: "a"}, "151 bytes; the limit is 150"),
        ({"é" * 76: "a"}, "152 bytes; the limit is 150"),
        ({"id": "a"}, "could give people another id"),
        ({"cio_id": "a"}, "Customer.io's own"),
        ({"_update": "a"}, "Customer.io's own"),
        ({"_timestamp": "a"}, "Customer.io's own"),
        ({"cio_relationships": "a"}, "Customer.io's own"),
        ({"*": "a"}, "stands for many columns"),
        ({"^a$": "a"}, "stands for many columns"),
        ({"^$": "a"}, "stands for many columns"),
        ({"a\x00b": "a"}, "NUL character"),
        *(({name: "a"}, "snapshots use|Customer.io's own") for name in sorted(INTERNAL)),
        ({"_KEY": "a"}, "snapshots use"),
        ({"_source:a": "a"}, "snapshots use"),
        ({"_new:a": "a"}, "snapshots use"),
        ({"_OLD:a": "a"}, "snapshots use"),
    ],
)
def test_attributes_that_cannot_be(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        prepared(ROW, Person(attributes=mapping))


def test_case_inside_nested_values_is_nobodys_concern() -> None:
    assert attributes(ROW, Person(attributes={"x.Y": "a", "x.y": "b"})) == [{"x": {"Y": 1, "y": "x"}}]


def test_the_longest_names() -> None:
    for name in ("n" * 150, "é" * 75):
        assert attributes(ROW, Person(attributes={name: "a"})) == [{name: 1}]


NAMES = [
    "new:a", "old:a", "source:a", "_row:", "__x", "_hash", "_old_hash", "_is", "_index", "len", "literal", "element", "column_0", "^a", "a$",
    "a b", " a ", "a\nb", "a\tb", 'a"b', "a'b", "a\\b", "a/b", "a,b;c", "{}", "{a}", "{{}}", "%s", "$1", "\x01", "é", "日本", "😀", "\u2028",
    "reason", "field", "message", "at", "key", "operation", "null", "true", "1", "-", "name", "type", "attributes", "identifiers", "phone",
    "created_at", "unsubscribed", "index", "count", "_",
]  # fmt: skip


@pytest.mark.parametrize(
    "spec", [Person(), Object(object_type_id=1, column="id"), Collection(name="c")], ids=lambda each: each.object
)
def test_names_of_any_kind(spec: Any) -> None:
    frame = pl.DataFrame({"id": ["1", "2"]} | {name: [place, None] for place, name in enumerate(NAMES)})
    plan = planned(frame, spec)
    expected = {name: place for place, name in enumerate(NAMES)}
    if isinstance(spec, Collection):
        assert plan.bodies() == [{"id": "1"} | expected, {"id": "2"}]
        return
    assert [each["attributes"] for each in plan.bodies()] == [expected, {}]
    changed = planned(frame.with_columns(pl.col("{}") + 1), spec, snapshot=plan.snapshot(None, spec))
    assert [each["attributes"] for each in changed.bodies()] == [{"{}": expected["{}"] + 1}]
    assert changed.counts.unchanged == 1


@pytest.mark.parametrize(
    "column", ["*", "^.*$", "^a$", "", ".", "a.b", "{}", "_row", "_key", "_reject", "_source:a", "n" * 400, "a\nb"]
)
def test_columns_of_any_name_under_another(column: str) -> None:
    frame = pl.DataFrame({"id": ["1", "2"], "a": [0.0, 0.0], column: [1.5, float("nan")]})
    plan = planned(frame, Person(attributes={"x": column}))
    assert plan.bodies()[0]["attributes"] == {"x": 1.5}
    assert plan.reasons() == {1: "not_a_number"}
    assert plan.rejected["_reject"][0]["field"] == column


@pytest.mark.parametrize("column", ["*", "^.*$", "", "{}", "_person", "a.b"])
def test_keys_in_columns_of_any_name(column: str) -> None:
    frame = pl.DataFrame({column: ["1", None, "x" * 200]})
    plan = planned(frame, Person(column=column, attributes={}))
    assert plan.keys("create") == {"1"}
    assert plan.reasons() == {1: "missing_key", 2: "key_too_long"}
    assert set(plan.rejected["_reject"].struct.field("field")) == {column}


def test_a_dot_in_a_columns_own_name_stays() -> None:
    frame = pl.DataFrame({"id": [1], "address.city": ["Oslo"]})
    assert attributes(frame, Person()) == [{"address.city": "Oslo"}]
    assert attributes(frame, Person(attributes={"address.city": "address.city"})) == [{"address": {"city": "Oslo"}}]


def test_nulls_are_left_out_or_sent() -> None:
    frame = pl.DataFrame({"id": [1, 2], "a": [None, 1], "b": [None, "x"]})
    assert attributes(frame, Person()) == [{}, {"a": 1, "b": "x"}]
    assert attributes(frame, Person(nulls="clear")) == [{"a": None, "b": None}, {"a": 1, "b": "x"}]
    assert attributes(frame, Person(nulls={"b": "clear"})) == [{"b": None}, {"a": 1, "b": "x"}]
    renamed = Person(nulls={"a": "clear"}, attributes={"b": "a", "a": "b"})
    assert attributes(frame, renamed) == [{"b": None}, {"b": 1, "a": "x"}], "policies are by column"


def test_strings_that_say_null_are_strings() -> None:
    assert attributes(pl.DataFrame({"id": [1], "a": ["null"]}), Person(nulls="clear")) == [{"a": "null"}]


def test_dates_by_column() -> None:
    frame = pl.DataFrame({"id": [1], "a": [date(2026, 1, 1)], "b": [date(2026, 1, 1)]})
    assert attributes(frame, Person(dates={"b": "iso"})) == [{"a": 1_767_225_600, "b": "2026-01-01"}]
    assert attributes(frame, Person(dates="iso")) == [{"a": "2026-01-01", "b": "2026-01-01"}]
    swapped = Person(dates={"b": "iso"}, attributes={"a": "b", "b": "a"})
    assert attributes(frame, swapped) == [{"a": "2026-01-01", "b": 1_767_225_600}]


def test_attributes_that_identify_people_are_strings() -> None:
    frame = pl.DataFrame(
        {"email": ["a@b", "c@d", "e@f", "g@h"], "id": [1.0, None, 1.5, 2.0], "anonymous_id": ["", "x", "y", "z" * 151]}
    )
    plan = planned(frame, Person(key="email"))
    assert [each["attributes"] for each in plan.bodies()] == [{"id": "1"}, {"anonymous_id": "x"}]
    assert plan.reasons() == {2: "invalid_key", 3: "key_too_long"}
    with pytest.raises(SpecError, match="takes text or whole numbers"):
        prepared(frame.with_columns(id=pl.lit(True)), Person(key="email"))


def test_the_attribute_email_is_trimmed_and_checked() -> None:
    emails = [" A@b.c ", None, " ", "a b@c", "ab", "a\n@b"]
    frame = pl.DataFrame({"id": range(len(emails)), "mail": emails})
    plan = planned(frame, Person(attributes={"email": "mail"}))
    assert [each["attributes"] for each in plan.bodies()] == [{"email": "A@b.c"}, {}, {}]
    assert plan.reasons() == {3: "invalid_email", 4: "invalid_email", 5: "invalid_email"}
    cleared = planned(frame.head(3), Person(attributes={"email": "mail"}, nulls="clear"))
    assert [each["attributes"] for each in cleared.bodies()] == [{"email": "A@b.c"}, {"email": None}, {"email": None}]
    other = planned(frame, Object(object_type_id=1, column="id", attributes={"email": "mail"}))
    assert other.counts.create == len(emails), "only people's emails identify"


def test_devices_take_strings_only() -> None:
    frame = pl.DataFrame(
        {
            "token": ["t"],
            "id": [1],
            "platform": ["iOS"],
            "on": [True],
            "n": [2],
            "s": ['"x'],
            "l": [[1]],
            "z": [None],
            "d": [date(1970, 1, 2)],
        }
    )
    (body,) = planned(frame, Device()).bodies()
    assert body["device"]["attributes"] == {"on": "true", "n": "2", "s": '"x', "l": "[1]", "d": "86400"}


def test_relationships_events_and_collections_have_attributes_too() -> None:
    (body,) = planned(ROW.with_columns(object_id=pl.lit(7)), Relationship(object_type_id=1)).bodies()
    assert body["cio_relationships"][0]["relationship_attributes"] == {"a": 1, "b": "x"}
    (body,) = planned(ROW.with_columns(row=pl.lit(7)), Event(row_id="row", name="e")).bodies()
    assert body["attributes"] == {"a": 1, "b": "x"}
    assert planned(ROW, Collection(name="c", attributes={"n.m": "a"})).bodies() == [{"n": {"m": 1}}]


def test_members_of_segments_have_no_attributes() -> None:
    assert planned(ROW, ManualSegment(name="vip")).bodies() == ["1"]


def test_values_of_constants_and_columns_that_identify_are_held_to_their_limits() -> None:
    plan = planned(ROW, Person(attributes={"a": Constant(value="x" * 1_001)}))
    assert plan.reasons() == {0: "value_too_long"}
    assert planned(ROW, Person(attributes={"a": Constant(value="x" * 1_000)})).counts.create == 1
