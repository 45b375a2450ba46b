"""Rate limits, by the times in the sandbox's request log."""

from __future__ import annotations

from typing import Any

from cio_dagster.deliver import Traffic, read_baseline
from cio_dagster.specs import Event, ManualSegment, Person
from tests.engine import Engine


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"p{n:03}"} for n in range(count)]


SINGLE = Event(row_id="id", key="anonymous_id", column="id", name="seen", start="all")


def most_in(times: list[float], window: float) -> int:
    """The most requests in any window of so many seconds."""
    return max(sum(1 for other in times if time <= other < time + window) for time in times)


def test_requests_a_second_with_a_burst_first(engine: Engine) -> None:
    report = engine.sync(SINGLE, rows(50), requests_per_second=20, burst=20)
    times = [each["time"] for each in engine.requests("/api/v1/events")]
    assert len(times) == 50
    # The bucket's 20, then 20 a second.
    assert most_in(times, 0.25) <= 20 + 20 * 0.25 + 2
    assert 1.3 <= times[-1] - times[0] <= 3
    assert most_in([time for time in times if time > times[0] + 0.3], 1.0) <= 22
    assert report.throttled_seconds > 1


def test_no_burst(engine: Engine) -> None:
    engine.sync(SINGLE, rows(15), requests_per_second=20, burst=1)
    times = [each["time"] for each in engine.requests("/api/v1/events")]
    assert most_in(times, 0.25) <= 7
    assert times[-1] - times[0] >= 0.6


def test_tries_count_too(engine: Engine) -> None:
    engine.sandbox.faults([{"path": "/api/v1/events", "status": 500, "times": 10}])
    engine.sync(SINGLE, rows(10), requests_per_second=20, burst=1)
    times = [each["time"] for each in engine.requests("/api/v1/events")]
    assert len(times) == 20
    assert most_in(times, 0.25) <= 7


def test_the_app_api_is_never_driven_over_its_limit(engine: Engine) -> None:
    engine.sandbox.settings(app_requests_per_second=10, page_repeats=0)
    engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": f"p{n:03}"}} for n in range(25)))
    made = engine.sandbox.post("segments", {"name": "s", "type": "manual"})
    engine.track("POST", f"/api/v1/segments/{made['id']}/add_customers", {"ids": [f"p{n:03}" for n in range(25)]})
    import cio_dagster.deliver.targets as targets

    page, targets.MEMBERS_A_PAGE = targets.MEMBERS_A_PAGE, 1
    try:
        # Below the sandbox's ten: requests that are evenly spaced here may arrive closer together on a busy machine.
        found = read_baseline(engine.connection(app_requests_per_second=8), ManualSegment(name="s"))
    finally:
        targets.MEMBERS_A_PAGE = page
    assert len(found) == 25
    log = [each for each in engine.requests("/v1/segments") if each["api"] == "app"]
    assert len(log) >= 26
    assert {each["status"] for each in log} == {200}
    assert most_in([each["time"] for each in log], 0.95) <= 11


def test_records_a_second(engine: Engine) -> None:
    report = engine.sync(Person(), rows(100), records_per_second=40)
    log = engine.requests("/api/v2/batch")
    assert report.created == 100
    assert all(each["operations"] <= 40 for each in log)
    first = log[0]["time"]
    assert sum(each["operations"] for each in log if each["time"] < first + 0.9) <= 40 + 40 * 0.9
    assert 1.2 <= log[-1]["time"] - first <= 3


def test_requests_in_flight(engine: Engine) -> None:
    """No more than `concurrency` at a time: with three slow ones, the second three wait."""
    engine.sandbox.faults([{"path": "/api/v1/events", "delay": 0.4, "times": 3}])
    engine.sync(SINGLE, rows(6), concurrency=3)
    times = sorted(each["time"] for each in engine.requests("/api/v1/events"))
    assert len(times) == 6
    assert times[-1] - times[0] >= 0.3


def test_traffic_is_counted(engine: Engine) -> None:
    report = engine.sync(Person(), rows(100), batch_bytes=1_000)
    log = engine.requests("/api/v2/batch")
    assert (report.requests, report.bytes) == (len(log), sum(each["bytes"] for each in log))
    assert sum(each["operations"] for each in log) == 100
    assert max(each["bytes"] for each in log) <= 1_000
    assert Traffic() == Traffic(0, 0, 0, 0.0)
