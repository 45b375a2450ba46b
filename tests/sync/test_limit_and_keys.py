"""Runs that send only so much, or only what is about some keys: the rest stays as it is, and is not lost."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from cio_dagster.errors import GuardError, SpecError
from cio_dagster.specs import Collection, Device, Event, ManualSegment, Object, Person
from cio_dagster.sync import RunOptions
from tests.engine import Engine

MIRROR = Person(behavior="mirror", delete_people=True)
MEMBERS = ManualSegment(name="s", behavior="mirror")


def people(*ids: str, plan: str = "free") -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "plan": [plan] * len(ids)}, schema={"id": pl.String, "plan": pl.String})


def snapshot(engine: Engine) -> dict[str, Any]:
    found = engine.state().snapshot()
    assert found is not None
    return {row["_key"]: row for row in found.collect().to_dicts()}


def only(*keys: str, **options: Any) -> RunOptions:
    return RunOptions(only_keys=keys, **options)


def there(engine: Engine) -> dict[str, str]:
    return {each["id"]: each["attributes"]["plan"] for each in engine.sandbox.get("people")}


def test_a_limit_removes_first_and_leaves_the_rest_pending(engine: Engine) -> None:
    engine.sync(MIRROR, people("a", "b"))
    after = pl.concat([people("b", plan="pro"), people("c")])
    report = engine.sync(MIRROR, after, options=RunOptions(limit=1))
    assert (report.removed, report.pending, report.deferred, report.error) == (1, 2, 2, None)
    assert there(engine) == {"b": "free"}
    pending = engine.outcomes(run_id=report.run_id, outcome="pending")
    assert {(each["key"], each["operation"], each["reason"]) for each in pending} == {
        ("b", "update", "limit"),
        ("c", "create", "limit"),
    }
    assert engine.state().unsettled() is None, "nobody tried to send them"
    report = engine.sync(MIRROR, after)
    assert (report.updated, report.created, report.pending) == (1, 1, 0)
    assert there(engine) == {"b": "pro", "c": "free"}


def test_a_limit_is_no_way_around_a_guard(engine: Engine) -> None:
    engine.sync(MIRROR, people(*(f"{n}" for n in range(40))))
    for options in (RunOptions(limit=1), RunOptions(only_keys=[f"{n}" for n in range(20)])):
        with pytest.raises(GuardError, match="of 40 rows would be removed"):
            engine.sync(MIRROR, people(*(f"{n}" for n in range(20, 40))), options=options)
    report = engine.sync(MIRROR, people(*(f"{n}" for n in range(20, 40))), options=RunOptions(limit=1, allow_deletes=True))
    assert (report.removed, report.deferred) == (1, 19)


def test_a_limit_after_a_crash_leaves_nothing_unsettled_that_was_not_to_be_sent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cio_dagster.sync.commit", crash)
        with pytest.raises(KeyboardInterrupt):
            engine.sync(Person(), people("a", "b", "c"), options=RunOptions(limit=2))
    assert len(engine.sandbox.get("people")) == 2
    report = engine.sync(Person(), people("a", "b", "c"))
    assert (report.recovered, report.created) == (2, 1)


def test_only_the_chosen_rows_are_touched(engine: Engine) -> None:
    engine.sync(MIRROR, people("a", "b", "gone", "left"))
    before = snapshot(engine)
    after = pl.concat([people("a", "b", "new", plan="pro"), people("x", "x")])
    report = engine.sync(MIRROR, after, options=only("b", "gone", "x", "y"))
    assert (report.updated, report.removed, report.created, report.rejected) == (1, 1, 0, 2)
    assert (report.planned.not_chosen, report.unknown_keys) == (2, ["y"])
    assert "1 of only_keys (such as y) are neither in the source nor known from it." in report.all_warnings
    assert there(engine) == {"a": "free", "b": "pro", "left": "free"}
    now = snapshot(engine)
    assert set(now) == {"a", "b", "left"}
    assert (now["a"], now["left"]) == (before["a"], before["left"])
    report = engine.sync(MIRROR, people("a", "b", "new", "left", plan="pro"))
    assert (report.updated, report.created, report.removed) == (2, 1, 0)


def test_guards_look_at_the_whole_source(engine: Engine) -> None:
    """A run of one key neither trips over the rest nor gets around a source that is empty."""
    spec = MEMBERS.model_copy(update={"max_delete": 0.1})
    engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": f"{n}"}} for n in range(20)))
    engine.sync(spec, people(*(f"{n}" for n in range(20))).select("id"))
    with pytest.raises(GuardError, match="the source is empty"):
        engine.sync(spec, people().select("id"), options=only("3"))
    report = engine.sync(spec, people(*(f"{n}" for n in range(19))).select("id"), options=only("3", "19"))
    assert (report.removed, report.planned.known) == (1, 20)
    assert report.warnings == []


def test_rows_that_were_not_chosen_are_compared_with_all_the_same(engine: Engine) -> None:
    rows = [{"id": "1", "email": "a@x.org"}, {"id": "2", "email": "A@x.org"}, {"id": "3", "email": "c@x.org"}]
    report = engine.sync(Person(identity_checks="reject"), rows, options=only("2", "3"))
    assert (report.created, report.rejected, report.planned.not_chosen) == (1, 1, 1)
    [reject] = report.rejects
    assert (reject["reason"], reject["example"]) == ("shared_email", "2")
    report = engine.sync(Person(), rows, options=only("3"))
    assert report.identity == []


def test_keys_are_those_of_the_outcomes(engine: Engine) -> None:
    engine.batch({"type": "person", "action": "identify", "identifiers": {"id": "1"}})
    emails = [{"email": "Ada@x.org"}, {"email": "bob@x.org"}]
    assert engine.sync(Person(key="email"), emails, options=only(" ADA@x.org")).created == 1
    devices = [{"token": t, "platform": "ios", "id": "1"} for t in ("x", "y")]
    assert engine.sync(Device(), devices, asset="devices", options=only('["x","1"]')).created == 1
    assert len(engine.sandbox.get("devices")) == 1


def test_of_what_customerio_holds_only_the_chosen_is_taken_over(engine: Engine) -> None:
    spec = Object(object_type_id=1, behavior="mirror", baseline="customerio")
    engine.sync(spec, [{"object_id": f"{n}", "name": "x"} for n in range(4)])
    before = snapshot(engine)
    for id in ("2", "3", "other"):
        action = "identify" if id == "other" else "delete"
        identifiers = {"object_type_id": "1", "object_id": id}
        engine.batch({"type": "object", "action": action, "identifiers": identifiers})
    rows = [{"object_id": f"{n}", "name": "x"} for n in range(4)]
    report = engine.sync(spec, rows, options=only("2", reconcile=True))
    assert (report.created, report.removed, report.planned.not_chosen) == (1, 0, 3)
    now = snapshot(engine)
    assert {key: now[key] for key in "013"} == {key: before[key] for key in "013"}
    assert set(now) == set(before)
    report = engine.sync(spec, rows)
    assert (report.created, report.removed) == (1, 1)


EVENTS = Event(row_id="n", column="who", name="seen", timestamp="at")


def seen(**times: timedelta) -> pl.DataFrame:
    now = datetime.now(timezone.utc)
    return pl.DataFrame({"n": list(times), "who": ["x"] * len(times), "at": [now + each for each in times.values()]})


def test_events_that_were_not_chosen_are_neither_sent_nor_left_out(engine: Engine) -> None:
    rows = seen(old=-timedelta(days=1), older=-timedelta(days=2), new=timedelta(hours=1), newer=timedelta(hours=2))
    report = engine.sync(EVENTS, rows, options=only("older", "new"))
    assert (report.sent, report.planned.left_out, report.planned.not_chosen) == (1, 1, 2)
    assert set(snapshot(engine)) == {"older", "new"}
    report = engine.sync(EVENTS, rows, options=RunOptions(limit=1, dry_run=True))
    assert (report.planned.send, report.planned.left_out, report.deferred) == (1, 1, 0)
    report = engine.sync(EVENTS, rows)
    assert (report.sent, report.planned.left_out, report.planned.unchanged) == (1, 1, 2)


def test_events_without_times_are_not_taken_for_new_because_of_a_trial(engine: Engine) -> None:
    spec = Event(row_id="n", column="who", name="seen")
    rows = pl.DataFrame({"n": ["a", "b", "c"], "who": ["x"] * 3})
    with pytest.raises(SpecError, match="only_keys cannot be of a first run of events without times"):
        engine.sync(spec, rows, options=only("a"))
    assert engine.sync(spec, rows, options=RunOptions(limit=1)).planned.left_out == 3
    more = pl.concat([rows, pl.DataFrame({"n": ["d", "e"], "who": ["x"] * 2})])
    assert engine.sync(spec, more, options=only("d")).sent == 1
    assert engine.sync(spec, more).sent == 1


def test_partitions_have_limits_of_their_own(engine: Engine) -> None:
    for partition in ("p", "q"):
        report = engine.sync(
            Person(), people(f"{partition}1", f"{partition}2"), partition=partition, options=RunOptions(limit=1)
        )
        assert (report.created, report.deferred) == (1, 1)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (Collection(name="c"), RunOptions(limit=1), "replaced whole: it can have neither limit nor only_keys"),
        (Collection(name="c"), RunOptions(only_keys=["x"], dry_run=True), "replaced whole"),
        (Person(), RunOptions(limit=0), "limit is 0; it is 1 or more"),
        (Person(), RunOptions(only_keys=[]), "only_keys is an empty list"),
        (Person(), RunOptions(apply="x", limit=3), "leave limit out"),
    ],
)
def test_options_that_cannot_be(engine: Engine, spec: Any, options: RunOptions, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        engine.sync(spec, [{"id": "1"}], options=options)
    assert engine.requests() == []
