"""Syncs in YAML: what they become, and that they run."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone

import dagster as dg
import pytest
import yaml

from cio_dagster import (
    Collection,
    Constant,
    CustomerIOSync,
    CustomerIOTranslator,
    CustomerIOTranslatorData,
    Device,
    Event,
    ManualSegment,
    Object,
    Person,
    Relationship,
    customerio_asset,
)
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec, find_spec
from cio_dagster.testing import assert_events, assert_people
from tests.components.conftest import CONNECTIONS, Project

MAPPED = {
    "people/defs.yaml": """
        type: cio_dagster.CustomerIOSync
        attributes:
          sql: |
            select 1 as id, 'pro' as "1", date '2026-01-02' as born union all select 2, null, null
          spec:
            object: person
            attributes: {plan: "1", born: born, source: {value: warehouse}}
            dates: {born: iso}
            max_changed: 0.5
          translation:
            key: "crm/{{ data.spec.object }}/{{ spec.key.path[-1] }}"
            description: Everybody.
            group_name: crm
            deps: [raw/customers]
            owners: ["team:crm"]
            tags: {tier: 1}
            kinds: [customerio, sql]
            automation_condition: "{{ dg.AutomationCondition.eager() }}"
          pool: crm
          schedule: "0 6 * * *"
        """,
}

SPECS: list[AnySpec] = [
    Person(
        key="email", behavior="mirror", delete_people=True, nulls={"plan": "clear"}, identity_checks={"shared_email": "reject"}
    ),
    Device(last_used="seen", max_delete=5),
    Event(row_id="row", name="ordered", timestamp="at", start=datetime(2026, 1, 1, tzinfo=timezone.utc), max_rejected=0.1),
    Collection(id=7),
    ManualSegment(name="VIP", behavior="mirror", baseline="customerio"),
    Object(object_type_id=3, attributes={"plan": Constant(value=True)}),
    Relationship(object_type_id=3, keep_newest_by="updated_at"),
]


def test_the_yaml_describes_the_asset_its_checks_and_its_schedule(
    project: Callable[..., Project], sandbox: RunningSandbox
) -> None:
    defs = project(CONNECTIONS | MAPPED).load()
    key = dg.AssetKey(["crm", "person", "people"])
    node = defs.resolve_asset_graph().get(key)
    assert (node.group_name, node.owners, node.description) == ("crm", ["team:crm"], "Everybody.")
    assert (node.tags, node.kinds) == (
        {"tier": "1", "dagster/kind/customerio": "", "dagster/kind/sql": ""},
        {"customerio", "sql"},
    )
    assert node.parent_keys == {dg.AssetKey(["raw", "customers"])}
    assert node.automation_condition == dg.AutomationCondition.eager()
    assert node.pools == {"crm"}
    spec = find_spec(node.metadata)
    assert spec == Person(
        attributes={"plan": "1", "born": "born", "source": Constant(value="warehouse")}, dates={"born": "iso"}, max_changed=0.5
    )
    assert {check.name for check in node.check_keys} >= {"no_rejected_rows", "applied_in_customerio", "delivered_as_planned"}
    schedule = defs.resolve_schedule_def("crm__person__people_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", None)


def test_it_runs_with_its_checks(
    project: Callable[..., Project], sandbox: RunningSandbox, instance: dg.DagsterInstance
) -> None:
    defs = project(CONNECTIONS | MAPPED).load()
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    assert_people(
        sandbox, [{"id": "1", "plan": "pro", "born": "2026-01-02", "source": "warehouse"}, {"id": "2", "source": "warehouse"}]
    )
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert len(result.get_asset_check_evaluations()) > 1


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.object)
def test_each_object_is_written_as_its_spec_is_kept(project: Callable[..., Project], spec: AnySpec) -> None:
    written = spec.model_dump(mode="json", exclude_unset=True, by_alias=True) | {"object": spec.object}
    attributes = {"sql": "select 1", "spec": written, "checks": False}
    made = project({"one/defs.yaml": yaml.safe_dump({"type": "cio_dagster.CustomerIOSync", "attributes": attributes})})
    [asset] = made.load().assets or []
    assert isinstance(asset, dg.AssetsDefinition)
    assert find_spec(asset.metadata_by_key[asset.key]) == spec
    assert asset.key == dg.AssetKey(["one"])


ORDERS = {
    "orders/orders.sql": """
        select * from (values ('a', 1, timestamp '2026-01-01 10:00'), ('b', 1, timestamp '2026-01-02 10:00'), ('c', 2, timestamp '2026-01-03 10:00'))
        as orders(order_id, id, ordered_at) where ordered_at >= $partition_start and ordered_at < $partition_end
        """,
    "orders/defs.yaml": """
        type: cio_dagster.CustomerIOSync
        attributes:
          sql: orders.sql
          spec: {object: event, row_id: order_id, name: ordered, timestamp: ordered_at}
          partitions_def: {type: daily, start_date: "2026-01-01", timezone: Europe/Berlin}
          partition_expr: ordered_at
          backfill_policy: {type: single_run}
          schedule: "0 3 * * *"
        """,
}


def test_a_partitioned_sync_sends_what_its_partitions_hold(
    project: Callable[..., Project], sandbox: RunningSandbox, instance: dg.DagsterInstance
) -> None:
    defs = project(CONNECTIONS | ORDERS).load()
    job = defs.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, partition_key="2026-01-01").success
    assert_events(sandbox, [{"name": "ordered", "id": "1"}])
    span = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-03"}
    assert job.execute_in_process(instance=instance, tags=span).success
    assert len(sandbox.get("events")) == 3


def test_a_sync_by_hash_partitions_needs_no_more_sql(
    project: Callable[..., Project], sandbox: RunningSandbox, instance: dg.DagsterInstance
) -> None:
    text = """
        type: cio_dagster.CustomerIOSync
        attributes:
          sql: select id from range(20) as t(id)
          spec: {object: person}
          partitions_def: {type: hash, count: 2}
        """
    job = project(CONNECTIONS | {"people/defs.yaml": text}).load().resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, partition_key="1-of-2").success
    assert 0 < len(sandbox.get("people")) < 20


@pytest.mark.parametrize(
    ("partitions", "zone", "keys"),
    [
        ('{type: daily, start_date: "2026-01-01", timezone: Europe/Berlin}', "Europe/Berlin", ["2026-03-09"]),
        ('{type: monthly, start_date: "2026-01-01"}', "UTC", ["2026-02-01"]),
        ("{type: range, bounds: [10, 20]}", None, ["..10", "10..20", "20.."]),
        ("\"{{ dg.DailyPartitionsDefinition('2026-01-01', end_offset=1) }}\"", "UTC", ["2026-03-10"]),
        ('{type: weekly, start_date: "2026-04-01"}', "UTC", []),
    ],
)
def test_a_schedule_asks_for_the_last_window_or_for_each_key(
    project: Callable[..., Project], instance: dg.DagsterInstance, partitions: str, zone: str | None, keys: list[str]
) -> None:
    text = f"""
        type: cio_dagster.CustomerIOSync
        attributes:
          sql: select 1 as id
          spec: {{object: person}}
          partitions_def: {partitions}
          schedule: "0 3 * * *"
        """
    defs = project(CONNECTIONS | {"people/defs.yaml": text}).load()
    schedule = defs.resolve_schedule_def("people_schedule")
    assert schedule.execution_timezone == zone
    at = datetime(2026, 3, 10, 3, tzinfo=timezone.utc)
    repository = defs.get_repository_def()
    with dg.build_schedule_context(instance=instance, repository_def=repository, scheduled_execution_time=at) as context:
        tick = schedule.evaluate_tick(context)
    assert [request.partition_key for request in tick.run_requests or []] == keys


@pytest.mark.parametrize(
    ("attributes", "line", "said"),
    [
        ("sql: peeple.sql\n  spec: {object: person}", 3, "attributes.sql: there is no such file; in .*: people.sql"),
        ("sql: people.sql\n  spec: {object: persons}", 4, "attributes.spec.*'person', 'device', 'event'"),
        (
            "sql: people.sql\n  spec:\n    object: person\n    key: name",
            6,
            "attributes.spec.key: Input should be 'id', 'email', 'cio_id' or 'phone'",
        ),
        (
            "sql: people.sql\n  spec:\n    object: person\n    max_changed: 2.5",
            6,
            "attributes.spec.max_changed: Input should be less than or equal to 1",
        ),
        ("sql: people.sql\n  spec:\n    object: person\n    behavior: mirror", 4, "attributes.spec: .*say delete_people=True"),
        ("sql: people.sql\n  spec: person", 4, "attributes.spec: a spec is a mapping"),
        (
            "sql: people.sql\n  spec: {object: person}\n  partitions_def: daily",
            5,
            "attributes.partitions_def: partitions are a mapping",
        ),
        (
            "sql: people.sql\n  spec: {object: person}\n  partitions_def: {type: hash, count: 1}",
            5,
            "attributes.partitions_def: hash_partitions takes a count from 2",
        ),
    ],
)
def test_what_cannot_be_loaded_names_its_line(project: Callable[..., Project], attributes: str, line: int, said: str) -> None:
    made = project(
        {
            "people/defs.yaml": f"type: cio_dagster.CustomerIOSync\nattributes:\n  {attributes}\n",
            "people/people.sql": "select 1 as id",
        }
    )
    with pytest.raises(Exception, match="people") as caught:
        made.load()
    cause = str(caught.value.__cause__)
    assert cause.startswith(f"{made.defs}/people/defs.yaml:{line} - ")
    assert re.search(said, cause)


def test_numbers_may_come_from_the_environment(project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNTS_TYPE", "12")
    text = """
        type: cio_dagster.CustomerIOSync
        attributes:
          sql: select 1 as object_id
          spec: {object: object, object_type_id: "{{ env.ACCOUNTS_TYPE }}"}
        """
    [asset] = project({"accounts/defs.yaml": text}).load().assets or []
    assert isinstance(asset, dg.AssetsDefinition)
    assert find_spec(asset.metadata_by_key[asset.key]) == Object(object_type_id=12)


class Ours(CustomerIOTranslator):
    def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
        asset_spec = super().get_asset_spec(data)
        return asset_spec.replace_attributes(
            key=asset_spec.key.with_prefix("crm"), group_name=data.spec.object, owners=["team:crm"]
        ).merge_attributes(tags={"tier": "1"})


def test_a_translator_describes_assets_of_python() -> None:
    @customerio_asset(Person(), translator=Ours(), tags={"own": "yes"}, deps=["customers"], group_name="default")
    def people() -> None:
        """Everybody."""

    key = dg.AssetKey(["crm", "people"])
    assert people.keys == {key}
    asset_spec = people.get_asset_spec(key)
    assert (asset_spec.group_name, asset_spec.owners, asset_spec.description) == ("person", ["team:crm"], "Everybody.")
    assert asset_spec.kinds == {"customerio", "polars"}
    assert {name: value for name, value in asset_spec.tags.items() if "kind" not in name} == {"tier": "1", "own": "yes"}
    assert [dep.asset_key for dep in asset_spec.deps] == [dg.AssetKey("customers")]
    assert {check.asset_key for check in people.check_keys} == {key}


class OurSync(CustomerIOSync):
    def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
        return Ours().get_asset_spec(data)


def test_a_subclass_describes_many_syncs_and_translation_has_the_last_word(project: Callable[..., Project]) -> None:
    text = f"""
        type: {__name__}.OurSync
        attributes:
          sql: select 1 as id
          spec: {{object: person}}
          translation: {{owners: ["team:growth"]}}
        """
    [asset] = project({"people/defs.yaml": text}).load().assets or []
    assert isinstance(asset, dg.AssetsDefinition)
    asset_spec = asset.get_asset_spec()
    assert (asset_spec.key.path, asset_spec.group_name, asset_spec.owners) == (["crm", "people"], "person", ["team:growth"])
