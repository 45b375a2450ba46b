from __future__ import annotations

from collections.abc import Iterator

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.settings import Settings

from .client import Client


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    with run_sandbox("--set", "app_requests_per_second=0") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: RunningSandbox) -> RunningSandbox:
    """A sandbox with nothing in it and every setting at its default, but no limit on the App API's requests."""
    shared_sandbox.reset()
    shared_sandbox.settings(**{**Settings().as_dict(), "app_requests_per_second": 0})
    return shared_sandbox


@pytest.fixture
def client(sandbox: RunningSandbox) -> Client:
    return Client(sandbox.url)
