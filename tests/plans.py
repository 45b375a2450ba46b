"""Plans of frames, and what becomes of them: what the tests of the pure rooms share."""

from __future__ import annotations

import json
from collections.abc import Collection as Many
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

from cio_dagster.plan import Plan, make_plan
from cio_dagster.prepare import prepare
from cio_dagster.specs import AnySpec, Event

SMALL = {
    "cio_dagster.hashes.BUCKET_ROWS": 2,
    "cio_dagster.prepare.identity.BUCKET_ROWS": 0,
    "cio_dagster.parts.PART_BYTES": 100,
    "cio_dagster.commit.KEYS": 2,
}
"""Limits at which a few rows are compared as millions are: in several buckets, parts and files."""

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@contextmanager
def sized(how: str) -> Iterator[None]:
    """Plan and commit "as few rows", in one part each; or "as millions"."""
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in SMALL.items() if how == "as millions" else ():
            patch.setattr(name, limit)
        yield


def plan_of(
    frame: pl.DataFrame | pl.LazyFrame,
    spec: AnySpec,
    folder: Path,
    *,
    snapshot: pl.DataFrame | None = None,
    baseline: pl.DataFrame | None = None,
    unsettled: pl.DataFrame | None = None,
    start: datetime | None = None,
    operation_bytes: int = 32_000,
    full_resync: bool = False,
    sequence: int = 1,
) -> Plan:
    return make_plan(
        frame.lazy(),
        spec,
        folder / "plan",
        snapshot=None if snapshot is None else snapshot.lazy(),
        baseline=baseline,
        unsettled=None if unsettled is None else unsettled.lazy(),
        run_id="run",
        sequence=sequence,
        now=NOW,
        start=start,
        operation_bytes=operation_bytes,
        full_resync=full_resync,
    )


def planned(frame: pl.DataFrame | pl.LazyFrame, spec: AnySpec, **options: Any) -> Planned:
    """A plan, read into memory; what must be true of every plan is checked on the way."""
    with TemporaryDirectory() as folder:
        return Planned(plan_of(frame, spec, Path(folder), **options))


class Planned:
    """A plan's content in memory."""

    def __init__(self, plan: Plan) -> None:
        self.counts = plan.counts
        self.operations = plan.operations().collect()
        self.rejected = plan.rejected().collect()
        clashes = plan.identity_problems()
        self.problems: dict[str, set[str]] = {}
        """Problem with identifiers to the keys of the people that are sent all the same."""
        for problem, key in () if clashes is None else clashes.select("problem", "_key").collect().iter_rows():
            self.problems.setdefault(problem, set()).add(key)
        self._check()

    def _check(self) -> None:
        """Every source row is in one place, and the counts are those of the content."""
        counts, found = self.counts, dict(self.operations.group_by("_operation").len().iter_rows())
        for name in ("left_out", "delete", "keep", "create", "update", "send"):
            assert getattr(counts, name) == found.get(name, 0), name
        assert counts.rejected == len(self.rejected)
        written = sum(found.values()) - found.get("delete", 0)
        assert counts.source == counts.rejected + counts.unchanged + written
        assert counts.unchanged >= 0
        rows = self.rejected["_row"].to_list() + self.operations["_row"].drop_nulls().to_list()
        assert len(rows) == len(set(rows)) == counts.rejected + written

    def bodies(self, operation: str | None = None) -> list[Any]:
        """What is sent, parsed."""
        rows = self.operations if operation is None else self.operations.filter(pl.col("_operation") == operation)
        return [json.loads(body) for body in rows["_body"].drop_nulls()]

    def reasons(self) -> dict[int, str]:
        """Source row to the reason why it is rejected."""
        return {row: reject["reason"] for row, reject in self.rejected.select("_row", "_reject").iter_rows()}

    def keys(self, operation: str) -> set[str]:
        return set(self.operations.filter(pl.col("_operation") == operation)["_key"])

    def snapshot(self, before: pl.DataFrame | None, spec: AnySpec, refused: Many[str] = ()) -> pl.DataFrame:
        """What a commit makes of the snapshot, where Customer.io refuses some keys and accepts the rest."""
        done = self.operations.filter(~pl.col("_key").is_in(list(refused)))
        written = done.filter(pl.col("_operation") != "delete").drop(
            "_position", "_row", "_operation", "_changes", "_body", strict=False
        )
        if before is None:
            return written
        kept = before if isinstance(spec, Event) else before.join(done.select("_key"), on="_key", how="anti")
        return pl.concat([kept, written], how="diagonal")


def prepared(frame: pl.DataFrame, spec: AnySpec) -> pl.DataFrame:
    """The rows that prepare gives, ready and rejected."""
    return prepare(frame.lazy(), spec).rows.collect(engine="streaming")


def ready(frame: pl.DataFrame, spec: AnySpec, column: str) -> list[str | None]:
    """A column of the prepared rows, all of which must be ready."""
    rows = prepared(frame, spec)
    assert rows["_reject"].null_count() == len(rows), rows["_reject"].to_list()
    return rows[column].to_list()


def reason(frame: pl.DataFrame, spec: AnySpec) -> list[str | None]:
    """Why each row is rejected; None for ready rows."""
    return prepared(frame, spec)["_reject"].struct.field("reason").to_list()
