"""The recipe on moving from another tool: what it says that happens to what is there already, happens."""

from __future__ import annotations

import base64
import json
import urllib.request
from datetime import datetime, timezone
from typing import Any

import polars as pl
from dagster import AssetsDefinition

from cio_dagster import Event, ManualSegment, Object, Person, SyncConfig, customerio_asset
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec
from cio_dagster.testing import MaterializeToSandbox, assert_events, assert_people, assert_segment


def by_the_other_tool(sandbox: RunningSandbox, path: str, body: Any, *, app: bool = False) -> Any:
    """What another tool did before."""
    key = "Bearer key" if app else "Basic " + base64.b64encode(b"site:key").decode()
    headers = {"Authorization": key, "Content-Type": "application/json"}
    request = urllib.request.Request(sandbox.url + path, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def people(sandbox: RunningSandbox, *ids: str) -> None:
    batch = [
        {"type": "person", "action": "identify", "identifiers": {"id": each}, "attributes": {"plan": "pro", "score": 7}}
        for each in ids
    ]
    by_the_other_tool(sandbox, "/api/v2/batch", {"batch": batch})


def sync(spec: AnySpec, rows: dict[str, list[Any]]) -> AssetsDefinition:
    @customerio_asset(spec, name="moved")
    def moved() -> pl.DataFrame:
        return pl.DataFrame(rows)

    return moved


def writes(sandbox: RunningSandbox) -> list[tuple[str, int]]:
    """The requests that wrote something, and how many operations each had."""
    return [
        (each["path"].partition("?")[0].rpartition("/")[2], each["operations"])
        for each in sandbox.get("requests")
        if each["api"] == "track" and each["method"] == "POST"
    ]


def numbers(result: Any) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node("moved")
    return {name: event.metadata[name].value for name in ("created", "updated", "removed")}


def test_people_are_sent_once_and_keep_what_the_sync_does_not_have(
    materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox
) -> None:
    people(customerio_sandbox, "1")
    asset = sync(Person(key="id"), {"id": ["1"], "plan": ["pro"]})
    assert numbers(materialize_to_sandbox([asset])) == {"created": 1, "updated": 0, "removed": 0}
    materialize_to_sandbox([asset])
    assert len(writes(customerio_sandbox)) == 2
    assert_people(customerio_sandbox, [{"id": 1, "plan": "pro", "score": 7}])


def test_a_segment_is_adopted(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    people(customerio_sandbox, "1", "2", "3", "4")
    made = by_the_other_tool(customerio_sandbox, "/v1/segments", {"segment": {"name": "always"}}, app=True)
    path = f"/api/v1/segments/{made['segment']['id']}/add_customers?id_type=id"
    by_the_other_tool(customerio_sandbox, path, {"ids": ["1", "2", "3"]})
    before = len(writes(customerio_sandbox))
    rows = {"id": ["2", "3", "4"]}
    always = sync(ManualSegment(name="always", behavior="mirror", baseline="customerio"), rows)
    assert numbers(materialize_to_sandbox([always])) == {"created": 1, "updated": 0, "removed": 1}
    assert_segment(customerio_sandbox, "always", [2, 3, 4])
    assert writes(customerio_sandbox)[before:] == [("remove_customers", 1), ("add_customers", 1)]


def test_a_segment_is_adopted_once(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    people(customerio_sandbox, "1", "2", "3")
    made = by_the_other_tool(customerio_sandbox, "/v1/segments", {"segment": {"name": "once"}}, app=True)
    path = f"/api/v1/segments/{made['segment']['id']}/add_customers?id_type=id"
    by_the_other_tool(customerio_sandbox, path, {"ids": ["1", "2"]})
    once = sync(ManualSegment(name="once", behavior="mirror"), {"id": ["2", "3"]})
    result = materialize_to_sandbox([once], options=SyncConfig(reconcile=True))
    assert numbers(result) == {"created": 1, "updated": 0, "removed": 1}
    assert_segment(customerio_sandbox, "once", [2, 3])
    by_the_other_tool(customerio_sandbox, path, {"ids": ["1"]})
    assert numbers(materialize_to_sandbox([once])) == {"created": 0, "updated": 0, "removed": 0}
    assert_segment(customerio_sandbox, "once", [1, 2, 3])


def test_objects_are_adopted_and_their_attributes_sent_once(
    materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox
) -> None:
    batch = [
        {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": each}, "attributes": {}}
        for each in ("a", "b")
    ]
    by_the_other_tool(customerio_sandbox, "/api/v2/batch", {"batch": batch})
    spec = Object(object_type_id=1, column="id", behavior="mirror", baseline="customerio")
    asset = sync(spec, {"id": ["b", "c"], "name": ["B", "C"]})
    assert numbers(materialize_to_sandbox([asset])) == {"created": 1, "updated": 1, "removed": 1}
    assert numbers(materialize_to_sandbox([asset])) == {"created": 0, "updated": 0, "removed": 0}
    assert {each["object_id"] for each in customerio_sandbox.get("objects")} == {"b", "c"}


def test_events_from_before_the_move_are_left_out(
    materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox
) -> None:
    people(customerio_sandbox, "1")
    move = datetime(2026, 11, 26, 9, tzinfo=timezone.utc)
    spec = Event(row_id="row", key="id", name="ordered", timestamp="at", start=move)
    at = [datetime(2026, 11, 26, 8, 59, tzinfo=timezone.utc), move]
    asset = sync(spec, {"row": ["old", "new"], "id": ["1", "1"], "at": at})
    for _ in range(2):
        materialize_to_sandbox([asset])
    assert_events(customerio_sandbox, [{"name": "ordered", "id": 1, "timestamp": int(move.timestamp())}])
