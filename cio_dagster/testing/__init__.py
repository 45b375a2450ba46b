"""For tests of your own syncs: a local Customer.io, runs that write to it, and assertions on what arrived. Needs pytest.

    # conftest.py, at the root of your tests
    pytest_plugins = ["cio_dagster.testing"]

    # test_people.py
    def test_customers_arrive(materialize_to_sandbox, customerio_sandbox):
        materialize_to_sandbox([people], resources={"warehouse": Warehouse(url="duckdb:///tests/warehouse.duckdb")})
        assert_people(customerio_sandbox, [{"id": "1", "plan": "pro"}])

`docs/testing.md` has examples of everything here.
"""

from cio_dagster.testing.arrived import (
    assert_collection,
    assert_devices,
    assert_events,
    assert_no_failures,
    assert_objects,
    assert_people,
    assert_relationships,
    assert_segment,
)
from cio_dagster.testing.fixtures import customerio_sandbox, customerio_sandbox_process, materialize_to_sandbox
from cio_dagster.testing.runs import MaterializeToSandbox

__all__ = [
    "MaterializeToSandbox",
    "assert_collection",
    "assert_devices",
    "assert_events",
    "assert_no_failures",
    "assert_objects",
    "assert_people",
    "assert_relationships",
    "assert_segment",
    "customerio_sandbox",
    "customerio_sandbox_process",
    "materialize_to_sandbox",
]
