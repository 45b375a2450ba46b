"""The reports that a check of an asset is about."""

from __future__ import annotations

from typing import Any

import dagster as dg

from cio_dagster.io_manager import CustomerIOIOManager
from cio_dagster.state import last_reports, state_root


def reports_to_check(
    context: dg.AssetCheckExecutionContext, manager: CustomerIOIOManager, key: dg.AssetKey
) -> tuple[list[dict[str, Any]], bool]:
    """The reports of the partitions that the run of this check wrote; where it checks alone, those that the last run wrote.

    Also whether the asset is of the run: without reports it has delivered nothing then, and else nothing was ever delivered.
    """
    reports = last_reports(state_root(manager.state), manager.customerio.workspace, "/".join(key.path))
    in_run = key in context.job_def.asset_layer.selected_asset_keys
    if in_run:
        run_id = context.run.run_id
    elif reports:
        run_id = max(reports, key=lambda report: str(report.get("since") or ""))["run_id"]
    return [report for report in reports if report["run_id"] == run_id], in_run
