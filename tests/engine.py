"""A sandbox, a state folder, and syncs between them: what the tests of the rooms after prepare share."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from cio_dagster.deliver import Connection
from cio_dagster.places import Place
from cio_dagster.report import Report
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.settings import Settings
from cio_dagster.specs import AnySpec
from cio_dagster.state import AssetState, outcomes
from cio_dagster.sync import RunOptions, sync

SITE, TRACK_KEY, APP_KEY = "site-5f1c", "track-key-8d2e77", "app-key-41b09c"

Rows = pl.LazyFrame | pl.DataFrame | Sequence[Mapping[str, Any]]


def connection(url: str, **changes: Any) -> Connection:
    """A connection to a sandbox: no waiting for rates that a test is not about, and short pauses."""
    given: dict[str, Any] = {
        "site_id": SITE,
        "track_api_key": SecretStr(TRACK_KEY),
        "app_api_key": SecretStr(APP_KEY),
        "track_url": url,
        "app_url": url,
        "requests_per_second": 100_000,
        "burst": 100_000,
        "app_requests_per_second": 1_000,
        "longest_backoff": 0.02,
        "timeout": 10,
    }
    return Connection(**given | changes)


def frame_of(rows: Rows) -> pl.LazyFrame:
    if isinstance(rows, pl.LazyFrame):
        return rows
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame([dict(each) for each in rows], infer_schema_length=None)
    return frame.lazy()


@dataclass
class Engine:
    """Syncs into one sandbox, with the state in one folder."""

    sandbox: RunningSandbox
    root: Place
    runs: int = 0
    last: list[str] = field(default_factory=list)

    def state(self, asset: str = "asset", partition: str | None = None) -> AssetState:
        return AssetState(self.root, "workspace", asset, partition)

    def connection(self, **changes: Any) -> Connection:
        return connection(self.sandbox.url, **changes)

    def sync(
        self,
        spec: AnySpec,
        rows: Rows,
        *,
        asset: str = "asset",
        partition: str | None = None,
        options: RunOptions | None = None,
        partitions: Sequence[str] = (),
        **changes: Any,
    ) -> Report:
        """One run; the counts of its report and of its outcomes must add up."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        self.last.append(run_id)
        state = self.state(asset, partition)
        report = sync(
            frame_of(rows), spec, state, self.connection(**changes), run_id=run_id, options=options, partitions=partitions
        )
        check_counts(report)
        if not report.dry_run:
            check_outcomes(report, self.root)
        return report

    def outcomes(self, **filters: str) -> list[dict[str, Any]]:
        found = outcomes(self.root).collect()
        for name, value in filters.items():
            found = found.filter(pl.col(name) == value)
        return found.to_dicts()

    def requests(self, path: str = "", *, writes: bool = False) -> list[dict[str, Any]]:
        """The sandbox's log; `writes` leaves out reads and the region call."""
        log = self.sandbox.get("requests")
        reads = ("GET",)
        return [each for each in log if path in each["path"] and not (writes and each["method"] in reads)]

    def track(self, method: str, path: str, body: Any = None) -> None:
        """Call the Track API as some other program would."""
        token = base64.b64encode(f"{SITE}:{TRACK_KEY}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        data = json.dumps(body if body is not None else {}).encode()
        request = urllib.request.Request(self.sandbox.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.status == 200

    def batch(self, *operations: Any) -> None:
        self.track("POST", "/api/v2/batch", {"batch": list(operations)})


def check_counts(report: Report) -> None:
    """Each source row, and each removal, is in just one number of a report."""
    planned = report.planned
    written = planned.create + planned.update + planned.send + planned.keep
    assert planned.source == planned.not_chosen + planned.rejected + planned.unchanged + planned.left_out + written
    if not report.dry_run:
        done = report.created + report.updated + report.sent + report.kept + report.removed
        assert done + report.refused + report.pending == written + planned.delete


def check_outcomes(report: Report, root: Place) -> None:
    """The outcomes of a run account for every source row."""
    table = outcomes(root).filter(
        pl.col("run_id") == report.run_id,
        pl.col("asset") == report.asset,
        pl.col("partition").eq_missing(pl.lit(report.partition, dtype=pl.String)),
    )
    rows = table.filter(pl.col("operation") != "delete").select(pl.col("rows").sum()).collect().item()
    assert rows == report.planned.source


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[RunningSandbox]:
    flags = ("--site-id", SITE, "--track-key", TRACK_KEY, "--app-key", APP_KEY)
    with run_sandbox(*flags, "--set", "app_requests_per_second=0") as sandbox:
        yield sandbox


@pytest.fixture
def engine(shared_sandbox: RunningSandbox, tmp_path: Path) -> Engine:
    """An empty workspace and an empty state."""
    shared_sandbox.reset()
    shared_sandbox.settings(**{**Settings().as_dict(), "app_requests_per_second": 0})
    return Engine(shared_sandbox, tmp_path / "state")
