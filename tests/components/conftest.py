"""Projects of Dagster's `dg` in temporary folders, loaded in this process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import dagster as dg
import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox

NUMBERS = count()

PYPROJECT = """\
[project]
name = "{name}"
version = "0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "{name}"
"""

CONNECTIONS = {
    "warehouse/defs.yaml": """
        type: cio_dagster.WarehouseConnection
        attributes:
          url: "duckdb://"
        """,
    "workspace/defs.yaml": """
        type: cio_dagster.CustomerIOConnection
        attributes:
          site_id: "{{ env.CIO_SITE_ID }}"
          track_api_key: "{{ env('CIO_TRACK_API_KEY') }}"
          app_api_key: "{{ env.CIO_APP_API_KEY }}"
          track_url: "{{ env.CIO_TRACK_URL }}"
          app_url: "{{ env.CIO_TRACK_URL }}"
          requests_per_second: "{{ env('CIO_RATE', 100) }}"
          state: "{{ env.CIO_STATE }}"
        """,
}


@dataclass
class Project:
    """A project whose files are written as they are asked for; each has a package of its own, as Python keeps what it imported."""

    folder: Path
    name: str

    @property
    def defs(self) -> Path:
        return self.folder / self.name / "defs"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.defs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip())

    def load(self) -> dg.Definitions:
        return dg.load_from_defs_folder(path_within_project=self.folder)

    def dg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Dagster's `dg` in the project. Its output has no colours."""
        return subprocess.run(
            [str(Path(sys.executable).parent / "dg"), *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "DAGSTER_DISABLE_TELEMETRY": "1",
                "NO_COLOR": "1",
                "COLUMNS": "200",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    def make(files: Mapping[str, str] | None = None) -> Project:
        name = f"shop_{next(NUMBERS)}"
        made = Project(tmp_path / name, name)
        made.defs.mkdir(parents=True)
        (made.folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
        monkeypatch.syspath_prepend(made.folder)
        made.write(files or {})
        return made

    return make


@pytest.fixture(scope="session")
def running() -> Iterator[RunningSandbox]:
    with run_sandbox() as found:
        yield found


@pytest.fixture
def sandbox(running: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningSandbox:
    """An empty sandbox, and the environment that the connections name."""
    running.reset()
    for name in ("CIO_SITE_ID", "CIO_TRACK_API_KEY", "CIO_APP_API_KEY"):
        monkeypatch.setenv(name, f"of-{name.lower()}")
    monkeypatch.setenv("CIO_TRACK_URL", running.url)
    monkeypatch.setenv("CIO_STATE", str(tmp_path / "state"))
    return running


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found
