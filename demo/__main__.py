"""`make demo`: a warehouse arrives in a local Customer.io, changes by a day, and arrives again.

Prints what became of every row, and exits with 1 if anything is not as it should be: rows rejected that were not wrong on purpose, a request
for an unchanged source, or a difference between the source and what the local Customer.io holds.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from demo.warehouse import DAYS, advance_one_day, build, dirty_rows

FOLDER = Path(__file__).parent.parent / ".demo" / "run"
COLUMNS = ("source", "created", "updated", "removed", "sent", "unchanged", "rejected", "pending", "requests", "seconds")


def main() -> int:
    """Run the demo; return the exit status."""
    console = Console()
    console.width = max(console.width, 120)
    shutil.rmtree(FOLDER, ignore_errors=True)
    warehouse, today = FOLDER / "warehouse.duckdb", date.today()
    problems: list[str] = []
    with console.status("Making a warehouse of 5,000 customers"):
        build(warehouse, today=today)
    with run_sandbox() as sandbox:
        os.environ |= {
            "CIO_SITE_ID": "demo-site",
            "CIO_TRACK_API_KEY": "demo-track-key",
            "CIO_APP_API_KEY": "demo-app-key",
            "CIO_TRACK_URL": sandbox.url,
            "CIO_APP_URL": sandbox.url,
            "CIO_WAREHOUSE": f"duckdb:///{warehouse}",
            "CIO_STATE": str(FOLDER / "state"),
        }
        console.print(f"A Customer.io is running at {sandbox.url}")
        days = [str(today - timedelta(days=back)) for back in range(DAYS, -1, -1)]
        with dg.instance_for_test(overrides={"python_logs": {"python_log_level": "CRITICAL"}}) as instance:
            first = _sync(console, "First sync", days, instance)
            problems += _check(first, sandbox)
            writes = _writes(sandbox)
            again = _sync(console, "The same again: nothing to send", days, instance)
            if _writes(sandbox) != writes:
                problems.append("An unchanged source sent a write request.")
            problems += _check(again, sandbox)
            with console.status("A day passes in the warehouse"):
                advance_one_day(warehouse)
            later = _sync(console, "A day later", [*days, str(today + timedelta(days=1))][-3:], instance)
            problems += _check(later, sandbox, orders=False)
        _show_rejects(console, first)
        _show_holdings(console, sandbox)
    for problem in problems:
        console.print(f"[red]Unexpected:[/red] {problem}")
    console.print(
        "[red]Something is not as it should be.[/red]" if problems else "[green]Everything arrived as it should.[/green]"
    )
    return 1 if problems else 0


def _sync(console: Console, title: str, days: list[str], instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Materialize every sync, and print a table; returns the reports, one for each asset (partitions added up)."""
    from definitions import CHECKS, SYNCS, defs, orders

    table = Table("asset", *COLUMNS, title=title, title_justify="left")
    reports = []
    for asset in SYNCS:
        name = asset.key.path[-1]
        with console.status(f"{title}: {name}"):
            span = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
            result = dg.materialize(
                [asset, *(check for check in CHECKS if asset.key in {each.asset_key for each in check.check_keys})],
                instance=instance,
                resources=defs.resources,
                tags=span if asset is orders else None,
                raise_on_error=False,
            )
        if not result.success:
            [failure, *_] = result.get_failed_step_keys()
            console.print(f"[red]{name} failed[/red] at {failure}: {_reason(result)}")
            sys.exit(1)
        report = _report(name, result)
        reports.append(report)
        table.add_row(name, *(_shown(report[column]) for column in COLUMNS))
    console.print(table)
    rows, differ = (sum(report[name] for report in reports) for name in ("read_back", "differ"))
    console.print(f"Read back from Customer.io: {rows:,} rows, of which {differ:,} differ from what was accepted.\n")
    return reports


def _report(asset: str, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The numbers of a run, partitions added up, and its rejected rows by reason."""
    report: dict[str, Any] = dict.fromkeys((*COLUMNS, "read_back", "differ"), 0) | {
        "asset": asset,
        "reasons": {},
        "examples": [],
    }
    for event in result.asset_materializations_for_node(asset):
        values: dict[str, float] = {
            name: value.value for name, value in event.metadata.items() if isinstance(value.value, (int, float))
        }
        for column in COLUMNS:
            report[column] += values.get("source_rows" if column == "source" else column, 0)
        report["seconds"] += sum(value for name, value in values.items() if name.startswith("seconds_"))
        rejects = event.metadata.get("rejects")
        for record in rejects.records if isinstance(rejects, dg.TableMetadataValue) else []:
            reason, rows = str(record.data["reason"]), int(str(record.data["rows"]))
            report["reasons"][reason] = report["reasons"].get(reason, 0) + rows
            report["examples"].append(record.data)
    for check in result.get_asset_check_evaluations():
        if check.check_name == "applied_in_customerio":
            report["read_back"] += int(str(check.metadata["looked_at_rows"].value)) if "looked_at_rows" in check.metadata else 0
            report["differ"] += int(str(check.metadata["differences"].value)) if "differences" in check.metadata else 0
            report["not_applied"] = None if check.passed else check.description
    return report


def _check(reports: list[dict[str, Any]], sandbox: RunningSandbox, *, orders: bool = True) -> list[str]:
    """What is not as it should be after a sync, in words."""
    problems = []
    dirty = dirty_rows()
    for report in reports:
        asset = report["asset"]
        if report["pending"]:
            problems.append(f"{asset}: {report['pending']} rows are pending.")
        if (asset != "orders" or orders) and report["reasons"] != dirty[asset]:
            problems.append(f"{asset}: rejected {report['reasons']}, but {dirty[asset]} are wrong on purpose.")
        if report.get("not_applied"):
            problems.append(f"{asset}: {report['not_applied']}")
        held = _held(asset, sandbox)
        if held is not None and held != report["source"] - report["rejected"]:
            problems.append(
                f"{asset}: Customer.io holds {held}, the source has {report['source'] - report['rejected']} good rows."
            )
    failed = [each for each in sandbox.get("activities") if "failed" in each["type"]]
    if failed:
        problems.append(f"Customer.io logged {len(failed)} failed changes, such as {failed[0]}.")
    return problems


def _held(asset: str, sandbox: RunningSandbox) -> int | None:
    """How many rows of this asset the local Customer.io holds; None for events, which it only ever gains."""
    counts = {"people": "people", "devices": "devices", "accounts": "objects", "account_members": "relationships"}
    if asset in counts:
        return len(sandbox.get(counts[asset]))
    if asset == "plans":
        return len(sandbox.get("collections")[0]["data"])
    return len(sandbox.get("segments")[0]["members"]) if asset == "vip_customers" else None


def _writes(sandbox: RunningSandbox) -> int:
    return sum(request["method"] != "GET" for request in sandbox.get("requests"))


def _reason(result: dg.ExecuteInProcessResult) -> str:
    [event, *_] = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.error_display_string.splitlines()[0]


def _shown(value: float | int) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}" if value else "·"


def _show_rejects(console: Console, reports: list[dict[str, Any]]) -> None:
    table = Table("asset", "rows", "reason", "what is wrong", "example", title="Rejected, and why", title_justify="left")
    for report in reports:
        for example in report["examples"]:
            key = str(example["example"] or "")
            table.add_row(
                report["asset"],
                str(example["rows"]),
                str(example["reason"]),
                str(example["message"]),
                key[:24] + "…" * (len(key) > 24),
            )
    console.print(table)


def _show_holdings(console: Console, sandbox: RunningSandbox) -> None:
    counts = sandbox.get("counts")
    console.print(
        "Customer.io holds now: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if isinstance(count, int))
    )


if __name__ == "__main__":
    sys.exit(main())
