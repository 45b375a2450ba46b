"""The rate budget and the lock, over several run processes at once."""

from __future__ import annotations

import json
import os
import signal
import time
from bisect import bisect_left
from pathlib import Path

from tests.rates.conftest import PROJECT, Home


def most_in_a_second(times: list[float]) -> int:
    return max(bisect_left(times, begin + 1) - position for position, begin in enumerate(times))


def spans(home: Home) -> dict[str, tuple[int, int]]:
    """When the first and the last event of each step came."""
    found: dict[str, list[int]] = {}
    for event in home.sandbox.get("events"):
        found.setdefault(event["name"], []).append(event["received_at"])
    return {name: (min(times), max(times)) for name, times in found.items()}


def test_the_slots_of_a_pool_share_the_budget_over_all_processes(home: Home) -> None:
    # dagster.yaml has one slot; the pool's own limit goes before it.
    assert home.dagster("instance", "concurrency", "set", "customerio", "2").wait(120) == 0
    # The first two steps wait for each other before they send, so they do run at the same time.
    home.together = 2
    runs = [home.dagster("job", "execute", "-f", str(PROJECT), "-j", "both"), home.materialize("parted", "p0")]
    for run in runs:
        output, _ = run.communicate(timeout=120)
        assert run.returncode == 0, output
        assert "Nothing limits" not in output
    times = sorted(each["time"] for each in home.sandbox.get("requests") if each["path"] == "/api/v1/events")
    assert len(times) == 3 * home.rows
    # A share has 20 a second and a burst of one; a third step succeeds the first that ends.
    assert most_in_a_second(times) <= home.rate + 3
    assert most_in_a_second(times) >= 0.75 * home.rate
    found = spans(home)
    assert set(found) == {"p0", "one", "two"}
    for begin, end in found.values():
        assert end - begin >= home.rows / (home.rate / 2) - 1.5
    moments = range(min(begin for begin, _ in found.values()), max(end for _, end in found.values()) + 1)
    assert max(sum(begin < moment < end for begin, end in found.values()) for moment in moments) == 2


def test_a_second_run_of_one_partition_is_told_of_the_first_and_a_dead_one_holds_nothing(home: Home) -> None:
    home.rate = 1000
    assert home.dagster("instance", "concurrency", "set", "customerio", "3").wait(120) == 0
    # The first 32 requests, which are all that one step has in flight, are answered late.
    home.sandbox.faults([{"path": "/api/v1/events", "delay": 600, "times": 32}])
    first = home.materialize("parted", "p0")
    note = home.state / "customerio" / "parted" / "partition=p0" / "lock.json"
    holder = wait_for(note)
    second = home.materialize("parted", "p0")
    other = home.materialize("parted", "p1")
    output, _ = second.communicate(timeout=120)
    assert second.returncode != 0
    assert "parted partition p0 is being written by another run" in output
    for said in (holder["run"], str(holder["pid"]), holder["since"], "terminate that run"):
        assert said in output
    # Another partition runs beside it.
    output, _ = other.communicate(timeout=120)
    assert other.returncode == 0, output
    assert note.exists()
    assert holder["pid"] != first.pid  # The multiprocess executor's step process.

    os.kill(holder["pid"], signal.SIGKILL)
    first.communicate(timeout=120)
    home.sandbox.faults([])
    third = home.materialize("parted", "p0")
    output, _ = third.communicate(timeout=120)
    assert third.returncode == 0, output
    assert len(home.sandbox.get("events")) == 2 * home.rows
    assert not note.exists()


def wait_for(path: Path) -> dict[str, object]:
    for _ in range(600):
        if path.exists():
            found: dict[str, object] = json.loads(path.read_text())
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")
