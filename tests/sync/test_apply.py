"""A dry run stores its plan; a run that applies it sends just that, or says what differs by now and sends nothing."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster.errors import GuardError, PlanChanged, SpecError, StateError
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import Collection, Event, ManualSegment, Object, Person
from cio_dagster.stored import KEPT
from cio_dagster.sync import RunOptions
from tests.engine import Engine

DRY = RunOptions(dry_run=True)
PEOPLE = Person(behavior="mirror", delete_people=True)
EVENTS = Event(row_id="n", column="who", name="seen", timestamp="at")


def people(**plans: str | None) -> pl.DataFrame:
    return pl.DataFrame({"id": list(plans), "plan": list(plans.values())}, schema={"id": pl.String, "plan": pl.String})


def apply(engine: Engine, spec: Any, rows: Any, plan: str | None = None, **options: Any) -> Any:
    """Apply the plan of the last run, which was dry, or another one."""
    return engine.sync(spec, rows, options=RunOptions(apply=plan or engine.last[-1], **options))


def test_what_was_shown_is_sent(engine: Engine) -> None:
    engine.sync(PEOPLE, people(a="free", b="free", c="free"))
    before = len(engine.requests(writes=True))
    after = people(a="free", b="pro", d=None)
    shown = engine.sync(PEOPLE, after, options=DRY)
    assert len(engine.requests(writes=True)) == before
    done = apply(engine, PEOPLE, after)
    assert (done.created, done.updated, done.removed) == (1, 1, 1)
    stored = pl.read_parquet(f"{shown.plan_folder}/operations-*.parquet")
    accepted = {(each["key"], each["operation"]) for each in engine.outcomes(run_id=done.run_id, outcome="accepted")}
    assert (
        accepted == set(stored.select("_key", "_operation").iter_rows()) == {("b", "update"), ("c", "delete"), ("d", "create")}
    )
    assert {each["id"]: each["attributes"].get("plan") for each in engine.sandbox.get("people")} == {
        "a": "free",
        "b": "pro",
        "d": None,
    }


def test_the_plan_is_there_as_a_table(engine: Engine) -> None:
    spec = Person(behavior="mirror", delete_people=True, attributes={"plan": "plan", "score": "score"})
    rows = pl.DataFrame({"id": ["a", "b", "c"], "plan": ['"q"', "x", "y"], "score": [1, 2, 3]})
    engine.sync(spec, rows)
    rows = pl.DataFrame({"id": ["a", "b", "d"], "plan": ["new,\n", "x", None], "score": [5, 2, 4]})
    report = engine.sync(spec, rows, options=DRY)
    table = pl.read_csv(f"{report.plan_folder}/changes.csv", infer_schema=False).sort("operation", "key", "attribute")
    assert table.columns == ["operation", "key", "attribute", "before", "after"]
    created, removed, *updates = table.rows()
    assert created[:4] == ("create", "d", None, None)
    assert json.loads(created[4])["attributes"] == {"score": 4}
    assert removed == ("delete", "c", None, '{"plan":"y","score":3}', None)
    assert updates == [("update", "a", "plan", r'"\"q\""', r'"new,\n"'), ("update", "a", "score", "1", "5")]
    assert [(each["operation"], each["attribute"]) for each in report.changes] == [
        ("delete", None),
        ("update", "plan"),
        ("update", "score"),
        ("create", None),
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (people(a="pro", b="free"), r"in 1 operation \('a': shown update, now update of something else"),
        (people(a="free", b="free"), r"in 1 operation \('a': shown update, now none"),
        (people(a="new"), r"in 1 operation \('b': shown none, now delete"),
        (people(a="new", b="free", c="x"), r"in 1 operation \('c': shown none, now create"),
        (people(b="pro"), "2 operations"),
    ],
)
def test_a_source_that_changed_since_is_refused(engine: Engine, rows: pl.DataFrame, said: str) -> None:
    engine.sync(PEOPLE, people(a="free", b="free"))
    engine.sync(PEOPLE, people(a="new", b="free"), options=DRY)
    shown, before = engine.last[-1], len(engine.requests(writes=True))
    with pytest.raises(PlanChanged, match=said) as refused:
        apply(engine, PEOPLE, rows)
    assert (refused.value.plan, len(refused.value.examples)) == (shown, refused.value.differing)
    assert len(engine.requests(writes=True)) == before
    assert engine.state().plan() is None
    [line] = engine.outcomes(run_id=engine.last[-1])
    assert (line["outcome"], line["reason"], line["rows"]) == ("stopped", "plan_changed", len(rows))
    assert apply(engine, PEOPLE, people(a="new", b="free"), shown).updated == 1, "it can be applied still"


def test_a_snapshot_that_moved_is_a_difference_if_the_operations_are_others(engine: Engine) -> None:
    engine.sync(PEOPLE, people(a="free", b="free"))
    engine.sync(PEOPLE, people(a="pro", b="pro"), options=DRY)
    shown = engine.last[-1]
    engine.sync(PEOPLE, people(a="pro", b="free"))
    with pytest.raises(PlanChanged, match="'a': shown update, now none"):
        apply(engine, PEOPLE, people(a="pro", b="pro"), shown)


def test_guards_hold(engine: Engine) -> None:
    engine.sync(PEOPLE, people(a="free"))
    report = engine.sync(PEOPLE, people(), options=DRY)
    [verdict] = report.stops
    assert "the source is empty" in verdict
    shown = engine.last[-1]
    with pytest.raises(GuardError, match="the source is empty"):
        apply(engine, PEOPLE, people())
    assert apply(engine, PEOPLE, people(), shown, allow_deletes=True).removed == 1


def test_a_plan_is_applied_with_the_options_that_it_was_made_with(engine: Engine) -> None:
    engine.sync(PEOPLE, people(a="free", b="free"))
    engine.sync(PEOPLE, people(a="free", b="free"), options=RunOptions(dry_run=True, full_resync=True, only_keys=["b"]))
    report = apply(engine, PEOPLE, people(a="free", b="free"))
    assert (report.updated, report.planned.not_chosen) == (1, 1)
    with pytest.raises(SpecError, match="leave full_resync and dry_run out"):
        apply(engine, PEOPLE, people(a="free"), full_resync=True, dry_run=True)


def test_what_depends_on_the_time_is_as_when_it_was_shown(engine: Engine) -> None:
    """Events from now on are those from the dry run on, whenever it is applied."""
    now = datetime.now(timezone.utc)
    times = [now - timedelta(days=9), now + timedelta(seconds=1.2), now + timedelta(days=1)]
    rows = pl.DataFrame({"n": ["old", "soon", "later"], "who": ["x"] * 3, "at": times})
    shown = engine.sync(EVENTS, rows, options=DRY)
    assert (shown.planned.left_out, shown.planned.send, shown.planned.future_events) == (1, 2, 2)
    while datetime.now(timezone.utc) < times[1] + timedelta(seconds=1):
        time.sleep(0.1)
    report = apply(engine, EVENTS, rows)
    assert (report.planned.left_out, report.sent, report.planned.future_events) == (1, 2, 1)
    assert engine.sync(EVENTS, rows).planned.unchanged == 3


def test_a_collection_is_applied_whole(engine: Engine) -> None:
    plans = Collection(name="Plans")
    engine.sync(plans, [{"name": "a"}])
    engine.sync(plans, [{"name": "a"}, {"name": "b"}], options=DRY)
    with pytest.raises(PlanChanged, match="2 operations"):
        apply(engine, plans, [{"name": "a"}, {"name": "c"}])
    assert apply(engine, plans, [{"name": "b"}, {"name": "a"}], engine.last[1]).created == 1


def test_what_an_outage_left_can_be_applied_after_it(engine: Engine) -> None:
    """Accepted rows are no difference, nor is a row whose request had no answer, which is sent whole."""
    rows = [{"id": f"{n}", "plan": "free", "city": "Oslo"} for n in range(30)]
    engine.sync(PEOPLE, rows)
    changed = [each | {"plan": "pro"} for each in rows]
    engine.sync(PEOPLE, changed, options=DRY)
    shown, tight = engine.last[-1], {"batch_bytes": 600, "concurrency": 1, "attempts": 1}
    engine.sandbox.faults([{"path": "/api/v2/batch", "after": 2, "drop_answer": True}])
    first = engine.sync(PEOPLE, changed, options=RunOptions(apply=shown), **tight)
    assert first.error is not None
    assert 0 < first.updated < 30
    engine.sandbox.faults([])
    again = [each | {"plan": "other"} if each["id"] == "29" else each for each in changed]
    with pytest.raises(PlanChanged, match="in 1 operation "):
        apply(engine, PEOPLE, again, shown)
    second = apply(engine, PEOPLE, changed, shown)
    assert first.updated + second.updated == 30
    assert apply(engine, PEOPLE, changed, shown).requests == 0, "all of it was sent"


def test_a_limited_plan_sends_what_was_shown_and_no_more(engine: Engine) -> None:
    rows = [{"id": f"{n}", "plan": "free"} for n in range(50)]
    dry = engine.sync(Person(), rows, options=RunOptions(dry_run=True, limit=3))
    assert (dry.planned.create, dry.deferred) == (50, 47)
    shown, plan = engine.last[-1], pl.read_parquet(f"{dry.plan_folder}/operations-*.parquet")
    more = [*rows, {"id": "50", "plan": "new"}]
    report = apply(engine, Person(), more[::-1])
    assert (report.created, report.pending, report.deferred) == (3, 48, 48)
    assert {each["id"] for each in engine.sandbox.get("people")} == set(plan["_key"][:3])
    assert apply(engine, Person(), more, shown).created == 0


def test_which_plans_are_stored(engine: Engine) -> None:
    for n in range(KEPT + 1):
        engine.sync(Person(), people(**{f"p{n}": "x"}), options=DRY)
    folders = {each.name for each in engine.state().plans.iterdir()}
    assert folders == set(engine.last[1:])
    with pytest.raises(StateError, match=rf"no stored plan '{engine.last[0]}' of asset. .*: {engine.last[-1]}, ") as refused:
        apply(engine, Person(), people(p0="x"), engine.last[0])
    assert "last 3 are kept" in str(refused.value)
    with pytest.raises(StateError, match="no stored plan"):
        apply(engine, Person(), people(p0="x"), "../plan")
    with pytest.raises(StateError, match=r"of asset p. There are .* none: run it with dry_run: true first"):
        engine.sync(Person(), people(a="x"), options=RunOptions(apply=engine.last[-1]), partition="p")
    for path in engine.state().plans.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


TABLES = st.dictionaries(st.integers(0, 6), st.sampled_from([None, "free", "pro"]), max_size=6)
CASES: dict[str, tuple[Any, str]] = {
    "person": (Person(behavior="mirror", delete_people=True, max_delete=1000), "id"),
    "segment": (ManualSegment(name="s", behavior="mirror", max_delete=1000, baseline="customerio"), "id"),
    "object": (Object(object_type_id=1, behavior="mirror", max_delete=1000, nulls="clear", send="all"), "object_id"),
    "event": (Event(row_id="n", column="who", name="seen", start="all"), "n"),
}


def frame(kind: str, table: dict[int, str | None]) -> pl.DataFrame:
    columns: dict[str, Any] = {CASES[kind][1]: [f"{n}" for n in table], "plan": list(table.values())}
    if kind == "event":
        columns["who"] = ["x"] * len(table)
    found = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return found.select("id") if kind == "segment" else found


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(list(CASES)), first=TABLES, second=TABLES, limit=st.integers(1, 3))
def test_apply_and_limits_come_to_the_same(
    shared_sandbox: RunningSandbox,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    first: Any,
    second: Any,
    limit: int,
) -> None:
    """A plain run, an applied plan, and runs with a limit until nothing is left: the same operations, snapshot and Customer.io."""
    spec, results = CASES[kind][0], []
    for way in ("plain", "apply", "limit"):
        shared_sandbox.reset()
        engine = Engine(shared_sandbox, tmp_path_factory.mktemp("state"))
        engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": f"{n}"}} for n in range(7)))
        engine.sync(spec, frame(kind, first), options=RunOptions(allow_deletes=True))
        rows, counted = frame(kind, second), [0, 0, 0, 0]
        if way == "apply":
            engine.sync(spec, rows, options=DRY)
        while True:
            if way == "apply":
                options = RunOptions(apply=engine.last[-1], allow_deletes=True)
            else:
                options = RunOptions(limit=limit if way == "limit" else None, allow_deletes=True)
            report = engine.sync(spec, rows, options=options)
            done = [report.created, report.updated, report.removed, report.sent]
            assert way != "limit" or sum(done) <= limit
            assert report.pending == report.deferred
            counted = [a + b for a, b in zip(counted, done, strict=True)]
            if not report.deferred:
                break
        snapshot = engine.state().snapshot()
        assert snapshot is not None
        held = snapshot.select(pl.exclude("_accepted_at")).collect().sort("_key").to_dicts()
        there = {name: shared_sandbox.get(name) for name in ("people", "segments", "objects", "events")}
        results.append((counted, held, plain(there)))
    assert results[1] == results[0]
    assert results[2] == results[0]


def plain(there: dict[str, Any]) -> Any:
    """What the sandbox holds, without the ids and times that it gives itself, in one order."""
    people = sorted((each["id"], json.dumps(each["attributes"], sort_keys=True)) for each in there["people"])
    members = sorted(each["id"] for segment in there["segments"] for each in segment["members"])
    objects = sorted((each["object_id"], json.dumps(each["attributes"], sort_keys=True)) for each in there["objects"])
    return people, members, objects, sorted(each["id"] for each in there["events"])
