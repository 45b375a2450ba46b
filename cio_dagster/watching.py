"""WATCH: what a run in this process tells whoever watches it, beside Dagster's log: `cio`, for its bars and tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import dagster as dg

from cio_dagster.report import Report

INTERRUPTED = "Interrupted."


class Watcher(Protocol):
    """Is told of each asset partition (None: the unpartitioned whole), on the thread that runs the step."""

    interrupted: bool
    """Whether Ctrl-C, or SIGTERM, has ended a step."""

    def begun(self, asset: str, partition: str | None) -> None:
        """Its rows are compared and planned now."""

    def sending(self, asset: str, partition: str | None, done: int, total: int, said: str) -> None:
        """So many of its operations are answered; `said` is that in words. About twice a second, and at the end."""

    def reported(self, report: Report) -> None:
        """It is done, as far as it came. Without values, where the IO manager is not to show them."""


watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def interruptible() -> Iterator[None]:
    """A part of a step that Ctrl-C ends, and with it those that follow, where the run is watched.

    Dagster would try an interrupted step with a retry policy again, and go on with steps that do not depend on it.
    """
    watching = watcher.get()
    if watching is None:
        yield
        return
    if watching.interrupted:
        raise dg.Failure(INTERRUPTED, allow_retries=False)
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        watching.interrupted = True
        raise dg.Failure(INTERRUPTED, allow_retries=False) from error


def said_progress(done: int, total: int, seconds: float) -> str:
    """How far sending is, in words: rows, rate, and time left."""
    rate = done / seconds if seconds else 0.0
    left = f", {(total - done) / rate:,.0f} s to go" if rate else ""
    return f"{done:,} of {total:,} rows answered, {rate:,.0f} rows/s{left}"
