"""What `dg scaffold defs` writes."""

from __future__ import annotations

from typing import Any

import dagster as dg

FIRST_SQL = """\
-- Each row becomes a person: `id` names them, and every other column is an attribute.
select 'customer-1' as id, 'ada@example.com' as email, 'pro' as plan
"""


class SyncScaffolder(dg.Scaffolder[Any]):
    """A sync of people, with a query that needs no table."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the definition, and the SQL file beside it."""
        sql = f"{request.target_path.name}.sql"
        (request.target_path / sql).write_text(FIRST_SQL, encoding="utf-8")
        attributes = {
            "sql": sql,
            "spec": {"object": "person", "key": "id", "behavior": "update_or_create"},
            "translation": {"group_name": "customerio"},
        }
        dg.scaffold_component(request, attributes)


class CustomerIOConnectionScaffolder(dg.Scaffolder[Any]):
    """A connection with its credentials in the environment."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the definition."""
        attributes = {
            "site_id": "{{ env.CIO_SITE_ID }}",
            "track_api_key": "{{ env.CIO_TRACK_API_KEY }}",
            "app_api_key": "{{ env.CIO_APP_API_KEY }}",
            "region": "us",
            "state": "{{ env.CIO_STATE }}",
        }
        dg.scaffold_component(request, attributes)


class WarehouseConnectionScaffolder(dg.Scaffolder[Any]):
    """A warehouse with its URL in the environment."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the definition."""
        dg.scaffold_component(request, {"url": "{{ env.CIO_WAREHOUSE }}"})
