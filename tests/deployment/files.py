"""The files of a deployment, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def read(name: str) -> Any:
    """A YAML file of deploy/."""
    return yaml.safe_load((DEPLOY / name).read_text())


COMPOSE: dict[str, Any] = read("docker-compose.yaml")
VALUES: dict[str, Any] = read("helm/values.yaml")


def environment(name: str) -> dict[str, str]:
    """The variables of a file like deploy/env.example."""
    lines = [line for line in (DEPLOY / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
