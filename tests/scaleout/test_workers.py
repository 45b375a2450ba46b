"""Several workers of one workspace: one rate budget, more throughput, and nothing lost with one that dies."""

from __future__ import annotations

import json
import os
import signal
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Future

import dagster as dg

from cio_dagster import places
from cio_dagster.state import AssetState, outcomes
from tests.scaleout.conftest import SECRET, Cluster, wait_until
from tests.scaleout.project import BURST, EVENTS, PEOPLE, RATE, SLOTS


def begin(cluster: Cluster, *assets: str) -> Future[dg.JobExecutionResult]:
    """A run of which as many steps as the pool has slots begin to send at the same time."""
    cluster.sandbox.reset()
    return cluster.run(*assets, together=str(min(len(assets), SLOTS)))


def requests(cluster: Cluster, run: Future[dg.JobExecutionResult], assets: int) -> list[float]:
    """When they came, once all of the run's have."""
    assert run.result(100).success
    assert len(cluster.sandbox.get("events")) == assets * EVENTS
    return sorted(each["time"] for each in cluster.sandbox.get("requests") if each["path"] == "/api/v1/events")


def run_id(cluster: Cluster) -> str:
    return cluster.instance.get_runs(limit=1)[0].run_id


def most_in_a_second(times: Sequence[float]) -> int:
    return max(bisect_left(times, begin + 1) - position for position, begin in enumerate(times))


def test_throughput_rises_with_workers_until_the_budget_ends(cluster: Cluster) -> None:
    run = begin(cluster, "a")
    wait_until(cluster.queued)
    [message] = cluster.queued()
    assert run_id(cluster) in message
    assert [secret for secret in (SECRET, os.environ["DAGSTER_PG_URL"]) if secret in message] == []
    cluster.start(1)
    cluster.start(3)
    one = requests(cluster, run, 1)
    cluster.wait_for_workers()
    three = requests(cluster, begin(cluster, "a", "b", "c"), 3)
    assert 0.7 * RATE / SLOTS <= most_in_a_second(one) <= 1.25 * RATE / SLOTS + BURST
    # The pool has two slots: beyond two, a worker waits, as the budget is spent.
    assert 0.7 * RATE <= most_in_a_second(three) <= 1.25 * RATE + BURST
    assert len(three) <= RATE * (three[-1] - three[0] + 0.5) + BURST


def test_a_killed_worker_loses_nothing(cluster: Cluster) -> None:
    """Two workers are killed with requests under way that were taken and not answered; others do their steps again, in the same run."""
    cluster.start(3)
    cluster.sandbox.reset()
    late = {"delay": 120, "after": 5}
    cluster.sandbox.faults([{"path": "/api/v2/batch", **late}, {"path": "/api/v1/events", **late}])
    run = cluster.run("a", "people")
    for kind in ("events", "people"):
        wait_until(lambda kind=kind: len(cluster.sandbox.get(kind)) > 6)
    locks = [cluster.lock("a"), cluster.lock("people")]
    killed = {json.loads(lock.read_bytes())["pid"] for lock in locks}
    assert len(killed) == 2
    assert all(0 < len(cluster.sandbox.get(kind)) < rows for kind, rows in (("events", EVENTS), ("people", PEOPLE)))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    cluster.sandbox.faults([{"path": "/api/", "method": "POST", "status": 429, "headers": {"Retry-After": "0.3"}, "times": 4}])

    result = run.result(150)  # In an object store, a lock is free a minute after its holder's death.
    assert result.success
    starts = cluster.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_START)
    assert sorted(event.step_key for event in starts) == ["a", "a", "people", "people"]
    assert all(places.read(lock) is None for lock in locks)
    sent, held = cluster.sandbox.get("events"), cluster.sandbox.get("people")
    assert len(sent) == len({each["id"] for each in sent}) == EVENTS
    assert len(held) == PEOPLE
    for asset, rows in (("a", EVENTS), ("people", PEOPLE)):
        accepted = outcomes(cluster.state, asset=asset).filter(run_id=result.run_id, outcome="accepted").collect()
        assert len(accepted) == accepted["key"].n_unique() == rows
    snapshot = AssetState(cluster.state, "customerio", "people").snapshot()
    assert snapshot is not None
    assert set(snapshot.collect()["_key"]) == {each["id"] for each in held}
