"""Real run processes on one Dagster instance."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).with_name("project.py")
SHIPPED = Path(__file__).parent.parent.parent / "dagster.yaml"


@dataclass
class Home:
    """A DAGSTER_HOME with the shipped dagster.yaml, and the commands that run in it."""

    folder: Path
    sandbox: RunningSandbox
    rate: float = 40
    rows: int = 60
    together: int = 1
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def dagster(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a `dagster` command."""
        environment = os.environ | {
            "DAGSTER_HOME": str(self.folder),
            "TEST_URL": self.sandbox.url,
            "TEST_STATE": str(self.state),
            "TEST_RATE": str(self.rate),
            "TEST_ROWS": str(self.rows),
            "TEST_BEGUN": str(self.folder / "begun"),
            "TEST_TOGETHER": str(self.together),
        }
        command = [str(BIN / "dagster"), *arguments]
        process = subprocess.Popen(
            command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(process)
        return process

    def materialize(self, asset: str, partition: str | None = None) -> subprocess.Popen[str]:
        """Start a run of an asset, in processes of its own."""
        chosen = ["--partition", partition] if partition else []
        return self.dagster("asset", "materialize", "-f", str(PROJECT), "--select", asset, *chosen)

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.folder))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    (tmp_path / "dagster.yaml").write_text(SHIPPED.read_text())
    (tmp_path / "begun").mkdir()
    with run_sandbox() as sandbox:
        found = Home(tmp_path, sandbox)
        try:
            yield found
        finally:
            for process in found.started:
                process.kill()
                process.communicate()
