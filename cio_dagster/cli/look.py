"""What the state of an asset partition says, in short; and what is wrong with it where it is damaged."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cio_dagster.errors import StateError
from cio_dagster.lock import NOTE
from cio_dagster.state import AssetState

T = TypeVar("T")

GONE = "which is gone"
"""Said of a holder of a lock whose process has ended."""


def count(state: AssetState) -> int:
    """The rows of the snapshot."""
    rows = state.snapshot()
    return 0 if rows is None else int(rows.select(pl.len()).collect().item())


def count_text(state: AssetState) -> str:
    """The rows of the snapshot, as text."""
    return f"{count(state):,}"


def object_of(state: AssetState) -> str:
    """What its rows are; nothing before the first run."""
    info = state.info()
    return info.identity["object"] if info else ""


def plan_text(state: AssetState) -> str:
    """The plan that an interrupted run left, or that a run is sending."""
    plan = state.plan_under_way()
    if plan is None:
        return ""
    return f"{plan.planned:,} operations of run {plan.run_id}, made at {plan.made_at[:19]}"


def last_run(state: AssetState) -> Mapping[str, Any]:
    """The newest commit of the outcomes: `run_id`, `timestamp` (ms)."""
    path = str(state.folder / "outcomes")
    if not DeltaTable.is_deltatable(path):
        return {}
    found = said_or(lambda: [entry for entry in DeltaTable(path).history(5) if "run_id" in entry])
    return found[0] if found else {}


def holder(state: AssetState) -> str:
    """Who holds the lock, by the note that the holder leaves beside it."""
    note = state.folder / NOTE
    if not note.exists():
        return ""
    held = json.loads(note.read_text())
    here = held["host"] == socket.gethostname()
    gone = here and not Path(f"/proc/{held['pid']}").exists() and Path("/proc/self").exists()
    return f"run {held['run']} (pid {held['pid']} on {held['host']}) since {held['since']}" + (f", {GONE}" if gone else "")


def said(look: Callable[..., str], *of: object) -> str:
    """What a look finds, or what is wrong with it."""
    try:
        return look(*of)
    except (StateError, DeltaError, OSError, pl.exceptions.PolarsError) as error:
        return f"damaged: {error}"


def said_or(look: Callable[[], T]) -> T | None:
    """What a look finds; None where it is damaged."""
    try:
        return look()
    except (StateError, DeltaError, OSError, pl.exceptions.PolarsError):
        return None
