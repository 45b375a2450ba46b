from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from cio_dagster import Person
from cio_dagster.report import Report
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.specs import AnySpec
from cio_dagster.state import AssetState
from cio_dagster.sync import sync
from tests.engine import connection

ROWS = 20_000
PEOPLE = Person(column="customer_id", behavior="mirror", delete_people=True)


def people(rows: int, *, touched: int = 0) -> pl.LazyFrame:
    """So many people of 8 columns; of the first of them, one attribute is another one."""
    n = pl.col("n")
    return (
        pl.LazyFrame({"n": pl.int_range(rows, eager=True)})
        .select(
            customer_id=pl.format("cus_{}", n),
            email=pl.format("person{}@example.com", n),
            first_name=pl.format("Name {}", n % 1_000),
            plan=pl.when(n % 3 == 0).then(pl.lit("free")).otherwise(pl.lit("pro")),
            lifetime_value=(n % 10_000) / 7,
            orders=pl.when(n < touched).then(n + 1_000_000).otherwise(n % 50),
            created_at=pl.from_epoch(1_600_000_000 + n),
            opted_in=n % 2 == 0,
        )
        .collect()
        .lazy()
    )


@dataclass(frozen=True)
class Counted:
    """What one sync did: the requests and bytes that came to the sink (asking for the region included), and the files that are new in the state."""

    report: Report
    requests: int
    bytes: int
    files: int
    file_bytes: int


@dataclass(frozen=True)
class Counter:
    sink: RunningSandbox
    state: AssetState

    def sync(self, frame: pl.LazyFrame, spec: AnySpec = PEOPLE) -> Counted:
        before = self._files()
        self.sink.reset()
        report = sync(frame, spec, self.state, connection(self.sink.url), run_id="run")
        assert report.error is None
        counts, new = self.sink.get("counts"), self._files() - before
        return Counted(report, counts["requests"], counts["bytes"], len(new), sum(size for _, _, size in new))

    def _files(self) -> set[tuple[Path, int, int]]:
        found = [(path, path.stat()) for path in self.state.folder.rglob("*") if path.is_file()]
        return {(path, stat.st_ino, stat.st_size) for path, stat in found}


@pytest.fixture(scope="session")
def sink() -> Iterator[RunningSandbox]:
    with run_sandbox("--sink") as running:
        yield running


@pytest.fixture
def counter(sink: RunningSandbox, tmp_path: Path) -> Counter:
    return Counter(sink, AssetState(tmp_path, "workspace", "asset"))


@pytest.fixture(scope="session")
def first(sink: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Counter, Counted]:
    """A first sync of ROWS people, and the state after it, to be copied and left as it is."""
    counter = Counter(sink, AssetState(tmp_path_factory.mktemp("first"), "workspace", "asset"))
    return counter, counter.sync(people(ROWS))


@pytest.fixture
def after_first(first: tuple[Counter, Counted], tmp_path: Path) -> Counter:
    counter, _ = first
    shutil.copytree(counter.state.root, tmp_path / "state")
    return Counter(counter.sink, AssetState(tmp_path / "state", "workspace", "asset"))
