"""Warehouse tables as Customer.io objects, each one a Dagster asset."""
