"""What we send is held to Customer.io's Track contract, and to ours of the App API: every spec, key and behaviour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster.specs import AnySpec, Collection, Event, ManualSegment
from tests.contract.judge import Judge
from tests.contract.wire import Call
from tests.plans import Planned, plan_of

from .every import SPECS, clean_table, label, wild_tables
from .relay import Relay


def documented(spec: AnySpec) -> bool:
    """Whether the contract knows what we send: it has no anonymous_id among v2 identifiers, which the spec says where it is asked for."""
    return not (isinstance(spec, Event) and spec.key == "anonymous_id" and spec.anonymous_endpoint == "v2")


def faults(call: Call, track_judge: Judge, app_judge: Judge) -> list[str]:
    return (app_judge if call.path.startswith("/v1/") else track_judge).faults_of_request(call)


def requests(spec: AnySpec, operations: pl.DataFrame) -> Iterator[Call]:
    """The calls that write a plan's operations, each kind of them in one request; `test_sent_by_deliver` holds it to the real ones."""
    if isinstance(spec, Collection):
        rows = ",".join(operations["_body"].drop_nulls())
        yield Call("POST", "/v1/collections", f'{{"name":{json.dumps(spec.name)},"data":[{rows}]}}'.encode())
        return
    for (is_removal,), part in operations.group_by(pl.col("_operation") == "delete", maintain_order=True):
        bodies = part["_body"].to_list()
        if isinstance(spec, ManualSegment):
            verb = "remove_customers" if is_removal else "add_customers"
            yield Call("POST", f"/api/v1/segments/1/{verb}?id_type={spec.key}", f'{{"ids":[{",".join(bodies)}]}}'.encode())
        elif isinstance(spec, Event) and spec.single:
            yield from (Call("POST", "/api/v1/events", body.encode()) for body in bodies)
        else:
            yield Call("POST", "/api/v2/batch", f'{{"batch":[{",".join(bodies)}]}}'.encode())


def said(calls: list[Call]) -> list[Any]:
    """The operations, ids or rows in some calls, in order."""
    bodies = [json.loads(call.body) for call in calls]
    lists = ([body[name] for name in ("batch", "ids", "data") if isinstance(body.get(name), list)] for body in bodies)
    return [each for body, found in zip(bodies, lists, strict=True) for each in (found[0] if found else [body])]


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_sent_by_deliver(spec: AnySpec, relay: Relay, track_judge: Judge, app_judge: Judge, tmp_path: Path) -> None:
    first = Planned(plan_of(clean_table(spec, changed=False), spec, tmp_path / "first"))
    assert len(first.operations) == 3
    snapshot = first.snapshot(None, spec)
    for number, frame in enumerate((clean_table(spec, changed=False), clean_table(spec, changed=True))):
        relay.calls.clear()
        plan = plan_of(frame, spec, tmp_path / str(number), snapshot=snapshot if number else None, sequence=number + 1)
        outcomes = relay.deliver(plan, spec)
        assert set(outcomes["_outcome"]) <= {"accepted"}
        for call in relay.calls:
            assert documented(spec) == (not faults(call, track_judge, app_judge)), (call.path, call.body)
        # The bodies that the other test judges are those that are sent.
        sent, expected = relay.writes, list(requests(spec, plan.operations().collect()))
        assert said([call for call in sent if call.path != "/v1/segments"]) == said(expected)


def test_the_only_request_outside_the_contract_is_the_one_that_the_spec_names_so() -> None:
    assert {spec.object for spec in SPECS if not documented(spec)} == {"event"}
    assert "does not list" in (Event.__doc__ or "")


@pytest.mark.parametrize("object", sorted({spec.object for spec in SPECS}))
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_table_gives_requests_that_keep_the_contract(
    object: str, data: st.DataObject, track_judge: Judge, app_judge: Judge
) -> None:
    spec = data.draw(st.sampled_from([each for each in SPECS if each.object == object and documented(each)]))
    before, after = data.draw(wild_tables(spec)), data.draw(wild_tables(spec))
    with TemporaryDirectory() as folder:
        first = Planned(plan_of(before, spec, Path(folder) / "first"))
        second = Planned(plan_of(after, spec, Path(folder) / "second", snapshot=first.snapshot(None, spec), sequence=2))
    for planned in (first, second):
        for call in requests(spec, planned.operations):
            assert not faults(call, track_judge, app_judge), call.body
