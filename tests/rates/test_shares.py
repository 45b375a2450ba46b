"""What one step does with its share: fractions of a request a second, and one burst for all its partitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from cio_dagster.deliver import Client, Connection
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from tests.engine import connection


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_sandbox() as running:
        yield running


def seconds_for(at: Connection, calls: int, api: str = "track", rows: int = 0) -> float:
    """How long so many calls take, one client after another."""

    async def call() -> None:
        async with Client(at) as client:
            if api == "track":
                await client.track("GET", "/api/v1/accounts/region", rows=rows)
            else:
                await client.app("GET", "/v1/segments")

    begun = time.monotonic()
    for _ in range(calls):
        asyncio.run(call())
    return time.monotonic() - begun


def test_fractions_of_a_request_a_second(sandbox: RunningSandbox) -> None:
    at = connection(sandbox.url, site_id="fraction", requests_per_second=2.5, burst=1, app_requests_per_second=2.5)
    assert 1.5 <= seconds_for(at, 5) <= 2.3
    assert 1.1 <= seconds_for(at, 4, "app") <= 1.9


def test_fractions_of_a_record_a_second(sandbox: RunningSandbox) -> None:
    at = connection(sandbox.url, site_id="records", records_per_second=0.8)
    assert 2.4 <= seconds_for(at, 3, rows=1) <= 3.2


def test_clients_of_one_process_have_one_burst_between_them(sandbox: RunningSandbox) -> None:
    at = connection(sandbox.url, site_id="burst", requests_per_second=10, burst=10)
    assert seconds_for(at, 10) <= 1
    assert 0.8 <= seconds_for(at, 15) <= 1.8
    # Another workspace's is its own.
    assert seconds_for(connection(sandbox.url, site_id="other", requests_per_second=10, burst=10), 10) <= 1


def test_what_was_not_sent_before_a_step_began_is_not_saved_up_for_it(sandbox: RunningSandbox) -> None:
    """Each step begins empty, also in a process that had steps before: the budget may have been another's meanwhile."""
    for _ in range(2):
        since = time.monotonic() - 0.5
        at = connection(sandbox.url, site_id="since", requests_per_second=10, burst=10, since=since)
        assert 0.4 <= seconds_for(at, 10) <= 1.2
        time.sleep(0.8)
