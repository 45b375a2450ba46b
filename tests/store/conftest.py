"""An object store: one that speaks S3, of this machine; or where `CIO_TEST_STORE` says, `az://container`, with credentials in the environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cio_dagster.places import StorePath
from tests.engine import Engine, engine, shared_sandbox

__all__ = ["engine", "shared_sandbox"]

SECRET = "s3-secret-key-77d0"


@pytest.fixture(scope="session")
def bucket() -> Iterator[StorePath]:
    """A bucket, found by variables that are the environment's while it is there."""
    if given := os.environ.get("CIO_TEST_STORE"):
        yield StorePath(given)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "some-access-id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    # In a process of its own: Delta holds Python's lock while it lists objects.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as patched, subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        for name, value in variables.items():
            patched.setenv(name, value)
        _wait(port)
        boto3.client("s3").create_bucket(Bucket="states")
        yield StorePath("s3://states")
        server.kill()


def _wait(port: int) -> None:
    for _ in range(300):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the S3 server did not start: pip install 'moto[s3]' flask flask-cors")


@pytest.fixture
def root(bucket: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorePath:
    """An empty place in the bucket; and temporary files that are this test's own."""
    machine(tmp_path / "first", monkeypatch)
    return bucket / f"{uuid.uuid4().hex[:8]}-{tmp_path.name}" / "state"


def machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine with other temporary files."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))


@pytest.fixture
def remote(engine: Engine, root: StorePath) -> Engine:
    """An empty workspace and an empty state in the object store."""
    return Engine(engine.sandbox, root)
