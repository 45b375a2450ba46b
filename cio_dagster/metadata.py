"""A report as Dagster metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from cio_dagster.errors import GuardError, PlanChanged
from cio_dagster.prepare.landed import Landed
from cio_dagster.report import Report
from cio_dagster.specs import AnySpec, Device, Event, ManualSegment, Person
from cio_dagster.stored import CHANGES


def report_metadata(report: Report) -> dict[str, Any]:
    """Numbers that Dagster plots over time, and tables of rejects and planned changes."""
    counts = report.planned
    numbers: dict[str, Any] = {
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
    if report.deferred:
        numbers["left_by_limit"] = report.deferred
    if counts.not_chosen:
        numbers["not_chosen"] = counts.not_chosen
    else:
        # Of the source's rows those that are, or would be, in Customer.io as they are; of rows that were not chosen that is not known.
        written = report.created + report.updated + report.sent + report.kept
        there = counts.unchanged + counts.left_out + written
        numbers["dagster/row_count"] = counts.source - counts.rejected if report.dry_run else there
    numbers |= {f"seconds_{room}": seconds for room, seconds in report.seconds.items()}
    numbers["rows_per_second"] = _rate([report])
    identity = [each | {"examples": ", ".join(each["examples"])} for each in report.identity]
    tables = {"rejects": _table(report.rejects), "identity": _table(identity), "changes": _table(report.changes)}
    if report.all_warnings:
        numbers["warnings"] = dg.MetadataValue.md("\n".join(f"- {warning}" for warning in report.all_warnings))
    return numbers | {name: table for name, table in tables.items() if table is not None}


def dry_run_metadata(report: Report, op: str) -> dict[str, Any]:
    """What a dry run adds to its numbers: what the guards say, where the plan is, and how it is applied (`op` is the asset's op)."""
    verdicts = [f"- {each}" for each in report.stops] or ["No guard would stop this run."]
    config = f"ops:\n  {op}:\n    config:\n      apply: {report.run_id}"
    where = "" if report.partition is None else f", for partition `{report.partition}`"
    return {
        "dry_run": True,
        "guards": dg.MetadataValue.md("\n".join(verdicts)),
        "apply": dg.MetadataValue.md(f"To send just this, launch the asset{where} with\n\n```yaml\n{config}\n```"),
        "plan_table": dg.MetadataValue.path(f"{report.plan_folder}/{CHANGES}"),
    }


def difference_metadata(changed: PlanChanged) -> dict[str, Any]:
    """Which plan was not applied, in how many operations the source's differs by now, and some of them."""
    numbers: dict[str, Any] = {"plan": changed.plan, "differing_operations": changed.differing}
    return numbers | {"differences": _table(changed.examples)}


def add_up(reports: list[Report]) -> dict[str, Any]:
    """The metadata of several partitions' reports: the numbers added up, and the rate over all of them."""
    if len(reports) == 1:
        return report_metadata(reports[0])
    total: dict[str, Any] = {}
    for report in reports:
        for name, value in report_metadata(report).items():
            if isinstance(value, (int, float)):
                total[name] = total.get(name, 0) + value
    return total | {"rows_per_second": _rate(reports)}


def _rate(reports: Sequence[Report]) -> float:
    elapsed = sum(sum(report.seconds.values()) for report in reports)
    return round(sum(report.planned.source for report in reports) / elapsed, 1) if elapsed else 0.0


def workspace_link(spec: AnySpec, region: str, environment_id: int) -> dg.UrlMetadataValue:
    """Where it is to be seen in Customer.io: the segment, people, or else the workspace.

    Customer.io documents no addresses of its pages; these are forms that people's own links to it have.
    """
    workspace = f"{'https://eu.fly' if region == 'eu' else 'https://fly'}.customer.io/workspaces/{environment_id}"
    match spec:
        case ManualSegment(id=int(number)):
            return dg.MetadataValue.url(f"{workspace}/journeys/segments/{number}/overview")
        case Person() | Device() | Event() | ManualSegment():
            return dg.MetadataValue.url(f"{workspace}/journeys/people")
        case _:
            return dg.MetadataValue.url(workspace)


def guard_metadata(stopped: GuardError) -> dict[str, Any]:
    """The numbers of a guard that stopped a run, and the attributes that it names."""
    numbers: dict[str, Any] = {"guard": stopped.guard, f"would_{stopped.would}": stopped.planned, "known_rows": stopped.known}
    changed = _table([{"attribute": name, "changed_rows": rows} for name, rows in stopped.attributes.items()])
    return numbers if changed is None else numbers | {"changed_attributes": changed}


def column_schema(columns: Sequence[Landed]) -> dg.TableSchema:
    """The columns as Customer.io has them, and the Polars dtypes that their values read back to."""
    return dg.TableSchema([dg.TableColumn(each.name, str(each.dtype)) for each in columns])


def _table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue | None:
    if not rows:
        return None
    return dg.MetadataValue.table(
        [
            dg.TableRecord({name: value if isinstance(value, int) else str(value or "") for name, value in row.items()})
            for row in rows
        ]
    )
