"""Attributes may have the names that the pipeline's own columns might have had."""

from __future__ import annotations

import pytest

from cio_dagster.specs import AnySpec, Event, Object, Person
from tests.engine import Engine

NAMES = [
    "reason",
    "field",
    "message",
    "at",
    "time",
    "key",
    "outcome",
    "operation",
    "rows",
    "body",
    "from",
    "to",
    "index",
    "len",
    "literal",
]


@pytest.mark.parametrize(
    "spec", [Person(), Object(object_type_id=1, column="id"), Event(row_id="id", column="id", name="e", start="all")]
)
def test_they_arrive_and_are_remembered(engine: Engine, spec: AnySpec) -> None:
    row = {"id": "1"} | {name: f"value of {name}" for name in NAMES}
    assert engine.sync(spec, [row]).accepted == 1
    again = engine.sync(spec, [row])
    assert (again.accepted, again.requests, again.planned.unchanged) == (0, 0, 1)
    name = {"person": "people", "object": "objects", "event": "events"}[spec.object]
    [found] = engine.sandbox.get(name)
    assert {key: value for key, value in found["attributes"].items() if key in row} == {
        key: value for key, value in row.items() if key != "id"
    }
