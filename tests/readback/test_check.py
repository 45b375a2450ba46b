"""The check `applied_in_customerio` in real runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import (
    CustomerIOIOManager,
    Event,
    Look,
    ManualSegment,
    Object,
    Person,
    build_customerio_checks,
    customerio_asset,
    outcomes,
)
from cio_dagster.report import hashed
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, dagster, instance, running, sandbox

__all__ = ["dagster", "instance", "running", "sandbox"]

NOW = Look(settle=0)
ROWS = pl.DataFrame({"id": ["a", "b"], "email": ["a@x.io", "b@x.io"], "plan": ["pro", "pro"]})


def people_of(rows: dict[str, pl.DataFrame], spec: Any = None, **options: Any) -> dg.AssetsDefinition:
    @customerio_asset(spec or Person(), **options)
    def people() -> pl.DataFrame:
        return rows["frame"]

    return people


def verdict(result: dg.ExecuteInProcessResult) -> Any:
    [found] = [each for each in result.get_asset_check_evaluations() if each.check_name == "applied_in_customerio"]
    return found


def table(check: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in check.metadata["table"].records]


@pytest.fixture(autouse=True)
def _as_before(sandbox: RunningSandbox) -> Any:
    yield
    sandbox.settings(event_unknown_person="create")


def test_green_where_all_is_applied(dagster: Callable[..., Dagster]) -> None:
    people = people_of({"frame": ROWS})
    result = dagster().run([people, *build_customerio_checks([people], NOW)])
    assert result.success
    check = verdict(result)
    assert check.passed
    assert not check.blocking
    assert check.description == "2 rows were read back, and all are in Customer.io as they were accepted."
    assert check.metadata["looked_at_rows"].value == 2
    assert check.metadata["differences"].value == 0


def test_red_with_the_keys_and_healed_by_the_next_run(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, tmp_path: Any
) -> None:
    people = people_of(rows := {"frame": ROWS})
    checks = build_customerio_checks([people], NOW)
    assert verdict(dagster().run([people, *checks])).passed
    # Accepted with a 200, though the email belongs to b.
    rows["frame"] = ROWS.with_columns(email=pl.lit("b@x.io"))
    result = dagster().run([people, *checks])
    assert result.success
    check = verdict(result)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "1 rows were accepted, but are not so in Customer.io (1 failed_attribute_change)" in check.description
    assert table(check) == [
        {
            "key": "a",
            "what": "person",
            "field": "email",
            "expected": '"b@x.io"',
            "found": "a@x.io",
            "reason": "failed_attribute_change",
            "partition": "",
        }
    ]
    lines = outcomes(tmp_path / "state").filter(operation="read_back").collect().to_dicts()
    assert [(each["run_id"], each["key"], each["outcome"], each["field"]) for each in lines] == [
        (result.run_id, "a", "pending", "email")
    ]
    rows["frame"] = ROWS
    result = dagster().run([people, *checks])
    assert verdict(result).passed


def test_values_that_may_not_be_shown(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": ROWS}, Person(behavior="update_only"))
    run = dagster()
    shown = run.resources["customerio"]
    run.resources["customerio"] = CustomerIOIOManager(customerio=shown.customerio, state=shown.state, show_values=False)
    check = verdict(run.run([people, *build_customerio_checks([people], NOW)]))
    assert not check.passed
    nothing = {"field": "", "expected": "", "found": "", "partition": ""}
    assert {row["key"] for row in table(check)} == {hashed("a"), hashed("b")}
    assert [row for row in table(check) if row != row | nothing | {"what": "person", "reason": "missing"}] == []
    assert "a@x.io" not in str(check.metadata)


def test_nothing_delivered(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": ROWS})
    checks = build_customerio_checks([people], NOW)
    dagster().run([people, *checks])
    check = verdict(dagster().run([people, *checks]))
    assert check.passed
    assert check.description == "Nothing was delivered, so nothing was read back."


def test_a_dry_run_has_no_verdict(dagster: Callable[..., Dagster]) -> None:
    people = people_of({"frame": ROWS})
    result = dagster().run([people, *build_customerio_checks([people], NOW)], config={"people": {"dry_run": True}})
    assert result.success
    assert [each.check_name for each in result.get_asset_check_evaluations()] == ["no_rejected_rows"]


def test_alone_it_reads_back_the_last_run(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": ROWS})
    checks = build_customerio_checks([people], NOW)
    selection = dg.AssetSelection.checks(dg.AssetCheckKey(people.key, "applied_in_customerio"))
    check = verdict(dagster().run([people, *checks], select=selection))  # type: ignore[arg-type]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "No run has delivered anything yet" in check.description
    dagster().run([people])
    sandbox.reset()
    check = verdict(dagster().run([people, *checks], select=selection))  # type: ignore[arg-type]
    assert not check.passed
    assert {row["key"] for row in table(check)} == {"a", "b"}
    assert "(2 missing)" in check.description
    assert verdict(dagster().run([people, *checks])).passed


def test_every_partition_of_the_run(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @customerio_asset(
        Object(object_type_id=1, column="id", behavior="mirror"),
        partitions_def=dg.StaticPartitionsDefinition(["x", "y", "z"]),
        partition_expr="part",
    )
    def things(context: dg.AssetExecutionContext) -> pl.DataFrame:
        rows = pl.DataFrame({"id": [f"o{n}" for n in range(6)], "part": ["x", "y", "z"] * 2})
        return rows.filter(pl.col("part").is_in(context.partition_keys))

    [check] = build_customerio_checks([things], NOW)
    dagster().run([things], partition="z")
    result = dagster().run([things, check], partitions=("x", "y"))
    found = verdict(result)
    assert found.passed
    assert found.metadata["looked_at_rows"].value == 4
    sandbox.reset()
    selection = dg.AssetSelection.checks(*check.check_keys)
    found = verdict(dagster().run([things, check], select=selection))  # type: ignore[arg-type]
    assert {(row["key"], row["partition"]) for row in table(found)} == {("o0", "x"), ("o3", "x"), ("o1", "y"), ("o4", "y")}


def test_partitions_of_events_share_one_reading_of_the_activities(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    sandbox.settings(event_unknown_person="drop")

    @customerio_asset(
        Event(row_id="row", column="who", name="ordered"),
        partitions_def=dg.StaticPartitionsDefinition([str(n) for n in range(6)]),
        partition_expr="part",
    )
    def orders(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return pl.DataFrame({"row": [f"r{n}" for n in range(6)], "who": "nobody", "part": [str(n) for n in range(6)]})

    found = verdict(dagster().run([orders, *build_customerio_checks([orders], NOW)], partitions=("0", "5")))
    assert found.metadata["requests"].value == 1
    assert {(row["key"], row["reason"]) for row in table(found)} == {(f"r{n}", "failed_event") for n in range(6)}


def test_no_app_key_and_no_app_api(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": ROWS})
    checks = build_customerio_checks([people], NOW)
    result = dagster(app_api_key="").run([people, *checks])
    assert result.success
    check = verdict(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Not all could be read back." in check.description
    assert "set CIO_APP_API_KEY" in check.description
    sandbox.faults([{"path": "/v1/", "status": 503}])
    result = dagster(attempts=1).run([people, *checks])
    assert result.success
    check = verdict(result)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "503" in check.description


def test_what_was_found_before_the_app_api_fails_is_shown(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @customerio_asset(
        Object(object_type_id=9, column="id"), partitions_def=dg.StaticPartitionsDefinition(["x", "y"]), partition_expr="part"
    )
    def things() -> pl.DataFrame:
        return pl.DataFrame({"id": ["secret1", "secret2"], "part": ["x", "y"]})

    sandbox.settings(unknown_object_type="ignore")
    sandbox.faults([{"path": "/v1/objects/9/secret2", "status": 500}])
    try:
        run = dagster(attempts=1)
        checks = build_customerio_checks([things], NOW)
        check = verdict(run.run([things, *checks], partitions=("x", "y")))
        assert [row["key"] for row in table(check)] == ["secret1"]
        assert "secret2" in check.metadata["notes"].value
        shown = run.resources["customerio"]
        run.resources["customerio"] = CustomerIOIOManager(customerio=shown.customerio, state=shown.state, show_values=False)
        check = verdict(run.run([things, *checks], partitions=("x", "y")))
        assert check.metadata["differences"].value == 1
        assert "secret" not in str(check.metadata)
    finally:
        sandbox.settings(unknown_object_type="reject")


def test_it_waits_for_what_is_applied_late(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = people_of({"frame": ROWS})
    sandbox.settings(apply_delay=1.0)
    try:
        assert verdict(dagster().run([people, *build_customerio_checks([people])])).passed
    finally:
        sandbox.settings(apply_delay=0)


def test_which_assets_get_one(dagster: Callable[..., Dagster]) -> None:
    @dg.asset(metadata=ManualSegment(name="VIP").to_metadata(), io_manager_key="mine")
    def plain() -> None: ...

    @dg.asset
    def other() -> None: ...

    people = people_of({"frame": ROWS}, key_prefix=["crm", "eu"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks = build_customerio_checks([people, plain, other, dg.AssetSpec("spec")])
        dg.Definitions(assets=[people, plain, other], asset_checks=checks)
    assert [{tuple(key.asset_key.path) for key in check.check_keys} for check in checks] == [
        {("crm", "eu", "people")},
        {("plain",)},
    ]
    assert [check.op.pool for check in checks] == ["customerio", None]
    assert [check.required_resource_keys - {"io_manager"} for check in checks] == [{"customerio"}, {"mine"}]


def test_the_demo_has_one_for_each_sync() -> None:
    import definitions

    assert {key.asset_key for check in definitions.CHECKS for key in check.check_keys} == {
        asset.key for asset in definitions.SYNCS
    }
    assert definitions.defs.resolve_asset_graph().asset_check_keys
