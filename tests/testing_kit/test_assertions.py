"""What each assertion takes for the same, and what it says where something differs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import (
    Collection,
    Device,
    Event,
    ManualSegment,
    Object,
    Person,
    Relationship,
    SpecError,
    SyncConfig,
    customerio_asset,
)
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec
from cio_dagster.testing import (
    MaterializeToSandbox,
    assert_collection,
    assert_devices,
    assert_events,
    assert_no_failures,
    assert_objects,
    assert_people,
    assert_relationships,
    assert_segment,
)


def sync(name: str, spec: AnySpec, *rows: dict[str, Any]) -> dg.AssetsDefinition:
    @customerio_asset(spec, name=name, retry_policy=None)
    def asset() -> pl.DataFrame:
        return pl.DataFrame(list(rows), infer_schema_length=None)

    return asset


PEOPLE = sync(
    "people",
    Person(attributes={"plan": "plan", "seats": "seats", "is_admin": "is_admin", "address.city": "city"}),
    {"id": 1, "plan": "pro", "seats": 1, "is_admin": True, "city": "Ghent"},
    {"id": 2, "plan": None, "seats": 2, "is_admin": False, "city": "Lyon"},
)
EVENTS = sync(
    "orders",
    Event(row_id="order", key="id", column="customer", name="ordered", timestamp="at", start="all"),
    {"order": "a", "customer": "1", "at": 1_790_000_000, "total": 5, "name": "Shoe"},
    {"order": "b", "customer": "1", "at": 1_790_000_001, "total": 6, "name": "Hat"},
)


def said(assertion: Callable[..., None], *arguments: Any, **options: Any) -> list[str]:
    """The lines of an assertion's error."""
    with pytest.raises(AssertionError) as failed:
        assertion(*arguments, **options)
    return str(failed.value).splitlines()


def test_people(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    materialize_to_sandbox([PEOPLE])
    ann: dict[str, Any] = {"id": 1, "plan": "pro", "seats": 1.0, "is_admin": True, "address": {"city": "Ghent"}}
    bob = {"id": "2", "plan": None}
    assert_people(customerio_sandbox, [bob, ann])
    assert_people(customerio_sandbox, pl.DataFrame({"id": [1, 2], "plan": ["pro", None]}))
    assert_people(customerio_sandbox, [ann], others=True)
    assert said(assert_people, customerio_sandbox, [ann]) == [
        "people (2 arrived, 1 expected): 1 differences",
        '  id "2": not expected',
    ]
    wrong = {"id": 1, "plan": None, "seats": True, "is_admin": True, "address": {"city": "Ghent", "zip": 1}, "age": 3}
    assert said(assert_people, customerio_sandbox, [wrong, bob, {"id": "3"}]) == [
        "people (2 arrived, 3 expected): 2 differences",
        '  id "1": plan is "pro", expected none; seats is 1, expected true; '
        'address is {"city": "Ghent"}, expected {"city": "Ghent", "zip": 1}; age is not there, expected 3',
        '  id "3": missing',
    ]
    many = [{"id": str(number)} for number in range(1, 43)]
    assert said(assert_people, customerio_sandbox, many)[-1] == "  and 20 more"
    with pytest.raises(ValueError, match="told apart by id or email or phone"):
        assert_people(customerio_sandbox, [{"plan": "pro"}])
    with pytest.raises(TypeError, match=r"say what Customer\.io gets, such as Unix seconds"):
        assert_people(customerio_sandbox, [{"id": 1, "since": datetime(2026, 1, 1)}])


def test_events_are_counted(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    materialize_to_sandbox([EVENTS])
    shoe = {"name": "ordered", "id": 1, "timestamp": 1_790_000_000, "total": 5, "attributes": {"name": "Shoe"}}
    hat = {"name": "ordered", "id": 1, "timestamp": 1_790_000_001, "attributes": {"name": "Hat"}}
    assert_events(customerio_sandbox, [hat, shoe])
    assert said(assert_events, customerio_sandbox, [shoe, hat, hat])[1:] == ['  name "ordered", id "1": missing']
    assert said(assert_events, customerio_sandbox, [shoe])[1:] == ['  name "ordered", id "1": not expected']
    assert said(assert_events, customerio_sandbox, [shoe, hat | {"total": 7}])[1:] == [
        '  name "ordered", id "1": total is 6, expected 7'
    ]


def test_everything_else(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    token = {"token": "t", "id": "1", "platform": "ios", "last_used": 1_790_000_000, "model": "X"}
    account = {"object_id": "acme", "employees": 5}
    member = {"object_id": "acme", "id": "1", "role": "owner"}
    plans = [{"plan": "pro", "price": 5.5}, {"plan": "free", "price": None}]
    syncs = [
        sync("devices", Device(token="token", platform="platform", last_used="last_used", key="id"), token),
        sync("accounts", Object(object_type_id=1, column="object_id"), account),
        sync("members", Relationship(object_type_id=1, object_column="object_id", key="id"), member),
        sync("vips", ManualSegment(name="VIP", key="id"), {"id": 1}, {"id": 2}),
        sync("plans", Collection(name="Plans"), *plans),
    ]
    materialize_to_sandbox([PEOPLE])
    materialize_to_sandbox(syncs)
    sandbox = customerio_sandbox
    assert_devices(sandbox, [token])
    assert_objects(sandbox, 1, [account])
    assert_objects(sandbox, 2, [])
    assert_relationships(sandbox, 1, [member])
    assert_segment(sandbox, "VIP", [2, "1"])
    assert_collection(sandbox, "Plans", plans)
    assert_no_failures(sandbox)
    assert said(assert_devices, sandbox, [token | {"id": 2}])[1:] == ['  token "t": id is "1", expected "2"']
    assert said(assert_objects, sandbox, 1, [account | {"employees": 6}])[1:] == [
        '  object_id "acme": employees is 5, expected 6'
    ]
    assert said(assert_relationships, sandbox, 1, [member | {"id": 2}])[1:] == [
        '  object_id "acme", id "2": missing',
        '  object_id "acme", id "1": not expected',
    ]
    assert said(assert_segment, sandbox, "VIP", [2, 3])[1:] == ['  id "3": missing', '  id "1": not expected']
    assert said(assert_segment, sandbox, "VIPs", []) == ["0 segments are called 'VIPs', of ['VIP']"]
    assert said(assert_collection, sandbox, "Plans", plans[:1]) == ["collection 'Plans': 1 differences", "  2 rows, expected 1"]
    assert said(assert_collection, sandbox, "Plans", [{"plan": "pro"}, {"plan": "no"}])[1:] == [
        "  row 0: price is 5.5, expected none",
        '  row 1: plan is "free", expected "no"',
    ]


def test_failures(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    customerio_sandbox.faults([{"path": "/api/v2/batch", "status": 400, "body": {"errors": []}}])
    materialize_to_sandbox([PEOPLE])
    assert "POST /api/v2/batch got 400" in said(assert_no_failures, customerio_sandbox)[1]
    assert_people(customerio_sandbox, [])


def test_runs_of_a_test_share_a_state_and_need_a_sync(
    materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox
) -> None:
    def batches() -> int:
        return sum(request["path"] == "/api/v2/batch" for request in customerio_sandbox.get("requests"))

    materialize_to_sandbox([PEOPLE], options=SyncConfig(dry_run=True))
    assert batches() == 0
    materialize_to_sandbox([PEOPLE])
    materialize_to_sandbox([PEOPLE])
    assert batches() == 1
    materialize_to_sandbox([PEOPLE], options=SyncConfig(full_resync=True))
    assert batches() == 2
    with pytest.raises(SpecError, match="none of the assets is synced"):
        materialize_to_sandbox([dg.AssetSpec("table")])


def test_partitions_and_failed_runs(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    @customerio_asset(
        Person(), partitions_def=dg.StaticPartitionsDefinition(["eu", "us"]), partition_expr="region", retry_policy=None
    )
    def by_region() -> pl.DataFrame:
        return pl.DataFrame({"id": ["1", "2"], "region": ["eu", "us"]})

    materialize_to_sandbox([by_region], partition_range=("eu", "us"))
    assert_people(customerio_sandbox, [{"id": "1", "region": "eu"}, {"id": "2", "region": "us"}])
    customerio_sandbox.faults([{"path": "/api/", "status": 401}])
    assert not materialize_to_sandbox([by_region], partition_key="eu", raise_on_error=False).success
    with pytest.raises(dg.Failure, match="credentials"):
        materialize_to_sandbox([by_region], partition_key="eu")
