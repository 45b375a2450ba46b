"""What the state of an asset partition says, in short; and what is wrong with it where it is damaged."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from deltalake.exceptions import DeltaError

from cio_dagster import places, tables
from cio_dagster.errors import StateError, StateUnavailable
from cio_dagster.lock import LEASE, NOTE
from cio_dagster.state import AssetState

T = TypeVar("T")

GONE = "which is gone"
"""Said of a holder of a lock whose process has ended."""


def count_text(state: AssetState) -> str:
    """The rows of the snapshot, as text."""
    return f"{state.rows():,}"


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
    table = said_or(lambda: tables.open_table(state.folder / "outcomes"))
    found = None if table is None else said_or(lambda: [entry for entry in table.history(5) if "run_id" in entry])
    return found[0] if found else {}


def holder(state: AssetState) -> str:
    """Who holds the lock, by the note that the holder leaves beside it."""
    if (note := places.read(state.folder / NOTE)) is None:
        return ""
    try:
        held = json.loads(note)
        who = f"run {held['run']} (pid {held['pid']} on {held['host']}) since {held['since']}"
        here, renewed = held["host"] == socket.gethostname(), held.get("renewed")
        silent = renewed is not None and seconds_since(renewed) > 2 * LEASE
    except (ValueError, KeyError, TypeError):
        return "a note that cannot be read"
    gone = silent or (here and not Path(f"/proc/{held['pid']}").exists() and Path("/proc/self").exists())
    return f"{who}{f', renewed {renewed}' if renewed else ''}{f', {GONE}' if gone else ''}"


def seconds_since(time: str) -> float:
    """Of an ISO 8601 time, by this machine's clock."""
    return (datetime.now(timezone.utc) - datetime.fromisoformat(time)).total_seconds()


def said(look: Callable[..., str], *of: object) -> str:
    """What a look finds, or what is wrong with it."""
    try:
        return look(*of)
    except StateUnavailable as error:
        return f"unknown: {error}"
    except (StateError, DeltaError, OSError, pl.exceptions.PolarsError) as error:
        return f"damaged: {places.reason(error)}"


def said_or(look: Callable[[], T]) -> T | None:
    """What a look finds; None where it is damaged."""
    try:
        return look()
    except (StateError, StateUnavailable, DeltaError, OSError, pl.exceptions.PolarsError):
        return None
