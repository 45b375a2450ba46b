"""Runs that Dagster ends, and steps that it tries again: Customer.io has each row once."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cio_dagster import CustomerIO, CustomerIOIOManager, Event, Person, customerio_asset, io_manager
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.state import outcomes
from tests.rates.conftest import Home, home
from tests.rates.test_processes import wait_for

__all__ = ["home"]


@pytest.mark.parametrize("process", ["the run's", "the step's"])
def test_a_run_that_gets_sigterm_ends_at_once_and_the_next_one_sends_the_rest(home: Home, process: str) -> None:
    """As a launcher ends a run that is cancelled, with requests under way whose answers never come."""
    home.rate = 1000
    home.sandbox.faults([{"path": "/api/v1/events", "delay": 60, "after": 20}])
    run = home.materialize("one")
    note = home.state / "customerio" / "one" / "whole" / "lock.json"
    pid = int(str(wait_for(note)["pid"]))
    while len([each for each in home.sandbox.get("requests") if each["path"] == "/api/v1/events"]) < 20:
        time.sleep(0.05)
    begun = time.monotonic()
    os.kill(pid if process == "the step's" else run.pid, signal.SIGTERM)
    output, _ = run.communicate(timeout=60)
    assert time.monotonic() - begun < 20
    assert run.returncode != 0, output
    assert not note.exists()

    home.sandbox.faults([])
    output, _ = home.materialize("one").communicate(timeout=60)
    events = home.sandbox.get("events")
    assert len(events) == len({each["id"] for each in events}) == home.rows, output
    table = outcomes(home.state, asset="one").filter(pl.col("outcome") == "accepted").collect()
    assert len(table) == table["key"].n_unique() == home.rows
    assert table["run_id"].n_unique() == 2, "what the ended run had answers for was committed for it"


def test_a_step_that_is_tried_again(home: Home, tmp_path: Path) -> None:
    """The first tries apply a request each and lose its answer; the client gives up at once, so that Dagster has to try again."""
    sandbox: RunningSandbox = home.sandbox
    manager = CustomerIOIOManager(
        customerio=CustomerIO(
            site_id="s",
            track_api_key="t",
            track_url=sandbox.url,
            app_url=sandbox.url,
            attempts=1,
            batch_bytes=1_000,
            concurrency=2,
        ),
        state=str(tmp_path / "state"),
    )
    policy = dg.RetryPolicy(max_retries=6, delay=0)
    rows = pl.DataFrame({"id": [f"p{n:02}" for n in range(60)], "plan": ["free"] * 60})

    @customerio_asset(Person(behavior="mirror", delete_people=True), retry_policy=policy)
    def people() -> pl.DataFrame:
        return rows

    @customerio_asset(Event(row_id="id", column="id", name="seen", start="all"), retry_policy=policy)
    def seen() -> pl.DataFrame:
        return rows

    for asset in (people, seen):
        sandbox.faults([{"path": "/api/v2/batch", "drop_answer": True, "after": 2, "times": 3}])
        with dg.instance_for_test() as instance:
            result = dg.materialize([asset], instance=instance, resources={"customerio": manager})
            assert result.success
            retries = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_RESTARTED]
            assert 1 <= len(retries) <= 3
    assert len(sandbox.get("people")) == len(sandbox.get("events")) == 60
    for name in ("people", "seen"):
        table = outcomes(tmp_path / "state", asset=name).filter(pl.col("outcome") == "accepted").collect()
        assert len(table) == table["key"].n_unique() == 60


def test_a_step_stops_when_its_run_is_cancelled_and_nothing_ends_its_process(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Celery, which lets a step go on whose run is cancelled, or with a step's process that outlives its run's."""
    monkeypatch.setattr(io_manager, "PROGRESS_SECONDS", 0.2)
    workspace = CustomerIO(site_id="s", track_api_key="t", track_url=home.sandbox.url, batch_bytes=1_000, concurrency=2)
    manager = CustomerIOIOManager(customerio=workspace, state=str(tmp_path / "state"))

    @customerio_asset(Event(row_id="id", column="id", name="seen", start="all"))
    def seen() -> pl.DataFrame:
        return pl.DataFrame({"id": [f"p{n:02}" for n in range(60)]})

    def materialize() -> dg.ExecuteInProcessResult:
        return dg.materialize([seen], instance=instance, resources={"customerio": manager}, raise_on_error=False)

    home.sandbox.faults([{"path": "/api/v2/batch", "delay": 60, "after": 2}])
    with dg.instance_for_test() as instance, ThreadPoolExecutor() as pool:
        running = pool.submit(materialize)
        while not home.sandbox.get("events"):
            time.sleep(0.05)
        [run] = instance.get_runs()
        instance.report_run_canceling(run)
        result = running.result(30)
        assert not result.success
        assert "Stopped, as the run is canceling" in str(result.failure_data_for_node("seen").error)
        home.sandbox.faults([])
        assert materialize().success
    events = home.sandbox.get("events")
    assert len(events) == len({each["id"] for each in events}) == 60
