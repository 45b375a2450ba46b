"""A table that changes, a clock of its own, and runs that read it incrementally."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl

from cio_dagster.incremental import Incremental, Read, next_read
from cio_dagster.report import Report
from cio_dagster.specs import AnySpec, Person
from cio_dagster.sync import RunOptions, sync
from tests.engine import Engine

SPEC = Person(behavior="mirror", delete_people=True, max_delete=1000, attributes={"plan": "plan", "score": "score"})
READING = Incremental(column="updated_at", overlap=timedelta(minutes=10), full_every=timedelta(days=1))
SCHEMA = {"id": pl.String, "plan": pl.String, "score": pl.Float64, "updated_at": pl.Datetime("us", "UTC")}
BAD = float("nan")
"""A score that has no JSON, so that its row is rejected."""


@dataclass
class Source:
    engine: Engine
    now: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: int = 0

    def put(self, id: str, plan: str = "free", *, score: float = 1.0, late: timedelta = timedelta(0)) -> None:
        self.rows[id] = {"id": id, "plan": plan, "score": score, "updated_at": self.now - late}

    def drop(self, id: str) -> None:
        self.rows.pop(id, None)

    def wait(self, **amount: float) -> None:
        self.now += timedelta(**amount)

    def read(
        self, *, spec: AnySpec = SPEC, reading: Incremental = READING, everything: bool = False
    ) -> tuple[Read, pl.LazyFrame]:
        read = next_read(self.engine.state(), spec, reading, now=self.now, everything=everything)
        rows = pl.LazyFrame(list(self.rows.values()), schema=SCHEMA)
        since = datetime.fromisoformat(read.since)
        return read, rows if not read.partial else rows.filter(pl.col("updated_at") >= since)

    def run(
        self, *, spec: AnySpec = SPEC, reading: Incremental = READING, options: RunOptions | None = None, **changes: Any
    ) -> Report:
        self.runs += 1
        options = options or RunOptions(allow_deletes=True)
        read, frame = self.read(spec=spec, reading=reading, everything=options.full_resync or options.only_keys is not None)
        state, connection = self.engine.state(), self.engine.connection(**changes)
        return sync(frame, spec, state, connection, run_id=f"run-{self.runs}", options=options, read=read)

    def expected(self) -> dict[str, str]:
        return {id: row["plan"] for id, row in self.rows.items() if row["score"] == row["score"]}

    def held(self) -> dict[str, str]:
        return {person["id"]: person["attributes"]["plan"] for person in self.engine.sandbox.get("people")}

    def reached(self) -> datetime | None:
        mark = self.engine.state().watermark()
        return None if mark is None else datetime.fromisoformat(mark.time)
