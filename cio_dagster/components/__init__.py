"""Dagster components: syncs and connections in YAML.

| module | |
|---|---|
| `sync` | `CustomerIOSync`: one sync, from SQL |
| `connection` | `CustomerIOConnection` and `WarehouseConnection`: the resources that syncs need |
| `schema` | the JSON schemas by which `dg check yaml` and editors judge them, made from the specs and resources |
| `resolve` | templates in YAML, and errors that name its line |
"""

from cio_dagster.components.connection import CustomerIOConnection, WarehouseConnection
from cio_dagster.components.sync import CustomerIOSync

__all__ = ["CustomerIOConnection", "CustomerIOSync", "WarehouseConnection"]
