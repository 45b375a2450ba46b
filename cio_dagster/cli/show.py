"""Plans, runs and states as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.text import Text

from cio_dagster.changes import COLUMNS, OPERATIONS_SHOWN
from cio_dagster.cli.output import table
from cio_dagster.cli.runs import Outcome, named
from cio_dagster.report import Report
from cio_dagster.stored import CHANGES

Look = Callable[[Report], Any]

ALWAYS: Mapping[str, Look] = {"asset": lambda report: report.asset}

PLANNED: dict[str, Look] = {
    "create": lambda report: report.planned.create,
    "update": lambda report: report.planned.update,
    "remove": lambda report: report.planned.delete,
    "send": lambda report: report.planned.send,
    "later": lambda report: report.deferred,
    "unchanged": lambda report: report.planned.unchanged + report.planned.keep,
    "left out": lambda report: report.planned.left_out,
    "not chosen": lambda report: report.planned.not_chosen,
    "rejected": lambda report: report.rejected,
    "guards": lambda report: "would stop it" if report.stops else "pass",
}

DONE: dict[str, Look] = {
    "created": lambda report: report.created,
    "updated": lambda report: report.updated,
    "removed": lambda report: report.removed,
    "sent": lambda report: report.sent,
    "unchanged": lambda report: report.planned.unchanged + report.planned.keep,
    "left out": lambda report: report.planned.left_out,
    "not chosen": lambda report: report.planned.not_chosen,
    "rejected": lambda report: report.rejected,
    "pending": lambda report: report.pending,
    "requests": lambda report: report.requests,
    "seconds": lambda report: round(sum(report.seconds.values()), 1),
}

SELDOM = ("partition", "send", "sent", "later", "left out", "not chosen")
"""Columns that are shown only if they say something."""

LONGEST = 100
"""Characters shown of a value; the file of the whole plan has all of it."""

STATUS = ("asset", "partition", "object", "rows", "last run", "outcome", "pending", "rejected", "plan under way", "lock")


def plan(outcome: Outcome, console: Console, shown: int, *, applied: bool = True) -> None:
    """What runs would do; with `applied`, how to do just that."""
    _numbers(outcome, PLANNED, console)
    lines = [change | {"asset": named(report)} for report in outcome.reports for change in _sample(report, shown)]
    if lines:
        order = sorted(lines, key=lambda line: OPERATIONS_SHOWN.index(line["operation"]))
        columns = ("asset", *COLUMNS)
        console.print(table(columns, ([_short(line[name]) for name in columns] for line in order), "Some of the changes"))
    _words(outcome, console)
    if applied and outcome.run_ids and not outcome.problems:
        which = " ".join(f"--apply {id}" for id in outcome.run_ids)
        console.print(Text(f"To send just this: cio sync {which}"), soft_wrap=True)


def sync(outcome: Outcome, console: Console) -> None:
    """What runs did."""
    _numbers(outcome, DONE, console)
    _words(outcome, console)


def status(lines: Sequence[Mapping[str, Any]], console: Console) -> None:
    """How asset partitions are, as `cio_dagster.cli.status` finds them."""
    columns = [name for name in STATUS if name != "partition" or any(line["partition"] for line in lines)]
    console.print(table(columns, ([line[name.replace(" ", "_")] for name in columns] for line in lines)))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything that is known of runs."""
    return {
        "runs": outcome.run_ids,
        "reports": [report.to_json() for report in outcome.reports],
        "failures": outcome.failures,
        "not_run": outcome.not_run,
        "problems": outcome.problems,
    }


def all_changes(outcome: Outcome) -> pl.LazyFrame:
    """The whole of stored plans: asset, partition, and the columns of `cio_dagster.changes`."""
    empty = pl.LazyFrame(schema=dict.fromkeys(("asset", "partition", *COLUMNS), pl.String))
    parts = [
        _changes(report).select(
            pl.lit(report.asset).alias("asset"), pl.lit(report.partition, pl.String).alias("partition"), *COLUMNS
        )
        for report in outcome.reports
    ]
    return pl.concat([empty, *parts])


def _changes(report: Report) -> pl.LazyFrame:
    return pl.scan_csv(f"{report.plan_folder}/{CHANGES}", schema=dict.fromkeys(COLUMNS, pl.String))


def _sample(report: Report, rows: int) -> list[dict[str, Any]]:
    """Some changes of each operation."""
    kinds = [[change for change in report.changes if change["operation"] == kind][:rows] for kind in OPERATIONS_SHOWN]
    return [change for kind in kinds for change in kind]


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _numbers(outcome: Outcome, columns: Mapping[str, Look], console: Console) -> None:
    looks: dict[str, Look] = {**ALWAYS, "partition": lambda report: report.partition, **columns}
    shown = {name: look for name, look in looks.items() if name not in SELDOM or any(map(look, outcome.reports))}
    if outcome.reports:
        console.print(table(shown, ([look(report) for look in shown.values()] for report in outcome.reports)))


def _words(outcome: Outcome, console: Console) -> None:
    """Rejects, warnings and problems."""
    lines = [each | {"asset": named(report)} for report in outcome.reports for each in report.rejects]
    if lines:
        columns = ("asset", "rows", "reason", "field", "message", "example")
        console.print(table(columns, ([line[name] for name in columns] for line in lines), "Rejected rows"))
    for report in outcome.reports:
        stops = tuple(report.stops)  # They are among the problems.
        for warning in (each for each in report.all_warnings if not each.endswith(stops)):
            console.print(Text(f"{named(report)}: {warning}", style="yellow"), soft_wrap=True)
    for problem in outcome.problems:
        console.print(Text(problem, style="red"), soft_wrap=True)
