"""A bar for each asset, on standard error, where that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from cio_dagster.report import Report
from cio_dagster.watching import watcher


class Reports:
    """The reports of runs as they come, and meanwhile the bars. A watcher (see `cio_dagster.watching`)."""

    def __init__(self, bars: Progress) -> None:
        self.interrupted = False
        self.found: dict[tuple[str, str | None], Report] = {}
        """By asset and partition: of an asset that is tried again, the last."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._before: dict[str, int] = {}

    def begun(self, asset: str, partition: str | None) -> None:
        """Add the asset's bar; it has no length yet."""
        if asset not in self._tasks:
            self._tasks[asset] = self._bars.add_task(asset, total=None, said="")
        said = "comparing" if partition is None else f"comparing {partition}"
        self._bars.update(self._tasks[asset], said=said)
        self._before[asset] = int(self._bars.tasks[self._tasks[asset]].completed)

    def sending(self, asset: str, partition: str | None, done: int, total: int, said: str) -> None:
        """Move the asset's bar."""
        before, said = self._before[asset], said if partition is None else f"{partition}: {said}"
        self._bars.update(self._tasks[asset], completed=before + done, total=before + total, said=said)

    def reported(self, report: Report) -> None:
        """Keep the report; the bar is full, unless it could not be."""
        self.found[report.asset, report.partition] = report
        task = self._bars.tasks[self._tasks[report.asset]]
        whole = task.completed if report.error is None else task.total
        self._bars.update(
            task.id, total=whole or 1, completed=task.completed or 1, said="done" if not report.error else "failed"
        )


@contextmanager
def watch() -> Iterator[Reports]:
    """Show a bar for each asset that runs in this process meanwhile, and keep its reports."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with _terminal() as console, Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        reports = Reports(bars)
        token = watcher.set(reports)
        try:
            yield reports
        finally:
            watcher.reset(token)


@contextmanager
def _terminal() -> Iterator[Console]:
    """Standard error. The terminal itself where it is one: Dagster records what steps write to the usual stream, bars too."""
    with suppress(UnsupportedOperation):
        if sys.stderr.isatty():
            with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
                yield Console(file=terminal)
            return
    yield Console(stderr=True)
