"""Customer.io's Node client, ``customerio-node``, installed from npm and run by a Node process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from .wire import APP_KEY, SITE_ID, TRACK_KEY

VERSION = "5.2.0"
"""Asks for Node 22 in its package.json, and runs on Node 18 and later: it uses nothing newer than ``fetch``."""
FOLDER = Path(__file__).with_name("node_modules")
RUNNER = Path(__file__).with_name("node_runner.cjs")
SECONDS_TO_INSTALL = 120


class NodeError(Exception):
    """What a method of the client threw."""

    def __init__(self, name: str, message: str, statusCode: int | None = None, body: str | None = None) -> None:
        super().__init__(f"{name} {statusCode}: {message}")
        self.name = name
        self.message = message
        self.status = statusCode
        self.body = body


def install() -> Path:
    """Install the client beside this module unless it is there, and return its folder.

    Raises:
        RuntimeError: Node or npm is missing, or npm could not install it.
    """
    for needed in ("node", "npm"):
        if shutil.which(needed) is None:
            raise RuntimeError(f"these tests need {needed}, of Node 18 or later; install it with: apt-get install nodejs npm")
    package = FOLDER / "customerio-node"
    FOLDER.mkdir(exist_ok=True)
    # Test processes that run side by side install it once.
    with FileLock(FOLDER / ".install.lock"):
        if _installed_version(package) == VERSION:
            return package
        # Without a package.json, a prefix keeps npm from looking for one further up; nothing is saved or locked.
        command = ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [*command, "--prefix", str(FOLDER.parent), f"customerio-node@{VERSION}"],
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_INSTALL,
            check=False,
        )
        if done.returncode or _installed_version(package) != VERSION:
            raise RuntimeError(f"npm could not install customerio-node@{VERSION}:\n{done.stderr or done.stdout}")
    return package


def _installed_version(package: Path) -> str | None:
    try:
        version: str = json.loads((package / "package.json").read_text())["version"]
    except FileNotFoundError:
        return None
    return version


class NodeClient:
    """Calls methods of the Node client."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self._url = url

    def track(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of ``TrackClient``; the keywords are the client's options."""
        return self._ask(client="track", method=method, args=args, options=options)

    def app(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of ``APIClient``; the keywords are the client's options."""
        return self._ask(client="app", method=method, args=args, options=options)

    def as_somebody_else(self, client: str, method: str, *args: Any) -> Any:
        """Call a method with keys that are not the sandbox's."""
        return self._ask(client=client, method=method, args=args, trackKey="wrong", appKey="wrong")

    def methods(self) -> dict[str, list[str]]:
        """The public methods of both clients."""
        methods: dict[str, list[str]] = self._ask(list=True)
        return methods

    def _ask(self, **command: Any) -> Any:
        """Run one command.

        Raises:
            NodeError: The client threw.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        known = {"url": self._url, "siteId": SITE_ID, "trackKey": TRACK_KEY, "appKey": APP_KEY}
        self._process.stdin.write(json.dumps({**known, **command}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the Node process ended; what it said is among the test's standard error")
        result = json.loads(line)
        if "error" in result:
            raise NodeError(**result["error"])
        return result.get("ok")


@contextmanager
def run_node(url: str) -> Iterator[NodeClient]:
    """Run a Node process that calls the server at ``url``."""
    package = install()
    environment = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    process = subprocess.Popen(
        ["node", str(RUNNER), str(package)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield NodeClient(process, url)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
