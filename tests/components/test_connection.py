"""Connections in YAML: the resources that they become, without showing a secret."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from cio_dagster import CustomerIOIOManager, Warehouse
from cio_dagster.sandbox.process import RunningSandbox
from tests.components.conftest import CONNECTIONS, Project


def test_variables_are_read_when_used_and_shown_by_name(project: Callable[..., Project], sandbox: RunningSandbox) -> None:
    defs = project(CONNECTIONS).load()
    manager = (defs.resources or {})["customerio"]
    assert isinstance(manager, CustomerIOIOManager)
    assert manager.customerio.requests_per_second == 100
    snapshot = repr(RepositorySnap.from_def(defs.get_repository_def()))
    assert "CIO_TRACK_API_KEY" in snapshot
    assert "of-cio" not in snapshot


def test_their_keys_can_be_others(project: Callable[..., Project]) -> None:
    made = project(
        {
            "one/defs.yaml": """
                type: cio_dagster.WarehouseConnection
                attributes: {url: "duckdb:///one.duckdb", warehouse_key: one}
                ---
                type: cio_dagster.CustomerIOConnection
                attributes: {site_id: a, track_api_key: b, state: c, io_manager_key: eu, region: eu}
                """
        }
    )
    resources = made.load().resources or {}
    assert set(resources) == {"one", "eu"}
    assert isinstance(resources["one"], Warehouse)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        (
            'url: "postgresql://u:{{ env.SECRET }}@host/db"',
            r"/defs\.yaml:3 - attributes\.url: it is a secret.*url: '\{\{ env\.NAME \}\}'",
        ),
        (
            "url: duckdb://\n  sql_foldr: sql",
            r"/defs\.yaml:4 - attributes\.sql_foldr: there is no such setting; there are: url, sql_folder",
        ),
        ("sql_folder: sql", r"/defs\.yaml:2 - attributes: url is missing: The warehouse's URL"),
    ],
)
def test_what_it_does_not_take_is_said_without_values(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, attributes: str, said: str
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    made = project({"warehouse/defs.yaml": f"type: cio_dagster.WarehouseConnection\nattributes:\n  {attributes}\n"})
    with pytest.raises(Exception, match="warehouse") as caught:
        made.load()
    cause = str(caught.value.__cause__)
    assert re.search(said, cause)
    assert "hunter2" not in cause
