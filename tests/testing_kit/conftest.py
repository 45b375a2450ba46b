"""The kit's own fixtures; users name the plugin in `pytest_plugins`, as tests/testing_kit/test_docs.py does."""

from cio_dagster.testing import customerio_sandbox, customerio_sandbox_process, materialize_to_sandbox

__all__ = ["customerio_sandbox", "customerio_sandbox_process", "materialize_to_sandbox"]
