"""The shipped workspace under a real `dagster dev`, driven through GraphQL as the UI does it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from demo.warehouse import advance_one_day, build

ROOT = Path(__file__).parent.parent.parent
SYNCS = ["people", "devices", "orders", "plans", "vip_customers", "accounts", "account_members"]

LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass
class Webserver:
    url: str
    log: Path
    sandbox: RunningSandbox
    warehouse: Path

    def query(self, text: str, **variables: Any) -> Any:
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def run(self, assets: list[str], *, config: dict[str, Any] | None = None, partition: str | None = None) -> str:
        """Launch assets from the implicit job, as the Materialize button does; wait, and return the run's status."""
        selector = {
            "repositoryLocationName": "cio_dagster_demo",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {"ops": {name: {"config": options} for name, options in (config or {}).items()}},
            "executionMetadata": {"tags": tags},
        }
        launched = self.query(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return self.wait(launched["run"]["runId"])

    def wait(self, run_id: str) -> str:
        for _ in range(600):
            status: str = self.query(STATUS, id=run_id)["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.2)
        raise AssertionError(f"run {run_id} did not end")


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    folder = tmp_path_factory.mktemp("dagster")
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
        command = [
            str(Path(sys.executable).parent / "dagster"),
            "dev",
            "--workspace",
            str(ROOT / "workspace.yaml"),
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = Webserver(f"http://127.0.0.1:{port}", folder / "log", sandbox, warehouse)
            for _ in range(600):
                try:
                    found.query("{ version }")
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.2)
            yield found
        finally:
            process.terminate()
            process.wait(60)


def test_it_loads_without_a_warning(webserver: Webserver) -> None:
    entries = webserver.query(
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } } } }"
    )["workspaceOrError"]["locationEntries"]
    assert [(entry["name"], entry["locationOrLoadError"]["__typename"]) for entry in entries] == [
        ("cio_dagster_demo", "RepositoryLocation")
    ]
    # Dagster's own word that `dagster dev` has a successor is not about what it loads.
    lines = [line for line in webserver.log.read_text().splitlines() if "superseded" not in line]
    assert not [line for line in lines if re.search("warning", line, re.IGNORECASE)]


def test_the_lineage_reads_table_asset_customerio(webserver: Webserver) -> None:
    nodes = webserver.query("{ assetNodes { assetKey { path } dependencyKeys { path } kinds } }")["assetNodes"]
    upstream = {"/".join(node["assetKey"]["path"]): {"/".join(key["path"]) for key in node["dependencyKeys"]} for node in nodes}
    assert upstream["people"] == {"raw/customers"}
    assert upstream["orders"] == {"raw/orders", "people"}
    assert upstream["customerio_workspace"] == set(SYNCS)
    assert all("customerio" in node["kinds"] for node in nodes if node["assetKey"]["path"] in [[name] for name in SYNCS])


def test_everything_materializes_and_no_secret_is_shown(webserver: Webserver) -> None:
    assert webserver.run(["people"], config={"people": {"dry_run": True}}) == "SUCCESS"
    assert webserver.sandbox.get("people") == []
    assert webserver.run([name for name in SYNCS if name != "orders"]) == "SUCCESS"
    yesterday = str(date.today() - timedelta(days=1))
    assert webserver.run(["orders"], partition=yesterday) == "SUCCESS"
    counts = webserver.sandbox.get("counts")
    assert all(
        counts[name] for name in ("people", "devices", "events", "segment_members", "objects", "relationships", "collections")
    )
    events = webserver.query(
        "{ assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) "
        "{ metadataEntries { label ... on IntMetadataEntry { intValue } } } } } } }"
    )["assetsOrError"]["nodes"]
    rejected = {
        node["key"]["path"][-1]: entry["intValue"]
        for node in events
        for event in node["assetMaterializations"]
        for entry in event["metadataEntries"]
        if entry["label"] == "rejected"
    }
    assert rejected["people"] == 9
    everything = webserver.log.read_text() + json.dumps(events)
    assert "a-secret-track-key" not in everything
    assert "a-secret-app-key" not in everything


def test_the_sensor_asks_for_the_syncs_of_changed_tables(webserver: Webserver) -> None:
    tick = """mutation($selector: SensorSelector!, $cursor: String) { sensorDryRun(selectorData: $selector, cursor: $cursor) {
      __typename ... on PythonError { message } ... on DryRunInstigationTick { evaluationResult {
        cursor skipReason error { message } runRequests { runKey assetSelection { path } } } } } }"""
    selector = {
        "repositoryLocationName": "cio_dagster_demo",
        "repositoryName": "__repository__",
        "sensorName": "warehouse_changes",
    }
    first = webserver.query(tick, selector=selector, cursor=None)["sensorDryRun"]["evaluationResult"]
    assert first["skipReason"] == "This is the first look: what is there now counts as known."
    advance_one_day(webserver.warehouse)
    second = webserver.query(tick, selector=selector, cursor=first["cursor"])["sensorDryRun"]["evaluationResult"]
    assert second["error"] is None
    requested = [{key["path"][-1] for key in request["assetSelection"]} for request in second["runRequests"]]
    assert requested == [set(SYNCS) - {"orders"}]
    # The orders come once the people are there: no run was launched here that they would have to wait for.
    third = webserver.query(tick, selector=selector, cursor=second["cursor"])["sensorDryRun"]["evaluationResult"]
    assert [key["path"][-1] for request in third["runRequests"] for key in request["assetSelection"]] == ["orders"]
