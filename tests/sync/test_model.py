"""For any sequence of tables, with faults between, Customer.io ends equal to a dict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster.errors import DeliveryError
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import Event, ManualSegment, Person
from cio_dagster.sync import RunOptions
from tests.engine import Engine

ALLOWED = RunOptions(allow_deletes=True)

PEOPLE = Person(behavior="mirror", delete_people=True, max_delete=1000)
MEMBERS = ManualSegment(name="s", behavior="mirror", max_delete=1000)
EVENTS = Event(row_id="n", column="who", name="seen", start="all")

VALUES = st.sampled_from([None, "free", "prö", ""])
TABLES = st.dictionaries(st.integers(0, 7), st.tuples(VALUES, st.integers(0, 2)), max_size=8)
FAULTS = st.lists(
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(["/api/v2/batch", "/api/v1/segments", "/v1/segments", "/api/"]),
            "after": st.integers(0, 2),
            "times": st.integers(1, 4),
            "kind": st.sampled_from(
                ["reset", "drop_answer", "garbage", "reset_mid_body", "400", "401", "404", "429", "500", "502 applied"]
            ),
        }
    ),
    max_size=2,
)
STEPS = st.lists(st.tuples(st.sampled_from(["people", "members", "events"]), TABLES, FAULTS), min_size=1, max_size=4)


def script(fault: dict[str, Any]) -> dict[str, Any]:
    where = {name: fault[name] for name in ("path", "after", "times")}
    kind = fault["kind"]
    if kind[0].isdigit():
        return where | {"status": int(kind[:3]), "apply": kind.endswith("applied")}
    return where | {kind: True}


def frame(kind: str, table: dict[int, tuple[str | None, int]]) -> pl.DataFrame:
    numbers = sorted(table)
    if kind == "events":
        return pl.DataFrame(
            {"n": numbers, "who": [f"e{n}" for n in numbers], "value": [table[n][1] for n in numbers]},
            schema={"n": pl.Int64, "who": pl.String, "value": pl.Int64},
        )
    prefix = "p" if kind == "people" else "m"
    columns: dict[str, Any] = {"id": [f"{prefix}{n}" for n in numbers]}
    schema: dict[str, Any] = {"id": pl.String}
    if kind == "people":
        columns |= {"plan": [table[n][0] for n in numbers], "score": [table[n][1] for n in numbers]}
        schema |= {"plan": pl.String, "score": pl.Int64}
    return pl.DataFrame(columns, schema=schema)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_customer_io_equals_the_model(shared_sandbox: RunningSandbox, steps: list[Any]) -> None:
    shared_sandbox.reset()
    shared_sandbox.settings(person_unset="none")
    try:
        with tempfile.TemporaryDirectory() as root:
            run_through(Engine(shared_sandbox, Path(root)), steps)
    finally:
        shared_sandbox.settings(person_unset="both")


def run_through(engine: Engine, steps: list[Any]) -> None:
    engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": f"m{n}"}} for n in range(8)))
    specs: dict[str, Any] = {"people": PEOPLE, "members": MEMBERS, "events": EVENTS}
    people: dict[str, dict[str, Any]] = {}
    members: set[str] = set()
    events: dict[str, int] = {}
    for kind, table, faults in steps:
        source = frame(kind, table)
        tight = {"batch_bytes": 300, "concurrency": 3}
        # A run with faults may raise before it sends, or report an error; then one without them must put all right.
        engine.sandbox.faults([script(fault) for fault in faults])
        unruly(engine, specs[kind], source, kind, tight)
        engine.sandbox.faults([])
        report = engine.sync(specs[kind], source, asset=kind, options=ALLOWED, **tight)
        assert (report.error, report.pending, report.refused) == (None, 0, 0)

        if kind == "people":
            sent = {
                row["id"]: {name: row[name] for name in ("plan", "score") if row[name] is not None} for row in source.to_dicts()
            }
            people = {id: people.get(id, {}) | attributes for id, attributes in sent.items()}
        elif kind == "members":
            members = set(source["id"])
        else:
            events = {row["who"]: row["value"] for row in source.to_dicts()} | events
        compare(engine, people, members, events)
        again = engine.sync(specs[kind], source, asset=kind)
        assert (again.requests, again.recovered) == (0, 0)
        snapshot = engine.state(kind).snapshot()
        assert snapshot is not None
        keys = {"people": set(people), "members": members, "events": {who[1:] for who in events}}[kind]
        assert set(snapshot.select("_key").collect()["_key"]) == keys


def unruly(engine: Engine, spec: Any, source: pl.DataFrame, kind: str, tight: dict[str, Any]) -> None:
    try:
        engine.sync(spec, source, asset=kind, options=ALLOWED, attempts=3, **tight)
    except DeliveryError:
        assert engine.state(kind).plan() is None


def compare(engine: Engine, people: dict[str, Any], members: set[str], events: dict[str, int]) -> None:
    found = {each["id"]: each["attributes"] for each in engine.sandbox.get("people") if each["id"].startswith("p")}
    assert found == people
    segments = engine.sandbox.get("segments")
    assert len(segments) <= 1
    assert {each["id"] for segment in segments for each in segment["members"]} == members
    assert sorted((each["person"]["id"], each["attributes"]["value"]) for each in engine.sandbox.get("events")) == sorted(
        events.items()
    )
