"""A sync in parts, as of millions of rows, comes to the same as one in a single part."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from cio_dagster.specs import AnySpec, Event, Object, Person
from tests.engine import Engine
from tests.plans import sized

FIRST = pl.DataFrame({"id": [f"{n}" for n in range(20)], "plan": ["free"] * 20, "old": [n % 3 for n in range(20)]})
SECOND = pl.DataFrame({"id": [f"{n}" for n in range(3, 25)], "plan": ["free", "pro"] * 11, "new": [None, 1] * 11})
"""Some rows changed, some gone, some new; an attribute less, and one more."""


def rows(engine: Engine, asset: str) -> list[dict[str, Any]]:
    found = engine.state(asset=asset).snapshot()
    assert found is not None
    return found.drop("_accepted_at").sort("_key").collect().to_dicts()


@pytest.mark.parametrize(
    "spec",
    [
        Person(behavior="mirror", delete_people=True, max_delete=None),
        Object(object_type_id=1, column="id", behavior="mirror", send="all"),
        Event(row_id="id", column="plan", name="e"),
    ],
    ids=lambda spec: spec.object,
)
def test_a_sync_in_parts(engine: Engine, spec: AnySpec) -> None:
    reports: dict[str, list[Any]] = {}
    for how in ("as few rows", "as millions"):
        with sized(how):
            reports[how] = [engine.sync(spec, frame, asset=how) for frame in (FIRST, SECOND, SECOND)]
    few, many = reports["as few rows"], reports["as millions"]
    assert [each.planned for each in few] == [each.planned for each in many]
    assert [each.pending + each.refused for each in many] == [0, 0, 0]
    assert many[2].requests == 0
    assert rows(engine, "as few rows") == rows(engine, "as millions")
