"""Between a request and the workspace: reading bodies, and applying accepted operations now or later."""

from __future__ import annotations

import asyncio
import json
import math
import random
from typing import NoReturn

from cio_dagster.sandbox.checks import Operation
from cio_dagster.sandbox.operations import apply
from cio_dagster.sandbox.store import dump
from cio_dagster.sandbox.workspace import Workspace


def read_json(body: bytes) -> object:
    """Read JSON strictly: no NaN, no Infinity however spelt, no half surrogate pairs.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        value: object = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in body or b"\\uD" in body:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is out of range")
    return number


class Intake:
    """Applies operations: at once, or from a queue that is stored with the rest of the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._random = random.Random(workspace.settings.apply_seed)
        self._wake = asyncio.Event()

    def accept(self, operations: list[Operation]) -> None:
        """Apply operations or queue them, in one transaction that is committed when this returns."""
        settings = self._workspace.settings
        if settings.apply_delay == 0 and settings.apply_jitter == 0:
            with self._workspace.change():
                for operation in operations:
                    apply(self._workspace, operation)
            return
        now = self._workspace.now()
        due = [now + settings.apply_delay + self._random.uniform(0, settings.apply_jitter) for _ in operations]
        with self._workspace.store.transaction():
            self._workspace.store.run_many(
                "INSERT INTO accepted (due, operation) VALUES (?, ?)",
                [(when, dump(operation)) for when, operation in zip(due, operations, strict=True)],
            )
        self._wake.set()

    def follow_settings(self) -> None:
        """Start the jitter anew from its seed, and look at the clock again."""
        self._random.seed(self._workspace.settings.apply_seed)
        self._wake.set()

    def waiting(self) -> int:
        """How many accepted operations are not yet applied."""
        count: int = self._workspace.store.value("SELECT count(*) FROM accepted")
        return count

    def apply_due(self) -> float | None:
        """Apply what is due, and return the seconds until more is; None if nothing waits."""
        store, now = self._workspace.store, self._workspace.now()
        with self._workspace.change():
            for row in store.rows("SELECT * FROM accepted WHERE due <= ? ORDER BY due, seq", now).fetchall():
                apply(self._workspace, json.loads(row["operation"]))
            store.run("DELETE FROM accepted WHERE due <= ?", now)
        due: float | None = store.value("SELECT min(due) FROM accepted")
        return None if due is None else max(due - self._workspace.now(), 0.0)

    async def run(self) -> None:
        """Apply operations as they fall due, until cancelled."""
        while True:
            self._wake.clear()
            pause = self.apply_due()
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except asyncio.TimeoutError:
                continue
