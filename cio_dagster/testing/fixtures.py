"""The fixtures of the testing kit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.settings import Settings
from cio_dagster.testing.runs import MaterializeToSandbox


@pytest.fixture(scope="session")
def customerio_sandbox_process() -> Iterator[RunningSandbox]:
    """The one sandbox of a test session, on a free port."""
    with run_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def customerio_sandbox(customerio_sandbox_process: RunningSandbox) -> RunningSandbox:
    """An empty local Customer.io: no faults, every setting at its default, but no limit on the App API's requests."""
    customerio_sandbox_process.reset()
    customerio_sandbox_process.settings(**{**Settings().as_dict(), "app_requests_per_second": 0})
    return customerio_sandbox_process


@pytest.fixture
def materialize_to_sandbox(customerio_sandbox: RunningSandbox, tmp_path: Path) -> MaterializeToSandbox:
    """Materialises assets to `customerio_sandbox`; all runs of a test share one state, which is new for each test."""
    return MaterializeToSandbox(customerio_sandbox, tmp_path / "customerio-state")
