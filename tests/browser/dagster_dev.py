"""The shipped workspace under a real `dagster dev`, beside a sandbox and a warehouse of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from demo.warehouse import build

ROOT = Path(__file__).parents[2]
LOCATION = "cio_dagster_demo"

LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass
class DagsterDev:
    """A running `dagster dev`, and what it works on."""

    url: str
    log: Path
    sandbox: RunningSandbox
    warehouse: Path

    def query(self, text: str, **variables: Any) -> Any:
        """Ask GraphQL, as the UI does."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(self, assets: list[str], *, partition: str | None = None) -> str:
        """Launch assets from the implicit job, without the checks that are steps of their own, in one process; return the run's id."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
            "assetCheckSelection": [{"assetKey": {"path": [asset]}, "name": "no_rejected_rows"} for asset in assets],
        }
        config = {"execution": {"config": {"in_process": {}}}}
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {"selector": selector, "mode": "default", "runConfigData": config, "executionMetadata": {"tags": tags}}
        launched = self.query(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def wait(self, run_id: str) -> str:
        """The status in which a run ended."""
        for _ in range(1200):
            status: str = self.query(STATUS, id=run_id)["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.2)
        raise AssertionError(f"run {run_id} did not end")


@contextmanager
def run_dagster_dev(folder: Path) -> Iterator[DagsterDev]:
    """Start everything on free ports, with files in a folder, and stop it at the end of the block."""
    home, warehouse = folder / "home", folder / "warehouse.duckdb"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    build(warehouse, today=date.today(), customers=300)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with run_sandbox() as sandbox, (folder / "log").open("w") as log:
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "CIO_SITE_ID": "site",
            "CIO_TRACK_API_KEY": "a-secret-track-key",
            "CIO_APP_API_KEY": "a-secret-app-key",
            "CIO_TRACK_URL": sandbox.url,
            "CIO_APP_URL": sandbox.url,
            "CIO_WAREHOUSE": f"duckdb:///{warehouse}",
            "CIO_STATE": str(folder / "state"),
        }
        program = str(Path(sys.executable).parent / "dagster")
        command = [program, "dev", "--workspace", str(ROOT / "workspace.yaml"), "--port", str(port)]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            running = DagsterDev(f"http://127.0.0.1:{port}", folder / "log", sandbox, warehouse)
            for _ in range(1500):
                try:
                    running.query("{ version }")
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.2)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                # Code servers may outlive it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
