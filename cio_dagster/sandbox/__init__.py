"""A Customer.io that runs on your machine: Track API v1 and v2, and the App API calls that a warehouse sync needs.

Run it with ``cio-sandbox`` or ``python -m cio_dagster.sandbox``; start it from a test with
:func:`cio_dagster.sandbox.process.run_sandbox`. ``docs/sandbox.md`` describes every flag, path and setting.
"""
