"""Outages: many workers do not storm an API that fails, a hopeless run ends in bounded time, and what was accepted by then is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cio_dagster.errors import CredentialsRefused, DeliveryError, RegionMismatch, Unavailable
from cio_dagster.specs import Event, Person
from tests.engine import Engine

PERSON = Person()
EVENT = Event(row_id="id", column="id", name="seen", start="all")
BATCH = "/api/v2/batch"


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"p{n:04}", "plan": "free"} for n in range(count)]


@contextmanager
def outage(engine: Engine, seconds: float, fault: dict[str, Any]) -> Iterator[None]:
    """A fault, which ends after so many seconds."""
    engine.sandbox.faults([{"path": BATCH, **fault}])
    end = threading.Timer(seconds, lambda: engine.sandbox.faults([]))
    end.start()
    try:
        yield
    finally:
        end.join()


def failed(engine: Engine) -> list[dict[str, Any]]:
    return [each for each in engine.requests(BATCH) if each["status"] != 200]


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}], ids=["bare", "retry-after"])
def test_a_storm_of_429_is_waited_out(engine: Engine, headers: dict[str, str]) -> None:
    with outage(engine, 1.5, {"status": 429, "headers": headers}):
        report = engine.sync(EVENT, rows(400), batch_bytes=1_000, concurrency=16, attempts=12, longest_backoff=0.4)
    assert (report.error, report.sent) == (None, 400)
    assert len(engine.sandbox.get("events")) == 400
    # Sixteen workers at once, and once more before they all know; then one at a time.
    assert 16 <= len(failed(engine)) <= 2 * 16 + 12


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503, "apply": True}, {"drop_answer": True}], ids=str)
def test_an_outage_is_waited_out(engine: Engine, fault: dict[str, Any]) -> None:
    """Of minutes, with the default settings; here the pauses are short, and so is the outage."""
    with outage(engine, 1.5, fault):
        report = engine.sync(EVENT, rows(400), batch_bytes=1_000, concurrency=16, attempts=12, longest_backoff=0.4)
    assert (report.error, report.sent) == (None, 400)
    events = engine.sandbox.get("events")
    assert len(events) == len({each["id"] for each in events}) == 400


def test_some_failures_among_answers_do_not_slow_the_others(engine: Engine) -> None:
    engine.sandbox.faults([{"path": BATCH, "status": 500, "probability": 0.2, "seed": 1}])
    report = engine.sync(EVENT, rows(600), batch_bytes=1_000, concurrency=8)
    assert (report.error, report.sent) == (None, 600)
    assert report.retries >= 5


@pytest.mark.parametrize("concurrency", [1, 4, 32])
@pytest.mark.parametrize(
    ("fault", "timeout"),
    [({"status": 500}, 5.0), ({"status": 429, "headers": {"Retry-After": "0.2"}}, 5.0), ({"delay": 1.0}, 0.15)],
)
def test_a_hopeless_run_ends_within_its_bound(engine: Engine, fault: dict[str, Any], timeout: float, concurrency: int) -> None:
    attempts, backoff = 4, 0.2
    engine.sandbox.faults([{"path": BATCH, "after": 3, **fault}])
    begun = time.monotonic()
    report = engine.sync(
        PERSON,
        rows(1000),
        batch_bytes=1_000,
        concurrency=concurrency,
        attempts=attempts,
        longest_backoff=backoff,
        timeout=timeout,
    )
    assert isinstance(report.error, Unavailable)
    answered = timeout if "delay" in fault else 0.05
    assert report.seconds["deliver"] <= 2 * attempts * (answered + 2 * backoff) + 1.0
    assert time.monotonic() - begun < 2 * attempts * (timeout + 2 * backoff)
    # No more than two tries of each worker, and then one at a time.
    assert report.requests - 3 <= 2 * concurrency + 2 * attempts
    assert 0 < report.created <= 3 * 20
    assert report.pending == 1000 - report.created
    if "delay" in fault:
        time.sleep(1.1)  # Late answers go into the sandbox's log, and that into this test.
    engine.sandbox.faults([])
    after = engine.sync(PERSON, rows(1000))
    assert after.created == 1000 - report.created
    assert len(engine.sandbox.get("people")) == 1000


def test_after_an_outage_all_workers_go_on(engine: Engine) -> None:
    """The breaker closes with the first answer; what comes after is as fast as before."""
    engine.sandbox.faults([{"path": BATCH, "status": 500, "times": 10}])
    report = engine.sync(EVENT, rows(400), batch_bytes=1_000, concurrency=8)
    assert (report.error, report.sent) == (None, 400)
    assert report.seconds["deliver"] < 3


def test_requests_under_way_are_answered_when_another_ends_the_run(engine: Engine) -> None:
    """So that what they did is known: the slow answers are logged, though a 404 ended the run before."""
    engine.sandbox.faults([{"path": BATCH, "delay": 0.7, "times": 3}, {"path": BATCH, "status": 404}])
    report = engine.sync(PERSON, rows(100), batch_bytes=1_000, concurrency=4)
    assert report.error is not None
    assert report.error.status == 404
    assert report.created == len(engine.sandbox.get("people")) > 0
    assert report.seconds["deliver"] < 3


def test_their_answers_are_not_waited_for_forever(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_dagster.deliver.LAST_ANSWERS", 0.3)
    engine.sandbox.faults([{"path": BATCH, "delay": 2.0, "times": 3}, {"path": BATCH, "status": 404}])
    report = engine.sync(PERSON, rows(100), batch_bytes=1_000, concurrency=4)
    assert report.error is not None
    assert report.seconds["deliver"] < 1.5
    # They were applied, and nobody knows: the next run sends them again, and removes nothing.
    unsettled = engine.state().unsettled()
    assert unsettled is not None
    time.sleep(2)
    engine.sandbox.faults([])
    assert engine.sync(PERSON, rows(100)).created == 100
    assert engine.state().unsettled() is None


def test_a_401_waits_for_nobody(engine: Engine) -> None:
    engine.sandbox.faults([{"path": BATCH, "delay": 2.0, "times": 3}, {"path": BATCH, "status": 401}])
    report = engine.sync(PERSON, rows(100), batch_bytes=1_000, concurrency=4)
    assert isinstance(report.error, CredentialsRefused)
    assert report.seconds["deliver"] < 1.5
    time.sleep(2)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_in_the_middle_ends_the_run(engine: Engine, status: int) -> None:
    location = {"Location": "https://track-eu.customer.io/api/v2/batch"}
    engine.sandbox.faults([{"path": BATCH, "status": status, "headers": location, "after": 2}])
    report = engine.sync(PERSON, rows(100), batch_bytes=1_000, concurrency=1)
    assert isinstance(report.error, RegionMismatch)
    assert 0 < report.created == len(engine.sandbox.get("people")) < 100
    assert report.created + report.pending == 100


def test_a_name_that_is_not_found_is_tried_so_often_and_no_more(engine: Engine) -> None:
    begun = time.monotonic()
    with pytest.raises(DeliveryError, match="tried 3 times"):
        engine.sync(PERSON, rows(3), track_url="http://no-such-host.invalid", attempts=3)
    assert time.monotonic() - begun < 10
    assert engine.state().info() is None
