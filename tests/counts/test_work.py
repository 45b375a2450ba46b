"""What must not grow is counted, on any machine: requests, bytes, encoded rows, files."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from cio_dagster import ManualSegment
from cio_dagster.limits import BATCH_BYTES, SEGMENT_IDS_PER_REQUEST
from tests.counts.conftest import PEOPLE, ROWS, Counted, Counter, people
from tests.plans import plan_of

REGION = 1
"""The request that checks the credentials."""


def test_a_first_sync_takes_as_few_requests_as_its_bytes_need(first: tuple[Counter, Counted]) -> None:
    _, done = first
    assert done.report.created == ROWS
    assert done.requests - REGION <= math.ceil(done.bytes / BATCH_BYTES) + 1
    assert done.bytes / ROWS < 260  # JSON without blanks.


def test_an_unchanged_sync_sends_nothing_and_writes_next_to_nothing(after_first: Counter) -> None:
    done = after_first.sync(people(ROWS))
    assert done.report.planned.unchanged == ROWS
    assert (done.requests, done.bytes) == (REGION, 0)
    assert done.files <= 6
    assert done.file_bytes < 20_000


def test_a_changed_row_costs_its_changed_attribute(after_first: Counter) -> None:
    touched = ROWS // 100
    done = after_first.sync(people(ROWS, touched=touched))
    assert done.report.updated == touched
    assert done.requests - REGION == 1
    assert done.bytes / touched < 110


def test_a_segment_takes_a_request_for_a_thousand_ids(counter: Counter) -> None:
    spec, ids = ManualSegment(name="Members", column="customer_id", behavior="mirror"), people(ROWS).select("customer_id")
    lookups = 2  # For the segment's name, and to make it.
    done = counter.sync(ids, spec)
    assert done.requests == REGION + lookups + ROWS // SEGMENT_IDS_PER_REQUEST
    churn = ROWS // 100
    others = pl.concat([ids.slice(churn), pl.LazyFrame({"customer_id": [f"new_{n}" for n in range(churn)]})])
    done = counter.sync(others, spec)
    assert (done.report.created, done.report.removed) == (churn, churn)
    assert done.requests == REGION + lookups + 2


def test_only_changed_rows_are_encoded(after_first: Counter, tmp_path: Path) -> None:
    snapshot = after_first.state.snapshot()
    assert snapshot is not None
    for touched in (0, ROWS // 100):
        plan = plan_of(people(ROWS, touched=touched), PEOPLE, tmp_path, snapshot=snapshot.collect())
        bodies = plan.operations().select(pl.col("_body").count(), all=pl.len()).collect()
        assert bodies.row(0) == (touched, touched)


def test_more_rows_are_not_more_files(first: tuple[Counter, Counted], after_first: Counter, counter: Counter) -> None:
    few = ROWS // 20
    assert counter.sync(people(few)).files == first[1].files
    of_many, of_few = (each.sync(people(rows, touched=rows // 100)) for each, rows in ((after_first, ROWS), (counter, few)))
    assert of_few.files == of_many.files
