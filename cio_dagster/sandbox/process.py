"""A sandbox in a process of its own, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS_TO_STOP = 10


class RunningSandbox:
    """A sandbox that listens at ``url``."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process

    def get(self, name: str) -> Any:
        """What ``/_sandbox/NAME`` shows: the list of that name, or the whole answer where there is none."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/{name}", timeout=60) as response:
            answer = json.load(response)
        return answer.get(name.partition("?")[0], answer)

    def post(self, name: str, body: object = None) -> Any:
        """Post JSON to ``/_sandbox/NAME``, and return the answer."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{name}",
            data=json.dumps({} if body is None else body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def faults(self, script: Sequence[dict[str, Any]]) -> None:
        """Arm these faults in place of those that were armed."""
        self.post("faults", {"faults": list(script)})

    def settings(self, **values: object) -> None:
        """Change settings by name."""
        self.post("settings", values)

    def reset(self) -> None:
        """Empty the workspace, the faults and the request log; settings stay."""
        self.post("reset")

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def run_sandbox(*args: str, port: int = 0, state: Path | None = None) -> Iterator[RunningSandbox]:
    """Run ``cio-sandbox`` with these flags for the length of the block.

    Args:
        *args: Flags of the command, such as ``"--set", "apply_delay=1"``.
        port: The port; 0 picks a free one.
        state: The file to keep everything in; in memory without one.

    Raises:
        RuntimeError: It did not start.
    """
    command = [sys.executable, "-m", "cio_dagster.sandbox", "--port", str(port), *args]
    if state is not None:
        command += ["--state", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on" not in line:
            raise RuntimeError(f"cio-sandbox did not start: {' '.join(command)}")
        yield RunningSandbox(line.split()[-1], process)
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
