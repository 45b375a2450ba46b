"""Waiting, budgets, rates, other writers, and an App API that cannot be read."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import SecretStr

from cio_dagster.checks.readback import Look, read_back
from cio_dagster.deliver import reading
from cio_dagster.errors import CredentialsRefused, Unavailable
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from tests.engine import Engine
from tests.readback.conftest import an_object, clean, found, keys_in_snapshot, look_back, person

PEOPLE = [{"id": f"p{n}", "plan": "pro"} for n in range(40)]


@pytest.mark.parametrize("jitter", [0.0, 0.8])
def test_what_is_applied_late_is_waited_for(engine: Engine, jitter: float) -> None:
    spec = Person()
    engine.sync(spec, PEOPLE)
    engine.sandbox.settings(apply_delay=0.5, apply_jitter=jitter)
    report = engine.sync(spec, [each | {"plan": "free"} for each in PEOPLE])
    begun = time.monotonic()
    clean(engine, spec, report, settle=20)
    assert time.monotonic() - begun < 10


def test_a_real_difference_is_waited_for_and_no_longer(engine: Engine) -> None:
    spec = Person()
    report = engine.sync(spec, PEOPLE)
    engine.batch(person("p1", "delete"))
    begun = time.monotonic()
    assert found(look_back(engine, spec, report, settle=2)) == {("p1", None, "missing")}
    assert time.monotonic() - begun < 4
    # Once that time is over, there is nothing to wait for.
    report = engine.sync(spec, PEOPLE)
    engine.batch(person("p1", "delete"))
    time.sleep(1)
    begun = time.monotonic()
    look_back(engine, spec, report, settle=1)
    assert time.monotonic() - begun < 1


def test_only_what_differs_is_looked_at_again(engine: Engine) -> None:
    spec = Object(object_type_id=1, column="id")
    report = engine.sync(spec, [{"id": f"o{n}"} for n in range(20)])
    engine.batch(an_object("o7", "delete"))
    look_back(engine, spec, report, settle=1.5)
    asked = Counter(each["path"] for each in engine.requests("/v1/objects/"))
    assert asked.pop("/v1/objects/1/o7/attributes?id_type=object_id") > 1
    assert set(asked.values()) == {1}


SPECS: list[AnySpec] = [
    Person(),
    Person(key="cio_id", column="cio"),
    Device(column="id"),
    Event(row_id="row", column="id", name="x", start="all"),
    Collection(name="Rows"),
    ManualSegment(name="VIP", column="id"),
    Object(object_type_id=1, column="o"),
    Relationship(object_type_id=1, object_column="o", column="id"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.object}-{getattr(spec, 'key', '')}")
def test_no_more_requests_than_allowed(engine: Engine, spec: AnySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PEOPLE_A_CALL", 10)
    engine.batch(*(person(each["id"]) for each in PEOPLE))
    ids = {each["id"]: each["cio_id"] for each in engine.sandbox.get("people")}
    rows = [
        {"id": each["id"], "o": f"o{n}", "row": str(n), "token": f"t{n}", "platform": "ios", "cio": ids[each["id"]]}
        for n, each in enumerate(PEOPLE)
    ]
    columns = ["id"] if isinstance(spec, ManualSegment) else list(rows[0])
    if isinstance(spec, Person):
        columns = [spec.identifiers["person"].column, "row"]
    report = engine.sync(spec, [{name: row[name] for name in columns} for row in rows])
    for most in (0, 1, 2, 4, 9):
        before = len(engine.requests())
        seen = look_back(engine, spec, report, max_requests=most, settle=0.2)
        assert len(engine.requests()) - before == seen.requests <= most
        # What was not read is no difference.
        assert found(seen) == set()


def test_the_samples_are_bounded(engine: Engine) -> None:
    spec = Person()
    report = engine.sync(spec, [{"id": f"p{n}"} for n in range(700)])
    seen = clean(engine, spec, report)
    assert seen.looked_at["rows"] == 500
    assert seen.looked_at["written"] == 700
    assert seen.requests == 3 + 5
    spec_of_objects = Object(object_type_id=1, column="id")
    seen = clean(
        engine, spec_of_objects, engine.sync(spec_of_objects, [{"id": f"o{n}"} for n in range(60)], asset="o"), asset="o"
    )
    assert seen.looked_at["rows"] == 25
    assert seen.requests == 1 + 25


def test_ten_requests_a_second(engine: Engine) -> None:
    engine.sandbox.settings(app_requests_per_second=10)
    spec = Object(object_type_id=1, column="id")
    report = engine.sync(spec, [{"id": f"o{n}"} for n in range(60)])
    since, begun = datetime.fromisoformat(report.since), time.monotonic()
    connection = engine.connection(app_requests_per_second=10, longest_backoff=5)
    seen = read_back(spec, engine.state(), connection, since=since, run_id="r", look=Look(settle=0, max_requests=100))
    assert seen.differences.is_empty()
    assert time.monotonic() - begun >= (seen.requests - 1) / 10 - 0.2
    answers = Counter(each["status"] for each in engine.requests() if each["api"] == "app")
    assert set(answers) == {200}


def test_many_pages_of_activities_end_where_they_are_old(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ACTIVITIES_A_PAGE", 5)
    engine.sandbox.settings(event_unknown_person="drop", clock_offset=-7200)
    engine.batch(*({"type": "person", "action": "event", "identifiers": {"id": "x"}, "name": "old"} for _ in range(50)))
    engine.sandbox.settings(clock_offset=0)
    spec = Event(row_id="row", column="who", name="new", start="all")
    report = engine.sync(spec, [{"row": str(n), "who": f"x{n}"} for n in range(12)])
    seen = look_back(engine, spec, report)
    assert len(found(seen)) == 12
    assert seen.requests == 4


def test_a_run_that_wrote_meanwhile_keeps_what_it_wrote(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Person()
    report = engine.sync(spec, PEOPLE[:3])
    engine.batch(person("p1", "delete"))
    state = engine.state()
    original = reading.people

    async def meanwhile(*given: Any) -> Any:
        seen = await original(*given)
        if engine.runs == 1:
            engine.sync(spec, [PEOPLE[0], PEOPLE[1] | {"plan": "free"}, PEOPLE[2]])
        return seen

    monkeypatch.setattr(reading, "people", meanwhile)
    seen = look_back(engine, spec, report)
    assert found(seen) == {("p1", None, "missing")}
    assert not seen.put_back
    assert seen.notes == ["Nothing was put back: another run has written meanwhile."]
    assert "p1" in keys_in_snapshot(engine)
    engine.batch(person("p1", "delete"))
    with state.lock("other-run"):
        seen = look_back(engine, spec, report)
    assert found(seen)
    assert not seen.put_back
    assert "other-run" in seen.notes[0]


def test_older_snapshots_stay_readable_and_sequences_go_on(engine: Engine) -> None:
    from deltalake import DeltaTable

    spec = Person()
    report = engine.sync(spec, PEOPLE[:3])
    table = DeltaTable(str(engine.state().folder / "snapshot"))
    version, sequence = table.version(), table.transaction_version("cio_dagster")
    engine.batch(person("p1", "delete"))
    look_back(engine, spec, report)
    table = DeltaTable(str(engine.state().folder / "snapshot"))
    assert table.version() == version + 1
    assert table.transaction_version("cio_dagster") == sequence
    assert table.history(1)[0]["put_back"] == "1"
    table.load_as_version(version)
    assert "p1" in table.to_pyarrow_table()["_key"].to_pylist()
    assert engine.sync(spec, PEOPLE[:3]).created == 1


def test_no_app_api(engine: Engine) -> None:
    spec = Person()
    report = engine.sync(spec, PEOPLE[:3])
    since = datetime.now(timezone.utc)
    with pytest.raises(CredentialsRefused, match="set CIO_APP_API_KEY"):
        read_back(spec, engine.state(), engine.connection(app_api_key=SecretStr("")), since=since, run_id="r")
    engine.sandbox.faults([{"path": "/v1/", "status": 503}])
    with pytest.raises(Unavailable):
        read_back(spec, engine.state(), engine.connection(attempts=2), since=since, run_id="r")
    engine.sandbox.faults([])
    clean(engine, spec, report)
