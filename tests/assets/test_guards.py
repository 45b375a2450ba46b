"""Each guard in a real run: it stops before the first write, says the numbers, is not retried, and is lifted once in the launchpad."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import Collection, CustomerIO, CustomerIOIOManager, ManualSegment, Object, Person, customerio_asset
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec
from tests.assets.conftest import Dagster, events, numbers


def rows(*ids: int, **columns: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def asset_of(spec: AnySpec, frame: pl.DataFrame, **options: Any) -> dg.AssetsDefinition:
    @customerio_asset(spec, **options)
    def synced() -> pl.DataFrame:
        return frame

    return synced


def failure(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    """Why a run failed, in words and numbers."""
    assert not result.success
    [event] = events(result, dg.DagsterEventType.STEP_FAILURE)
    assert not events(result, dg.DagsterEventType.STEP_UP_FOR_RETRY)
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description), {name: value.value for name, value in data.metadata.items()}


@dataclass
class Case:
    """A sync that a guard stops at its second run."""

    spec: AnySpec
    before: pl.DataFrame
    after: pl.DataFrame
    option: str
    message: str
    metadata: dict[str, Any]
    done: dict[str, int]


MIRROR = ManualSegment(name="VIP", behavior="mirror")
CASES = {
    "empty_source": Case(
        MIRROR,
        rows(1, 2),
        rows(),
        "allow_deletes",
        "the source is empty, but Customer.io holds 2 rows from it, and 2 would be removed.",
        {"would_remove": 2, "known_rows": 2},
        {"removed": 2},
    ),
    "max_delete": Case(
        MIRROR,
        rows(*range(40)),
        rows(*range(20)),
        "allow_deletes",
        "20 of 40 rows would be removed, more than 20% and 10 rows (the default; set max_delete to change it).",
        {"would_remove": 20, "known_rows": 40},
        {"removed": 20},
    ),
    "max_delete of a collection": Case(
        Collection(name="Plans", max_delete=0.5),
        rows(*range(40)),
        rows(*range(10)),
        "allow_deletes",
        "30 of 40 rows would be removed, more than max_delete=0.5.",
        {"would_remove": 30, "known_rows": 40},
        {"removed": 30},
    ),
    "max_new_people": Case(
        Person(max_new_people=0.5),
        rows(1, 2),
        rows(1, 2, 3, 4, 5),
        "allow_changes",
        "3 people would be created beside the 2 known ones, more than max_new_people=0.5.",
        {"would_create": 3, "known_rows": 2},
        {"created": 3},
    ),
    "max_changed": Case(
        Person(max_changed=2),
        rows(1, 2, 3, plan="free", city="Oslo"),
        rows(1, 2, 3, plan="pro", city="Oslo"),
        "allow_changes",
        "3 of 3 rows have changed, more than max_changed=2; most of all 'plan' (in 3).",
        {"would_change": 3, "known_rows": 3},
        {"updated": 3},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_guard_stops_before_the_first_write_and_is_lifted_once(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, case: str
) -> None:
    each, guard = CASES[case], case.split()[0]
    assert dagster().run([asset_of(each.spec, each.before)]).success
    before = len(sandbox.get("requests"))

    dry = dagster().run([asset_of(each.spec, each.after)], config={"synced": {"dry_run": True}})
    [observed] = [
        event.asset_observation_data.asset_observation for event in events(dry, dg.DagsterEventType.ASSET_OBSERVATION)
    ]
    assert f"A guard would stop this run: Nothing was sent: {each.message}" in str(observed.metadata["warnings"].value)

    message, metadata = failure(dagster().run([asset_of(each.spec, each.after)]))
    assert message.startswith(f"Nothing was sent: {each.message}")
    assert f"run it once with the option `{each.option}: true` (in the launchpad" in message
    assert metadata | {"guard": guard} | each.metadata == metadata
    assert {request["method"] for request in sandbox.get("requests")[before:]} == {"GET"}

    lifted = dagster().run([asset_of(each.spec, each.after)], config={"synced": {each.option: True}})
    assert lifted.success
    assert numbers(lifted, "synced") | each.done == numbers(lifted, "synced")
    assert dagster().run([asset_of(each.spec, each.after)]).success, "there is nothing to allow any more"


def test_a_mass_change_names_the_attributes(dagster: Callable[..., Dagster]) -> None:
    case = CASES["max_changed"]
    dagster().run([asset_of(case.spec, case.before)])
    _, metadata = failure(dagster().run([asset_of(case.spec, case.after)]))
    assert [record.data for record in metadata["changed_attributes"].records] == [{"attribute": "plan", "changed_rows": 3}]


def test_a_count_of_new_people_holds_for_a_first_run_too(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    people = asset_of(Person(max_new_people=2), rows(1, 2, 3))
    message, metadata = failure(dagster().run([people]))
    assert "3 people would be created beside the 0 known ones" in message
    assert (metadata["would_create"], metadata["known_rows"]) == (3, 0)
    assert sandbox.get("people") == []
    assert dagster().run([people], config={"synced": {"allow_changes": True}}).success
    assert len(sandbox.get("people")) == 3


def test_a_collection_that_is_too_large_cannot_be_allowed(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    plans = asset_of(Collection(name="Plans"), rows(*range(1_100), text="x" * 9_900))
    everything = {"synced": {"allow_deletes": True, "allow_changes": True}}
    message, metadata = failure(dagster().run([plans], config=everything))
    assert "the limit is 10,000,000" in message
    assert (metadata["guard"], metadata["would_send"]) == ("collection_size", 1_100)
    assert {request["method"] for request in sandbox.get("requests")} == {"GET"}


def test_a_source_that_shrank_is_warned_about(dagster: Callable[..., Dagster]) -> None:
    dagster().run([asset_of(Person(), rows(*range(40)))])
    found = numbers(dagster().run([asset_of(Person(), rows(*range(10)))]), "synced")
    assert "The source has 10 rows, 30 fewer than the 40 of the last run." in found["warnings"]


def test_a_change_of_most_rows_is_warned_about(dagster: Callable[..., Dagster]) -> None:
    dagster().run([asset_of(Person(), rows(*range(1_500), plan="free"))])
    found = numbers(dagster().run([asset_of(Person(), rows(*range(1_500), plan="pro"))]), "synced")
    assert "1,500 of 1,500 rows have changed, most of all 'plan' (in 1,500)." in found["warnings"]


DAYS = dg.StaticPartitionsDefinition(["mon", "tue"])


def test_a_run_of_several_partitions_says_which_one_was_stopped(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    frame = {"mon": rows(1), "tue": rows(2, 3)}

    @customerio_asset(Person(max_new_people=1), partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def synced() -> dict[str, pl.DataFrame]:
        return frame

    message, _ = failure(dagster().run([synced], partitions=("mon", "tue")))
    assert message.startswith("Partition tue: Nothing was sent: 2 people would be created")
    assert [person["id"] for person in sandbox.get("people")] == ["1"]


OTHERS: list[tuple[AnySpec, AnySpec, str]] = [
    (Person(), Person(key="email", column="mail"), "was made for person 'id'; the spec now says person 'email'"),
    (ManualSegment(name="VIP"), ManualSegment(name="Gold"), "was made for segment 'VIP'; the spec now says segment 'Gold'"),
    (Object(object_type_id=1, column="id"), Object(object_type_id=2, column="id"), "object_type_id '1'; the spec now says object_type_id '2'"),
    (Collection(name="Plans"), Collection(name="Prices"), "was made for collection 'Plans'; the spec now says collection 'Prices'"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "said"), OTHERS, ids=["key", "segment", "object type", "collection"])
def test_a_sync_of_something_else_needs_a_decision(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, before: AnySpec, after: AnySpec, said: str
) -> None:
    frame = rows(1, 2, mail="a@x.org")
    assert dagster().run([asset_of(before, frame)]).success
    first = len(sandbox.get("requests"))
    for dry_run in (True, False):
        options = {"synced": {"dry_run": dry_run, "allow_deletes": True, "allow_changes": True, "full_resync": True}}
        message, _ = failure(dagster().run([asset_of(after, frame)], config=options))
        assert message.startswith("Nothing was sent: the snapshot of synced")
        assert said in message
        assert "another asset name" in message
        assert "`cio-state forget synced`" in message
    assert {request["method"] for request in sandbox.get("requests")[first:]} == {"GET"}
    assert dagster().run([asset_of(after, frame.unique("mail"), name="another")]).success


@pytest.fixture
def another_workspace(sandbox: RunningSandbox) -> Iterator[Callable[[], object]]:
    """Makes the sandbox another workspace, until the end of the test."""
    yield lambda: sandbox.settings(environment_id=777)
    sandbox.settings(environment_id=1)


def test_another_workspace_needs_a_decision(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, another_workspace: Callable[[], object]
) -> None:
    assert dagster().run([asset_of(Person(), rows(1))]).success
    another_workspace()
    before = len(sandbox.get("requests"))
    for dry_run in (True, False):
        message, _ = failure(dagster().run([asset_of(Person(), rows(2))], config={"synced": {"dry_run": dry_run}}))
        assert "but the credentials belong to workspace 777. Give each workspace a name" in message
        assert "`cio-state forget synced`" in message
    assert {request["method"] for request in sandbox.get("requests")[before:]} == {"GET"}
    assert dagster(workspace="other").run([asset_of(Person(), rows(2))]).success


PEOPLE = pl.DataFrame({"id": ["1", "2", "x@y"], "email": ["ada@x.org", "ADA@x.org", "bob@x.org"]})


def test_people_whose_identifiers_clash_are_warned_about(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    result = dagster().run([asset_of(Person(), PEOPLE)])
    found = numbers(result, "synced")
    assert (found["created"], found["rejected"]) == (3, 0)
    assert "2 rows (such as 1, 2) share their email with another row." in found["warnings"]
    table = {record.data["problem"]: record.data for record in found["identity"].records}
    assert {problem: (data["rows"], data["examples"]) for problem, data in table.items()} == {
        "shared_email": (2, "1, 2"),
        "id_like_email": (1, "x@y"),
    }
    assert "re-labels that person" in str(table["shared_email"]["consequence"])


def test_people_whose_identifiers_clash_can_be_rejected(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    found = numbers(dagster().run([asset_of(Person(identity_checks="reject"), PEOPLE)]), "synced")
    assert (found["created"], found["rejected"]) == (0, 3)
    assert {record.data["reason"]: record.data["rows"] for record in found["rejects"].records} == {
        "shared_email": 2,
        "id_like_email": 1,
    }
    assert sandbox.get("people") == []


def test_where_values_are_not_shown_keys_of_clashing_people_are_hashed(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    made = dagster()
    manager: Any = made.resources["customerio"]
    workspace: CustomerIO = manager.customerio
    hidden = Dagster(
        made.instance, {"customerio": CustomerIOIOManager(customerio=workspace, state=manager.state, show_values=False)}
    )
    found = numbers(hidden.run([asset_of(Person(), PEOPLE)]), "synced")
    shown = str(found["warnings"]) + str([record.data for record in found["identity"].records])
    assert "share their email with another row" in shown
    assert "x@y" not in shown
    assert "such as 1, 2" not in shown
