"""The testing kit's fixtures: one sandbox for all pages."""

from cio_dagster.testing import customerio_sandbox, customerio_sandbox_process, materialize_to_sandbox

__all__ = ["customerio_sandbox", "customerio_sandbox_process", "materialize_to_sandbox"]
