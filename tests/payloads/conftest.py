from __future__ import annotations

from collections.abc import Iterator

import pytest

from cio_dagster.sandbox.process import RunningSandbox
from tests.contract.conftest import app, app_judge, running_sandbox, sandbox, track, track_judge, wire

from .relay import Relay, run_relay

__all__ = ["app", "app_judge", "running_sandbox", "sandbox", "track", "track_judge", "wire"]


@pytest.fixture(scope="session")
def running_relay(running_sandbox: RunningSandbox) -> Iterator[Relay]:
    with run_relay(running_sandbox.url) as relay:
        yield relay


@pytest.fixture
def relay(running_relay: Relay, sandbox: RunningSandbox) -> Relay:
    """A way to the sandbox that notes what goes by; nothing yet, and the sandbox is empty."""
    running_relay.calls.clear()
    return running_relay
