from __future__ import annotations

from collections.abc import Iterator

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.settings import Settings

from . import openapi
from .judge import Court, Judge
from .wire import APP_KEY, SITE_ID, TRACK_KEY, Wire


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[RunningSandbox]:
    with run_sandbox("--site-id", SITE_ID, "--track-key", TRACK_KEY, "--app-key", APP_KEY) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: RunningSandbox) -> RunningSandbox:
    """A sandbox with nothing in it and every setting at its default, but no limit on the App API's requests."""
    running_sandbox.reset()
    running_sandbox.settings(**{**Settings().as_dict(), "app_requests_per_second": 0})
    return running_sandbox


@pytest.fixture
def wire(sandbox: RunningSandbox) -> Wire:
    return Wire(sandbox.url)


@pytest.fixture(scope="session")
def track_judge() -> Judge:
    return Judge(openapi.corrected())


@pytest.fixture
def track(wire: Wire, track_judge: Judge) -> Court:
    """Sends Track calls to the sandbox and holds the answers to Customer.io's contract."""
    return Court(wire, track_judge)
