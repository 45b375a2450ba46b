"""For any changes, failures and crashes between, incremental reads end where full reads would."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cio_dagster.errors import DeliveryError
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.sync import RunOptions
from tests.engine import Engine

from .source import BAD, Source

IDS = st.sampled_from("abcdef")
PLANS = st.sampled_from(["free", "pro", "prö"])
CHANGES = st.one_of(
    st.tuples(st.just("put"), IDS, PLANS),
    st.tuples(st.just("late"), IDS, PLANS),
    st.tuples(st.just("bad"), IDS, PLANS),
    st.tuples(st.just("drop"), IDS, PLANS),
    st.tuples(st.just("wait"), IDS, PLANS),
)
TROUBLE = st.sampled_from(["none", "500", "drop_answer", "crash before commit", "crash at the watermark", "crash at the end"])
STEPS = st.lists(st.tuples(st.lists(CHANGES, max_size=6), TROUBLE, st.booleans()), min_size=2, max_size=6)

CRASHES = {
    "crash before commit": "cio_dagster.sync.commit",
    "crash at the watermark": "cio_dagster.state.AssetState.write_watermark",
    "crash at the end": "cio_dagster.state.AssetState.close_plan",
}


class Crash(BaseException):
    """The end of the process, as far as what it leaves on disk goes."""


def change(source: Source, kind: str, id: str, plan: str) -> None:
    if kind == "wait":
        source.wait(minutes=30)
    elif kind == "drop":
        source.drop(id)
    elif kind == "late":
        source.put(id, plan, late=timedelta(minutes=9))
    elif kind in ("put", "bad"):
        source.put(id, plan, score=BAD if kind == "bad" else 1.0)


def run(source: Source, trouble: str, full: bool) -> None:
    options = RunOptions(allow_deletes=True, full_resync=full)
    faults: list[dict[str, Any]] = []
    if trouble == "500":
        faults = [{"path": "/api/v2/batch", "status": 500}]
    elif trouble == "drop_answer":
        faults = [{"path": "/api/v2/batch", "drop_answer": True}]
    source.engine.sandbox.faults(faults)
    try:
        if trouble in CRASHES:
            with patch(CRASHES[trouble], side_effect=Crash):
                source.run(options=options)
        else:
            source.run(options=options, attempts=1)
    except (Crash, DeliveryError):
        pass
    source.engine.sandbox.faults([])


@example(steps=[([("put", "b", "pro"), ("wait", "a", "free"), ("put", "c", "pro")], "500", False)])
@example(steps=[([("bad", "b", "pro"), ("wait", "a", "free"), ("put", "c", "pro")], "none", False), ([], "none", False)])
@example(steps=[([("put", "b", "pro"), ("wait", "a", "free"), ("put", "c", "pro")], "500", True), ([], "none", False)])
@given(steps=STEPS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_incremental_reads_converge(shared_sandbox: RunningSandbox, steps: list[tuple[Any, str, bool]]) -> None:
    shared_sandbox.reset()
    with tempfile.TemporaryDirectory() as folder:
        source = Source(Engine(shared_sandbox, Path(folder) / "state"))
        source.put("a")
        source.run()
        for changes, trouble, full in steps:
            for kind, id, plan in changes:
                change(source, kind, id, plan)
            run(source, trouble, full)
            source.wait(minutes=30)
        source.run()
        # All that is there and well has arrived, though not all was read; what left, or got bad, may be there still.
        held = source.held()
        assert {id: held.get(id) for id in source.expected()} == source.expected()
        source.wait(days=1)
        source.run()
        bad = set(source.rows) - set(source.expected())
        assert {id: plan for id, plan in source.held().items() if id not in bad} == source.expected()
