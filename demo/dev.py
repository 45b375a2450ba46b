"""`make dev`: the demo's warehouse and a local Customer.io under the Dagster UI, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

from cio_dagster.sandbox.process import run_sandbox
from demo.warehouse import build

HERE = Path(__file__).parent.parent
FOLDER = HERE / ".demo"


def main() -> int:
    """Start everything; return Dagster's exit status."""
    home = FOLDER / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "dagster.yaml", home / "dagster.yaml")
    warehouse = FOLDER / "warehouse.duckdb"
    if not warehouse.exists():
        build(warehouse, today=date.today())
    with run_sandbox(port=8090, state=FOLDER / "customerio.sqlite") as sandbox:
        print(f"A Customer.io is running at {sandbox.url}: open it in a browser to see what arrived.")
        print("Let a day pass in the warehouse: .venv/bin/python -m demo.warehouse advance .demo/warehouse.duckdb")
        command = [
            str(Path(sys.executable).parent / "dagster"),
            "dev",
            "--workspace",
            str(HERE / "workspace.yaml"),
            *sys.argv[1:],
        ]
        dagster = subprocess.Popen(command, cwd=home, env=os.environ | {"DAGSTER_HOME": str(home)})
        # However this process is told to stop, Dagster and the local Customer.io stop with it.
        signal.signal(signal.SIGTERM, lambda *_: dagster.terminate())
        try:
            return dagster.wait()
        except KeyboardInterrupt:
            return dagster.wait()


if __name__ == "__main__":
    sys.exit(main())
