"""What a materialization does, says and leaves to the assets after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from cio_dagster import Collection, CustomerIO, ManualSegment, Person, SyncConfig, customerio_asset, outcomes
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, events, numbers

PEOPLE = pl.DataFrame(
    {
        "customer_id": [1, 2, 3, 3, None],
        "email": ["ada@example.com", "bob@example.com", "cy@example.com", "cy2@example.com", "no@example.com"],
        "plan": ["free", "pro", "pro", "pro", "free"],
    }
)


class Mine(SyncConfig):
    plan: str = "free"


class Other(dg.Config):
    plan: str = "free"


def people_of(frame: Any, **options: Any) -> dg.AssetsDefinition:
    @customerio_asset(Person(key="id", column="customer_id"), **options)
    def people() -> Any:
        """Everybody."""
        return frame

    return people


@pytest.mark.parametrize(
    "frame",
    [
        PEOPLE,
        PEOPLE.lazy(),
        PEOPLE.to_arrow(),
        pa.RecordBatchReader.from_batches(PEOPLE.to_arrow().schema, PEOPLE.to_arrow().to_batches()),
    ],
    ids=["DataFrame", "LazyFrame", "Table", "RecordBatchReader"],
)
def test_any_frame_is_written_and_counted(dagster: Callable[..., Dagster], sandbox: RunningSandbox, frame: Any) -> None:
    result = dagster().run([people_of(frame)])
    assert result.success
    found = numbers(result, "people")
    assert {name: found[name] for name in ("source_rows", "created", "rejected", "pending")} == {
        "source_rows": 5,
        "created": 2,
        "rejected": 3,
        "pending": 0,
    }
    assert {person["id"]: person["attributes"]["plan"] for person in sandbox.get("people")} == {"1": "free", "2": "pro"}


def test_the_check_is_yellow_for_own_rejects_and_red_for_customerios(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    result = dagster().run([people_of(PEOPLE)])
    [check] = [event.asset_check_evaluation_data for event in events(result, dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN

    sandbox.reset()
    sandbox.faults(
        [
            {
                "path": "/api/v2/batch",
                "status": 400,
                "body": {"errors": [{"reason": "no", "message": "not this one"}]},
                "times": 3,
            }
        ]
    )
    result = dagster().run([people_of(PEOPLE.with_columns(plan=pl.lit("new")))])
    assert result.success
    assert numbers(result, "people")["rejected"] == 5
    [check] = [event.asset_check_evaluation_data for event in events(result, dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert any(record.data["message"] == "not this one" for record in numbers(result, "people")["rejects"].records)


def test_max_rejected_fails_the_run_and_keeps_what_was_accepted(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    @customerio_asset(Person(column="customer_id", max_rejected=2))
    def people() -> pl.DataFrame:
        return PEOPLE

    result = dagster().run([people])
    assert not result.success
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "3 of 5 rows were rejected, more than max_rejected=2" in str(data.description)
    assert data.metadata["created"].value == 2
    assert len(sandbox.get("people")) == 2


def test_a_dry_run_sends_nothing_and_materializes_nothing(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    ran = []

    @dg.asset
    def after(people: pl.LazyFrame) -> None:
        ran.append(True)

    result = dagster().run([people_of(PEOPLE), after], config={"people": {"dry_run": True}})
    assert result.success
    assert not ran
    assert not result.asset_materializations_for_node("people")
    [observation] = [
        event.asset_observation_data.asset_observation for event in events(result, dg.DagsterEventType.ASSET_OBSERVATION)
    ]
    assert observation.metadata["would_create"].value == 2
    assert [record.data["key"] for record in observation.metadata["changes"].records] == ["1", "2"]
    assert {request["method"] for request in sandbox.get("requests")} <= {"GET"}
    [check] = [event.asset_check_evaluation_data for event in events(result, dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    assert not check.passed, "the check is of the rows that would be rejected"
    assert check.metadata["rejected"].value == 3


def test_downstream_assets_load_the_snapshot_as_values(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    seen: list[pl.DataFrame] = []

    @customerio_asset(Person(column="id"))
    def people() -> pl.DataFrame:
        return pl.DataFrame({"id": ["a", None], "n": [7, 8], "tags": [["x", "y"], None], "paid": [True, False]})

    @dg.asset
    def after(people: pl.LazyFrame) -> None:
        seen.append(people.collect())

    assert dagster().run([people, after]).success
    [row] = seen[0].to_dicts()
    assert row == {"id": "a", "n": 7, "tags": ["x", "y"], "paid": True}


def test_an_empty_source_stops_a_mirror_until_it_is_allowed_once(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    rows = {"frame": PEOPLE.head(2)}

    @customerio_asset(ManualSegment(name="VIP", column="customer_id", behavior="mirror"))
    def vip() -> pl.DataFrame:
        return rows["frame"].select("customer_id")

    dagster().run([people_of(PEOPLE)])
    assert dagster().run([vip]).success
    rows["frame"] = PEOPLE.clear()
    before = len(sandbox.get("requests"))
    result = dagster().run([vip])
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "allow_deletes: true" in str(data.description)
    assert data.metadata["would_remove"].value == 2
    assert not events(result, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert all(request["method"] == "GET" for request in sandbox.get("requests")[before:])
    [segment] = sandbox.get("segments")
    assert len(segment["members"]) == 2

    assert dagster().run([vip], config={"vip": {"allow_deletes": True}}).success
    [segment] = sandbox.get("segments")
    assert segment["members"] == []


def test_async_assets_and_config_of_ones_own(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @customerio_asset(Person(column="customer_id"))
    async def people(context: dg.AssetExecutionContext, config: Mine) -> pl.LazyFrame:
        await asyncio.sleep(0)
        return PEOPLE.lazy().filter(pl.col("plan") == config.plan)

    result = dagster().run([people], config={"people": {"plan": "pro", "dry_run": True}})
    assert result.success
    assert not sandbox.get("people")
    assert dagster().run([people], config={"people": {"plan": "pro"}}).success
    assert [person["id"] for person in sandbox.get("people")] == ["2"]


def test_a_config_that_is_not_ours_is_refused_when_definitions_load() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="SyncConfig"):

        @customerio_asset(Person())
        def people(config: Other) -> pl.LazyFrame:
            return PEOPLE.lazy()


def test_an_asset_without_the_decorator_works_by_its_metadata(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    @dg.asset(metadata=Person(column="customer_id").to_metadata(), io_manager_key="customerio")
    def plain() -> pl.DataFrame:
        return PEOPLE

    @dg.asset(io_manager_key="customerio")
    def lost() -> pl.DataFrame:
        return PEOPLE

    assert dagster().run([plain]).success
    assert len(sandbox.get("people")) == 2
    result = dagster().run([lost])
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert "lost has no sync spec" in str(failure.step_failure_data.error)


def test_full_resync_sends_every_row_again(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    assert dagster().run([people_of(PEOPLE)]).success
    assert numbers(dagster().run([people_of(PEOPLE)]), "people")["requests"] == 0
    found = numbers(dagster().run([people_of(PEOPLE)], config={"people": {"full_resync": True}}), "people")
    assert (found["updated"], found["requests"]) == (2, 1)


def test_what_an_asset_may_not_return(dagster: Callable[..., Dagster]) -> None:
    result = dagster().run([people_of([1, 2])])
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert "returned list; return a Polars LazyFrame" in str(failure.step_failure_data.error)


def test_wrong_credentials_fail_at_once_without_retry(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    sandbox.faults([{"path": "/api/v1/accounts/region", "status": 401, "times": 5}])
    result = dagster().run([people_of(PEOPLE)])
    assert not result.success
    assert not events(result, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    text = str(failure.step_failure_data)
    assert "CIO_SITE_ID and CIO_TRACK_API_KEY" in text
    assert "track-secret" not in text


def test_the_outcomes_add_up_to_the_source(dagster: Callable[..., Dagster], sandbox: RunningSandbox, tmp_path: Any) -> None:
    for frame in (PEOPLE, PEOPLE, PEOPLE.with_columns(plan=pl.lit("pro"))):
        dagster().run([people_of(frame)])
    found = outcomes(tmp_path / "state", asset="people").collect()
    assert found.group_by("run_id").agg(pl.col("rows").sum())["rows"].to_list() == [5, 5, 5]
    assert set(found["outcome"]) == {"accepted", "rejected", "unchanged"}
    keyless = found.filter(pl.col("outcome") == "rejected", pl.col("key").is_null())["message"].unique().to_list()
    assert keyless == ["'customer_id' is null; each row needs its id (row 4 of the source, from 0)"]


def test_definitions_say_what_the_asset_is() -> None:
    @customerio_asset(Collection(name="Plans"), group_name="customerio", key_prefix=["cio"], tags={"team": "growth"})
    def plans() -> pl.LazyFrame:
        """All plans."""
        return pl.LazyFrame()

    spec = plans.get_asset_spec(dg.AssetKey(["cio", "plans"]))
    assert (spec.group_name, spec.description, spec.kinds) == ("customerio", "All plans.", {"customerio", "polars"})
    assert spec.metadata["customerio/sync"]["object"] == "collection"
    assert plans.op.pool == "customerio"


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"region": "de"}, "region is 'de'; it is us or eu"), ({"track_url": "127.0.0.1:1"}, "begins with https://")],
)
def test_settings_that_cannot_work_fail_at_once(
    dagster: Callable[..., Dagster], settings: dict[str, str], message: str
) -> None:
    result = dagster(**settings).run([people_of(PEOPLE)])
    assert not events(result, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    [failure] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert message in str(failure.step_failure_data.error)


def test_settings_may_come_from_the_environment() -> None:
    CustomerIO(
        site_id=dg.EnvVar("A"),
        track_api_key=dg.EnvVar("B"),
        region=dg.EnvVar("C"),
        track_url=dg.EnvVar("D"),
        app_url=dg.EnvVar("E"),
    )
