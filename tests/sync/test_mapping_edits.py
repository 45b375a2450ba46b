"""A changed mapping sends what is new in it; it never removes a row, nor makes one anew."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from cio_dagster import Device, Object, Person, Relationship
from cio_dagster import sync as sync_room
from cio_dagster.plan import Plan
from cio_dagster.specs import AnySpec
from cio_dagster.sync import RunOptions
from tests.engine import Engine

ROWS = pl.DataFrame(
    {
        "id": ["p1", "p2", "p3"],
        "plan": ["free", "pro", None],
        "city": ["Oslo", "Rome", "Lima"],
        "since": [datetime(2026, 1, 1), datetime(2026, 1, 2), None],
    }
)
BEFORE: dict[str, Any] = {"attributes": {"plan": "plan", "since": "since"}}

EDITS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "renamed": ({"attributes": {"tier": "plan", "since": "since"}}, [{"tier": "free"}, {"tier": "pro"}]),
    "renamed by case": ({"attributes": {"Plan": "plan", "since": "since"}}, [{"Plan": "free"}, {"Plan": "pro"}]),
    "added": ({"attributes": BEFORE["attributes"] | {"city": "city"}}, [{"city": "Oslo"}, {"city": "Rome"}, {"city": "Lima"}]),
    "added inside another": (
        {"attributes": BEFORE["attributes"] | {"home.city": "city"}},
        [{"home": {"city": "Oslo"}}, {"home": {"city": "Rome"}}, {"home": {"city": "Lima"}}],
    ),
    "dropped": ({"attributes": {"since": "since"}}, []),
    "from another column": (
        {"attributes": {"plan": "city", "since": "since"}},
        [{"plan": "Oslo"}, {"plan": "Rome"}, {"plan": "Lima"}],
    ),
    "nulls are cleared": (BEFORE | {"nulls": {"plan": "clear"}}, [{"plan": None}]),
    "dates in another form": (
        BEFORE | {"dates": "iso"},
        [{"since": "2026-01-01T00:00:00Z"}, {"since": "2026-01-02T00:00:00Z"}],
    ),
    "another time zone": (BEFORE | {"naive_timezone": "Asia/Tokyo"}, [{"since": 1767193200}, {"since": 1767279600}]),
    "sent whole": (BEFORE | {"send": "all"}, []),
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that are handed to deliver, as they are sent."""
    bodies: list[str] = []
    real = sync_room.delivery.deliver

    def deliver(plan: Plan, *rest: Any) -> None:
        bodies.extend(plan.operations().collect()["_body"])
        real(plan, *rest)

    monkeypatch.setattr(sync_room.delivery, "deliver", deliver)
    return bodies


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_mapping_sends_the_new_attributes_only(engine: Engine, sent: list[str], edit: str) -> None:
    changes, news = EDITS[edit]
    mirror: dict[str, Any] = {"behavior": "mirror", "delete_people": True, "max_delete": 0, "max_new_people": 0}
    engine.sync(Person(**BEFORE), ROWS)
    people = {person["id"]: person["cio_id"] for person in engine.sandbox.get("people")}
    sent.clear()

    report = engine.sync(Person(**mirror | changes), ROWS)
    assert (report.created, report.removed, report.updated) == (0, 0, len(news))
    assert report.planned.unchanged == len(ROWS) - len(news)
    operations = sorted((json.loads(body) for body in sent), key=lambda each: str(each["identifiers"]))
    assert [(each["action"], each["attributes"]) for each in operations] == [("identify", attributes) for attributes in news]
    assert {person["id"]: person["cio_id"] for person in engine.sandbox.get("people")} == people, "the same people"

    again = engine.sync(Person(**mirror | changes), ROWS)
    assert (again.planned.unchanged, again.requests) == (len(ROWS), 0)


def test_what_a_mapping_drops_stays_in_customerio(engine: Engine) -> None:
    engine.sync(Person(**BEFORE), ROWS)
    engine.sync(Person(attributes={"tier": "plan"}), ROWS)
    attributes = {person["id"]: person["attributes"] for person in engine.sandbox.get("people")}
    assert attributes["p2"] == {"plan": "pro", "tier": "pro", "since": 1767312000}


@pytest.mark.parametrize("nulls", ["omit", "clear"])
def test_a_policy_for_nulls_that_is_taken_back_changes_nothing(engine: Engine, nulls: Any) -> None:
    engine.sync(Person(**BEFORE, nulls="clear"), ROWS)
    report = engine.sync(Person(**BEFORE, nulls=nulls), ROWS)
    assert (report.updated, report.requests) == (0, 0)


@pytest.mark.parametrize(
    "spec",
    [
        Device(behavior="mirror", attributes={"a": "plan"}, max_delete=0),
        Object(object_type_id=1, column="id", behavior="mirror", attributes={"a": "plan"}, max_delete=0),
        Relationship(object_type_id=1, behavior="mirror", attributes={"a": "plan"}, max_delete=0),
    ],
    ids=lambda each: each.object,
)
def test_the_same_of_everything_that_has_attributes(engine: Engine, sent: list[str], spec: AnySpec) -> None:
    engine.sync(Person(**BEFORE), ROWS, asset="people")
    rows = ROWS.with_columns(token=pl.concat_str(pl.lit("t"), "id"), platform=pl.lit("ios"), object_id=pl.lit("o"))
    engine.sync(spec, rows)
    sent.clear()
    edited = spec.model_copy(update={"attributes": {"a": "plan", "town": "city"}})
    report = engine.sync(edited, rows)
    assert (report.created, report.updated, report.removed) == (0, 3, 0)
    assert len(sent) == 3
    assert all('"town":' in body and '"a":' not in body and "delete" not in body for body in sent)


def test_a_mass_change_stops_with_its_attributes_named_and_goes_once_it_is_allowed(engine: Engine) -> None:
    engine.sync(Person(**BEFORE), ROWS)
    before = len(engine.requests(writes=True))
    spec = Person(attributes=BEFORE["attributes"] | {"town": "city"}, max_changed=0.5)
    preview = engine.sync(spec, ROWS, options=RunOptions(dry_run=True))
    assert any("'town' (in 3)" in verdict for verdict in preview.stops)
    assert len(engine.requests(writes=True)) == before
    report = engine.sync(spec, ROWS, options=RunOptions(allow_changes=True))
    assert report.updated == 3


def test_what_the_warning_about_a_shared_email_says_is_what_happens(engine: Engine) -> None:
    """One person, re-labelled by each row in turn; where each row is a person already, the email stays with the first."""
    rows = [{"id": "1", "email": "ada@x.org"}, {"id": "2", "email": "ada@x.org"}]
    report = engine.sync(Person(), rows)
    assert [(each["problem"], each["rows"]) for each in report.identity] == [("shared_email", 2)]
    assert "re-labels that person" in report.all_warnings[0]
    assert len(engine.sandbox.get("people")) == 1, "two rows, one person"

    engine.sandbox.reset()
    engine.sync(Person(), [{"id": "1"}, {"id": "2"}], asset="other")
    engine.sync(Person(), rows, asset="another")
    assert {person["id"]: person["email"] for person in engine.sandbox.get("people")} == {"1": "ada@x.org", "2": None}
    assert "failed_attribute_change" in {each["type"] for each in engine.sandbox.get("activities")}
