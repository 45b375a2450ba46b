"""A report as Dagster metadata."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl

from cio_dagster.errors import GuardError
from cio_dagster.report import Report


def report_metadata(report: Report) -> dict[str, Any]:
    """Numbers that Dagster plots over time, and tables of rejects and planned changes."""
    counts = report.planned
    numbers: dict[str, Any] = {
        "dagster/row_count": counts.source - counts.rejected,
        "source_rows": counts.source,
        "unchanged": counts.unchanged + counts.keep,
        "rejected": report.rejected,
    }
    if report.dry_run:
        numbers |= {"would_create": counts.create, "would_update": counts.update, "would_remove": counts.delete}
        numbers |= {"would_send": counts.send} if report.object == "event" else {}
    else:
        numbers |= {"created": report.created, "updated": report.updated, "removed": report.removed, "pending": report.pending}
        numbers |= {"sent": report.sent} if report.object == "event" else {}
        numbers |= {"requests": report.requests, "request_bytes": report.bytes, "retries": report.retries}
        numbers |= {"throttled_seconds": round(report.throttled_seconds, 3), "recovered": report.recovered}
    if report.read_since:
        numbers["read_since"] = report.read_since
    if report.object == "event":
        numbers["left_out"] = counts.left_out
    numbers |= {f"seconds_{room}": seconds for room, seconds in report.seconds.items()}
    elapsed = sum(report.seconds.values())
    numbers["rows_per_second"] = round(counts.source / elapsed, 1) if elapsed else 0.0
    identity = [each | {"examples": ", ".join(each["examples"])} for each in report.identity]
    tables = {"rejects": _table(report.rejects), "identity": _table(identity), "changes": _table(report.changes)}
    if report.all_warnings:
        numbers["warnings"] = dg.MetadataValue.md("\n".join(f"- {warning}" for warning in report.all_warnings))
    return numbers | {name: table for name, table in tables.items() if table is not None}


def add_up(reports: list[Report]) -> dict[str, Any]:
    """The metadata of several partitions' reports: the numbers added up."""
    if len(reports) == 1:
        return report_metadata(reports[0])
    total: dict[str, Any] = {}
    for report in reports:
        for name, value in report_metadata(report).items():
            if isinstance(value, (int, float)):
                total[name] = total.get(name, 0) + value
    return total


def guard_metadata(stopped: GuardError) -> dict[str, Any]:
    """The numbers of a guard that stopped a run, and the attributes that it names."""
    numbers: dict[str, Any] = {"guard": stopped.guard, f"would_{stopped.would}": stopped.planned, "known_rows": stopped.known}
    changed = _table([{"attribute": name, "changed_rows": rows} for name, rows in stopped.attributes.items()])
    return numbers if changed is None else numbers | {"changed_attributes": changed}


def column_schema(frame: pl.LazyFrame, *, whole: bool = True) -> dg.TableSchema:
    """A frame's columns and Polars dtypes. Those of enums list their values, so without `whole` only a dtype's kind is said."""
    kinds = {name: str(dtype if whole else dtype.base_type()) for name, dtype in frame.collect_schema().items()}
    return dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()])


def _table(rows: list[dict[str, Any]]) -> dg.TableMetadataValue | None:
    if not rows:
        return None
    return dg.MetadataValue.table(
        [
            dg.TableRecord({name: value if isinstance(value, int) else str(value or "") for name, value in row.items()})
            for row in rows
        ]
    )
