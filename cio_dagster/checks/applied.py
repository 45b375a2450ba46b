"""The asset check `applied_in_customerio`: after an asset's step, what Customer.io holds is read back and compared.

A step of its own, so that a run is not held up by what Customer.io takes its time over, and so that it can be run alone, at any time after.
"""

# No postponed annotations here: Dagster looks at that of `context` itself.
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import polars as pl

from cio_dagster.checks.readback import Look, ReadBack, add_up, read_back, read_failures
from cio_dagster.errors import DeliveryError, SyncError
from cio_dagster.io_manager import WITHHELD, CustomerIOIOManager
from cio_dagster.pool import pool_slots
from cio_dagster.report import hashed
from cio_dagster.specs import AnySpec, find_spec
from cio_dagster.state import AssetState, last_reports, state_root

CHECK = "applied_in_customerio"

SHOWN = 50
"""Differences in a check's metadata; the outcomes table has them all (operation `read_back`)."""


def build_customerio_checks(assets: Iterable[Any], look: Look | None = None) -> list[dg.AssetChecksDefinition]:
    """The check `applied_in_customerio` of each Customer.io asset among these, for `dg.Definitions(asset_checks=...)`.

    look
        How many rows are read back, by how many App API requests, and for how long a difference may still go away (see `Look`).

    It reads back every partition that the run wrote; alone, those that the last run wrote. It is red where something differs, with the
    differences as a table, and those rows are pending again: the next run of the asset sends them. It is a warning where Customer.io
    could not be read. It never blocks what is downstream, and takes the pool of its asset, whose rate budget it shares: a slot is held while a
    difference is waited for.
    """
    return [
        _check(asset, key, spec, look or Look())
        for asset in assets
        if isinstance(asset, dg.AssetsDefinition)
        for key in sorted(asset.keys)
        if (spec := find_spec(asset.metadata_by_key.get(key) or {})) is not None
    ]


def _check(asset: dg.AssetsDefinition, key: dg.AssetKey, spec: AnySpec, look: Look) -> dg.AssetChecksDefinition:
    manager_key, pool = asset.get_io_manager_key_for_asset_key(key), asset.op.pool

    @dg.asset_check(
        asset=key,
        name=CHECK,
        description="Customer.io holds what it accepted, as far as it was read back.",
        required_resource_keys={manager_key},
        pool=pool,
    )
    def applied(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        manager: CustomerIOIOManager = getattr(context.resources, manager_key)
        in_run = key in context.job_def.asset_layer.selected_asset_keys
        reports = _reports(manager, key, context.run.run_id if in_run else None)
        if not reports and in_run:
            return dg.AssetCheckResult(passed=True, description="This run delivered nothing, so nothing was read back.")
        if not reports:
            return _unsure("No run has delivered anything yet, so there is nothing to read back.")
        try:
            slots = pool_slots(context.instance, pool) or 1
            found = _read_back(manager, key, spec, reports, context.run.run_id, look, slots)
        except SyncError as error:
            return _unsure(_why(error, shown=manager.show_values))
        result = _verdict(found, shown=manager.show_values)
        if not result.passed:
            context.log.warning(f"{key.to_user_string()}: {result.description}")
        return result

    return applied


def _reports(manager: CustomerIOIOManager, key: dg.AssetKey, run_id: str | None) -> list[dict[str, Any]]:
    """The reports of the partitions that a run wrote; without a run those of the last one."""
    reports = last_reports(state_root(manager.state), manager.customerio.workspace, "/".join(key.path))
    if run_id is None and reports:
        run_id = max(reports, key=lambda report: str(report.get("since") or ""))["run_id"]
    return [report for report in reports if report["run_id"] == run_id]


def _read_back(
    manager: CustomerIOIOManager,
    key: dg.AssetKey,
    spec: AnySpec,
    reports: Sequence[dict[str, Any]],
    run_id: str,
    look: Look,
    slots: int,
) -> list[tuple[str | None, ReadBack]]:
    connection = manager.customerio.connection(slots)
    begun = {report["partition"]: _since(report) for report in reports}
    failures, requests = read_failures(spec, connection, min(begun.values()), look)
    found: list[tuple[str | None, ReadBack]] = [(None, ReadBack(requests=requests))]
    for partition, since in begun.items():
        state = AssetState(state_root(manager.state), manager.customerio.workspace, "/".join(key.path), partition)
        rest = replace(look, max_requests=max(look.max_requests - requests, 0))
        try:
            seen = read_back(spec, state, connection, since=since, run_id=run_id, look=rest, failures=failures)
        except SyncError as error:
            if all(before.differences.is_empty() for _, before in found):
                raise
            # What was found before is pending already, so it must be shown.
            found.append((partition, ReadBack(notes=[_why(error, shown=manager.show_values)])))
            break
        requests += seen.requests
        found.append((partition, seen))
    return found


def _since(report: dict[str, Any]) -> datetime:
    """When the run began; of a report from before that was noted, a day ago."""
    noted = report.get("since")
    return datetime.fromisoformat(noted) if noted else datetime.now(timezone.utc) - timedelta(days=1)


def _verdict(found: Sequence[tuple[str | None, ReadBack]], *, shown: bool) -> dg.AssetCheckResult:
    looked_at = add_up(seen for _, seen in found)
    differences = pl.concat(
        [seen.differences.with_columns(partition=pl.lit(partition, dtype=pl.String)) for partition, seen in found]
    )
    rows = differences.select("partition", "_key").unique().height
    notes = list(dict.fromkeys(note for _, seen in found for note in seen.notes))
    metadata: dict[str, Any] = {f"looked_at_{name}": count for name, count in looked_at.items()}
    metadata |= {"differences": rows, "requests": sum(seen.requests for _, seen in found)}
    if notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in notes))
    if rows:
        metadata["table"] = _table(differences.head(SHOWN), shown=shown)
        reasons = dict(differences.unique(["partition", "_key", "reason"]).group_by("reason").len().sort("len").rows())
        said = ", ".join(f"{count:,} {reason}" for reason, count in reversed(reasons.items()))
        next_run = "They are pending again: the next run sends them."
        if not all(seen.put_back for _, seen in found):
            next_run = "Not all of them could be put back to pending: see the notes."
        text = f"{rows:,} rows were accepted, but are not so in Customer.io ({said}). {next_run}"
    elif not any(looked_at.values()):
        text = "Nothing was delivered, so nothing was read back."
    else:
        text = f"{looked_at.get('rows', 0):,} rows were read back, and all are in Customer.io as they were accepted."
    return dg.AssetCheckResult(passed=not rows, severity=dg.AssetCheckSeverity.ERROR, description=text, metadata=metadata)


def _unsure(text: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=text)


def _why(error: SyncError, *, shown: bool) -> str:
    if not shown and isinstance(error, DeliveryError):
        # Addresses and Customer.io's words may hold keys and values.
        status = f" (status {error.status})" if error.status else ""
        return f"Not all could be read back: {type(error).__name__}{status}, {WITHHELD} Check CIO_APP_API_KEY and Customer.io's App API."
    return f"Not all could be read back. {error}"


def _table(differences: pl.DataFrame, *, shown: bool) -> dg.TableMetadataValue:
    columns = {"key": "_key", **{name: name for name in ("what", "field", "expected", "found", "reason", "partition")}}
    texts = differences.select(**{name: pl.col(column).fill_null("").str.slice(0, 200) for name, column in columns.items()})
    if not shown:
        texts = texts.with_columns(
            pl.Series("key", [hashed(key) for key in differences["_key"]]), expected=pl.lit(""), found=pl.lit("")
        )
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in texts.to_dicts()],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )
