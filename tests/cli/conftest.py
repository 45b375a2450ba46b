from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from cio_dagster.cli.main import main
from tests.engine import SITE, TRACK_KEY, Engine, engine, shared_sandbox

__all__ = ["engine", "shared_sandbox"]

PROJECT = Path(__file__).parent / "project.py"


@dataclass
class Project:
    """A folder with definitions and their source, synced to the sandbox."""

    engine: Engine
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SOURCE": str(self.folder),
            "CIO_SITE_ID": SITE,
            "CIO_TRACK_API_KEY": TRACK_KEY,
            "CIO_TRACK_URL": self.engine.sandbox.url,
            "CIO_STATE": str(self.engine.root),
        }

    def source(self, name: str, rows: list[dict[str, Any]]) -> None:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(self.folder / f"{name}.parquet")

    def run(self, *arguments: str, status: int = 0, answer: str | None = None) -> Result:
        """Run `cio` in the folder; no run may end in a traceback."""
        _forget_definitions()
        result = CliRunner().invoke(main, arguments, input=answer)
        _forget_definitions()  # Other tests have others of that name.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == status, result.output
        assert "\x1b" not in result.output, "no control codes where there is no terminal"
        return result

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status).stdout)


def _forget_definitions() -> None:
    for name in [name for name in sys.modules if name.startswith("definitions")]:
        del sys.modules[name]


@pytest.fixture
def project(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(engine, tmp_path)
    (tmp_path / "definitions.py").write_text(PROJECT.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    found.source("people", [{"id": "a", "plan": "free"}, {"id": "b", "plan": "pro"}, {"id": None, "plan": "pro"}])
    found.source("seen", [{"row": f"{part}{n}", "id": "a", "part": part} for part in "pq" for n in range(3)])
    return found
