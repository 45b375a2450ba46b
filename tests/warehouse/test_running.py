"""Queries that are stopped: by a signal, by their time limit; and that they end in the database."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest

from cio_dagster.warehouse import Warehouse, WarehouseError

FOREVER = {
    "duckdb": "select count(*) as n from range(10000000) a, range(10000000) b where (a.range * b.range) % 7 = 3",
    "postgres": "select pg_sleep(600)::text as x",
    "postgres_rows": "select pg_sleep(0.001)::text as x from generate_series(1, 100000000)",
}


def url_of(request: pytest.FixtureRequest, engine: str) -> str:
    url: str = "duckdb://" if engine == "duckdb" else request.getfixturevalue("postgres_url")
    return url


def seen_by_postgres(url: str, *, at_least: int) -> int:
    """How many other queries the server runs, once they are so many, or none where none are wanted."""
    watching = Warehouse(url=url)
    sql = (
        "select count(*) as n from pg_stat_activity where state = 'active' and query like 'FETCH%' and pid <> pg_backend_pid()"
    )
    for _ in range(200):
        found: int = watching.query(sql).collect().item()
        if (found >= at_least) if at_least else not found:
            return found
        time.sleep(0.05)
    return found


def left_behind() -> list[threading.Thread]:
    """Threads of queries that do not end."""
    threads = [thread for thread in threading.enumerate() if thread.name == "cio-warehouse"]
    for thread in threads:
        thread.join(5)
    return [thread for thread in threads if thread.is_alive()]


class Terminated(BaseException):
    """What Dagster raises in the main thread when a run is terminated is of its own kind too."""


def terminate_when(ready: Callable[[], object]) -> threading.Thread:
    """Send this process SIGTERM, which Dagster's step has raise an exception at once, when a query is under way."""

    def wait_and_signal() -> None:
        ready()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    thread = threading.Thread(target=wait_and_signal)
    thread.start()
    return thread


@pytest.fixture
def sigterm_raises() -> object:
    def handler(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_raises")
@pytest.mark.parametrize("name", ["postgres", "postgres_rows"])
def test_sigterm_cancels_the_query_on_the_server(postgres_url: str, name: str) -> None:
    sender = terminate_when(lambda: seen_by_postgres(postgres_url, at_least=1))
    with pytest.raises(Terminated):
        Warehouse(url=postgres_url).query(FOREVER[name])
    sender.join()
    assert seen_by_postgres(postgres_url, at_least=0) == 0


@pytest.mark.usefixtures("sigterm_raises")
def test_sigterm_ends_the_query_in_this_process() -> None:
    sender = terminate_when(lambda: time.sleep(0.3))
    with pytest.raises(Terminated):
        Warehouse(url="duckdb://").query(FOREVER["duckdb"])
    sender.join()
    assert left_behind() == []


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_query_that_takes_too_long(request: pytest.FixtureRequest, engine: str) -> None:
    url = url_of(request, engine)
    with pytest.raises(WarehouseError, match=r"the query: .*(took longer than 0\.3 s \(statement_timeout\)|statement timeout)"):
        Warehouse(url=url, statement_timeout=0.3).query(FOREVER[engine])
    assert left_behind() == []
    assert Warehouse(url=url).query("select 1 as x").collect().item() == 1


def test_postgres_keeps_to_the_limit_itself(postgres_url: str) -> None:
    limit = (
        Warehouse(url=postgres_url, statement_timeout=90).query("select current_setting('statement_timeout') as x").collect()
    )
    assert limit.item() == "90s"


def test_a_limit_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Warehouse(url="duckdb://", statement_timeout=0)
