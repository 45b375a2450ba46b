"""The asset check `applied_in_customerio`: after an asset's step, what Customer.io holds is read back and compared."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from cio_dagster.specs import AnySpec
from cio_dagster.state import AssetState, state_root

SHOWN = 50
"""Differences in a check's metadata; the outcomes table has them all (operation `read_back`)."""


def applied_in_customerio(
    context: dg.AssetCheckExecutionContext,
    manager: CustomerIOIOManager,
    key: dg.AssetKey,
    spec: AnySpec,
    reports: Sequence[dict[str, Any]],
    look: Look,
    pool: str | None,
) -> dg.AssetCheckResult:
    """Read back what the runs of these reports delivered, and say what differs; a warning where that cannot be read."""
    try:
        slots = pool_slots(context.instance, pool) or 1
        found = _read_back(manager, key, spec, reports, context.run.run_id, look, slots)
    except SyncError as error:
        return unsure(_why(error, shown=manager.show_values))
    result = _verdict(found, shown=manager.show_values)
    if not result.passed:
        context.log.warning(f"{key.to_user_string()}: {result.description}")
    return result


def _read_back(
    manager: CustomerIOIOManager,
    key: dg.AssetKey,
    spec: AnySpec,
    reports: Sequence[dict[str, Any]],
    run_id: str,
    look: Look,
    slots: int,
) -> list[tuple[str | None, ReadBack]]:
    connection = manager.customerio.connection(slots, time.monotonic())
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


def unsure(text: str) -> dg.AssetCheckResult:
    """A check that could not be made: a warning, with the reason."""
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
