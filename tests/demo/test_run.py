"""`make demo` as a newcomer runs it, without the set-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_ends_well_and_says_what_became_of_every_row() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIO_")}
    run = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Everything arrived as it should." in run.stdout
    for title in ("First sync", "The same again: nothing to send", "A day later", "Rejected, and why"):
        assert title in run.stdout
    assert "WARNING" not in run.stderr
