"""The order of the tests: files that take longest begin first, as at the end other workers would wait for them."""

from __future__ import annotations

from pathlib import Path

import pytest

HOME = Path(__file__).parent

LONGEST = (
    "crash/test_kills.py",
    "sync/test_objects_table.py",
    "browser/test_workspace.py",
    "scaleout/test_workers.py",
    "demo/test_run.py",
    "rates/test_processes.py",
    "payloads/test_contract.py",
    "diff/test_sequences.py",
    "readback/test_drift.py",
    "contract/test_generated.py",
    "prepare/test_property.py",
    "crash/test_dagster.py",
    "store/test_kills.py",
    "deliver/test_breaker.py",
    "components/test_sync.py",
    "incremental/test_converges.py",
    "docs/test_tutorial.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort them, each file's tests together."""
    rank = {HOME / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))
