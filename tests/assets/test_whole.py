"""Partitions by sync key are parts of a whole: guards judge it over separate runs and in one, and another split needs a decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster import Object, customerio_asset, hash_partitions, partition_predicate
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.state import outcomes
from tests.assets.conftest import Dagster, numbers
from tests.assets.test_guards import failure

THREE = hash_partitions(3)
KEYS = THREE.get_partition_keys()


def accounts_of(
    ids: list[int], definition: dg.PartitionsDefinition[Any] | None = THREE, **settings: Any
) -> dg.AssetsDefinition:
    """A mirror of a list that a test may change."""

    @customerio_asset(Object(object_type_id=1, column="id", behavior="mirror", **settings), partitions_def=definition)
    def accounts(context: dg.AssetExecutionContext) -> pl.DataFrame:
        frame = pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
        return frame if definition is None else frame.filter(partition_predicate(context).expr(pl.Int64()))

    return accounts


def held(sandbox: RunningSandbox) -> int:
    return len(sandbox.get("objects"))


def test_separate_runs_remove_no_more_of_the_whole_than_they_may(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox
) -> None:
    ids, keys = list(range(40)), THREE.get_partition_keys()
    asset = accounts_of(ids, max_delete=6)
    assert dagster().run([asset], partitions=(keys[0], keys[-1])).success
    assert held(sandbox) == 40
    del ids[:8]
    results = {key: dagster().run([asset], partition=key) for key in keys}
    assert 40 - 6 <= held(sandbox) < 40
    [stopped] = [key for key, result in results.items() if not result.success]
    message, found = failure(results[stopped])
    assert message.startswith(
        f"Partition {stopped}: Nothing was sent: 8 of 40 rows of all partitions, here and in the last runs of 2 others would be removed, more"
    )
    assert (found["would_remove"], found["known_rows"]) == (8, 40)
    assert dagster().run([asset], partition=stopped, config={"accounts": {"allow_deletes": True}}).success
    assert held(sandbox) == 32
    del ids[:3]
    assert dagster().run([asset], partitions=(keys[0], keys[-1])).success, "what was allowed does not count against the next"
    assert held(sandbox) == 29


def test_a_run_over_several_is_judged_before_anything_is_sent(
    dagster: Callable[..., Dagster], sandbox: RunningSandbox, tmp_path: Any
) -> None:
    ids = list(range(40))
    asset, all_of_them = accounts_of(ids, max_delete=5), (KEYS[0], KEYS[-1])
    assert dagster().run([asset], partitions=all_of_them).success
    del ids[:8]
    dry = dagster().run([asset], partitions=all_of_them, config={"accounts": {"dry_run": True}})
    assert dry.success
    stopped = dagster().run([asset], partitions=all_of_them)
    message, _ = failure(stopped)
    assert "Nothing was sent: 8 of 40 rows of all partitions, here and in the last runs of " in message
    assert held(sandbox) == 40
    lines = outcomes(tmp_path / "state").filter(pl.col("run_id") == stopped.run_id).collect()
    assert (sorted(lines["partition"]), set(lines["outcome"]), lines["rows"].sum()) == (KEYS, {"stopped"}, 32)
    lifted = dagster().run([asset], partitions=all_of_them, config={"accounts": {"allow_deletes": True}})
    assert sum(numbers(lifted, "accounts", key)["removed"] for key in KEYS) == 8


def test_another_split_needs_a_decision(dagster: Callable[..., Dagster], sandbox: RunningSandbox) -> None:
    ids = list(range(40))
    assert dagster().run([accounts_of(ids, None)]).success
    sent = len(sandbox.get("requests"))
    for dry_run in (True, False):
        result = dagster().run([accounts_of(ids)], partition=KEYS[-1], config={"accounts": {"dry_run": dry_run}})
        message, _ = failure(result)
        assert "Nothing was sent: accounts has the state of another split (the whole)" in message
        assert "`cio-state repartition accounts --into 3`" in message
    assert {request["method"] for request in sandbox.get("requests")[sent:]} <= {"GET"}
    assert dagster().run([accounts_of(ids, None)]).success
