"""Debian's Redis, as a broker of Celery."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def run_redis() -> Iterator[str]:
    """Its URL. Without redis-server the test is skipped, or fails where CIO_BROKER=required says that it must be there."""
    server = shutil.which("redis-server")
    if server is None:
        if os.environ.get("CIO_BROKER") == "required":
            pytest.fail("Redis is missing: apt-get install redis-server")
        pytest.skip("Redis is missing: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="cio-redis-") as folder:
        command = [server, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.kill()
