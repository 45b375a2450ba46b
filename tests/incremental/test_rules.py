"""What is read, when all is, how far the watermark moves, and that what was not read stays as it is."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import polars as pl
import pytest
from pydantic import ValidationError

from cio_dagster.errors import SpecError, StateError
from cio_dagster.incremental import Incremental, Read, find_incremental, row_times
from cio_dagster.specs import Person
from cio_dagster.sync import RunOptions, sync
from tests.engine import Engine

from .source import BAD, READING, SPEC, Source


@pytest.fixture
def source(engine: Engine) -> Source:
    """Three people, of whom c changed last, read whole an hour ago."""
    source = Source(engine)
    source.put("a")
    source.put("b")
    source.wait(hours=1)
    source.put("c")
    report = source.run()
    assert (report.created, report.read_since) == (3, "")
    source.wait(hours=1)
    return source


def test_only_changed_rows_are_read_and_nothing_is_taken_for_gone(source: Source) -> None:
    source.put("b", "pro")
    source.put("d")
    source.drop("a")
    report = source.run()
    assert (report.planned.source, report.updated, report.created, report.removed, report.warnings) == (3, 1, 1, 0, [])
    assert source.held() == {"a": "free", "b": "pro", "c": "free", "d": "free"}
    assert report.read_since == (source.now - timedelta(hours=1, minutes=10)).isoformat()


def test_a_read_of_nothing_stops_at_no_guard(source: Source) -> None:
    source.drop("c")
    report = source.run(options=RunOptions())
    assert (report.planned.source, report.warnings, report.removed) == (0, [], 0)
    assert source.held() == {"a": "free", "b": "free", "c": "free"}


def test_a_run_of_some_keys_leaves_the_watermark_and_one_with_a_limit_reads_its_rest_again(source: Source) -> None:
    reached = source.reached()
    source.put("a", "pro")
    source.put("b", "pro")
    report = source.run(options=RunOptions(only_keys=["a"]))
    assert (report.updated, report.planned.not_chosen, source.reached()) == (1, 2, reached)
    source.wait(hours=1)
    source.put("c", "pro")
    report = source.run(options=RunOptions(limit=1))
    assert (report.updated, report.deferred) == (1, 1)
    assert source.run().updated == 1
    assert source.held() == source.expected()


def test_a_full_read_is_due_again_and_finds_what_left(source: Source) -> None:
    source.drop("a")
    source.wait(hours=22, minutes=59)
    assert source.run().removed == 0
    source.wait(hours=1)
    report = source.run()
    assert (report.read_since, report.removed) == ("", 1)
    assert source.held() == source.expected()


def test_late_rows_within_the_overlap_are_read(source: Source) -> None:
    source.put("b", "pro")
    source.run()
    source.put("c", "late", late=timedelta(minutes=9))
    source.run()
    assert source.held()["c"] == "late"
    source.put("c", "too late", late=timedelta(minutes=11))
    source.run()
    assert source.held()["c"] == "late"


def test_rejected_rows_hold_the_watermark_until_they_are_well(source: Source) -> None:
    source.put("bad", score=BAD)
    held = source.now
    source.wait(hours=3)
    source.put("b", "pro")
    assert source.run().rejected == 1
    assert source.reached() == held
    source.rows["bad"]["score"] = 1.0  # Its time stays: a join gave it another value.
    assert source.run().created == 1
    assert source.reached() == source.rows["b"]["updated_at"]
    assert source.held() == source.expected()


def test_rejected_rows_of_a_full_read_do_not_hold_it(engine: Engine) -> None:
    source = Source(engine)
    source.put("bad", score=BAD)
    source.wait(days=300)
    source.put("a")
    assert source.run().rejected == 1
    assert source.reached() == source.now
    source.wait(minutes=1)
    assert source.run().planned.source == 1


def test_unanswered_rows_hold_the_watermark(source: Source) -> None:
    source.put("b", "pro")
    before = source.reached()
    source.engine.sandbox.faults([{"path": "/api/v2/batch", "status": 500}])
    source.wait(hours=1)
    report = source.run(attempts=1)
    assert report.error is not None
    source.engine.sandbox.faults([])
    assert source.reached() is not None
    assert source.reached() == source.rows["b"]["updated_at"] != before
    source.wait(hours=5)
    assert source.run().updated == 1
    assert source.held() == source.expected()


def test_a_full_read_that_was_not_carried_out_is_done_again(source: Source) -> None:
    source.drop("a")
    source.put("b", "pro")
    source.engine.sandbox.faults([{"path": "/api/v2/batch", "status": 500}])
    assert source.run(options=RunOptions(allow_deletes=True, full_resync=True), attempts=1).error is not None
    source.engine.sandbox.faults([])
    assert source.reached() is None
    assert source.run().read_since == ""
    assert source.held() == source.expected()


def test_a_time_in_the_future_hides_nothing(source: Source) -> None:
    source.put("b", "future", late=timedelta(days=-400))
    source.run()
    assert source.reached() == source.now
    source.wait(hours=1)
    source.put("c", "pro")
    assert source.run().planned.source == 2
    assert source.held() == source.expected()


def test_what_makes_a_read_full(source: Source) -> None:
    state = source.engine.state()

    def full(**changes: object) -> bool:
        return not source.read(**changes)[0].partial  # type: ignore[arg-type]

    assert not full()
    assert full(everything=True)
    assert full(spec=SPEC.model_copy(update={"send": "all"}))
    assert full(reading=Incremental(column="plan"))
    state.put_back(pl.Series(["a"]), None, state.outcomes().head(0).collect(), run_id="check")
    assert full()
    assert source.run().created == 1
    assert not full()


def test_a_reset_between_reading_and_sending_is_noticed(source: Source) -> None:
    read, frame = source.read()
    state = source.engine.state()
    state.write_watermark(None)
    with pytest.raises(StateError, match="made it necessary to read more"):
        sync(frame, SPEC, state, source.engine.connection(), run_id="late", read=read)


def test_a_dry_run_moves_nothing(source: Source) -> None:
    source.put("b", "pro")
    before = source.reached()
    report = source.run(options=RunOptions(dry_run=True))
    assert (report.planned.update, source.reached()) == (1, before)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([datetime(2026, 1, 1, 12), None], pl.Datetime("ns")),
        ([datetime(2026, 1, 1, 13), None], pl.Datetime("ms", "Europe/Berlin")),
        ([date(2026, 1, 1), None], pl.Date),
    ],
)
def test_times_of_rows_are_in_utc(values: list[object], dtype: pl.DataType) -> None:
    frame = pl.LazyFrame({"t": pl.Series(values, dtype=dtype, strict=False)})
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        frame = pl.LazyFrame(
            {"t": pl.Series([datetime(2026, 1, 1, 12), None]).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")}
        )
    hour = 0 if dtype == pl.Date else 12
    assert row_times(frame, "t").collect().rows() == [(0, datetime(2026, 1, 1, hour, tzinfo=timezone.utc)), (1, None)]


def test_wrong_settings() -> None:
    with pytest.raises(SpecError, match=r"'n' of incremental= is Int64; it must be a date or a datetime"):
        row_times(pl.LazyFrame({"n": [1]}), "n")
    with pytest.raises(SpecError, match=r"'t' of incremental= is not among \['n'\]"):
        row_times(pl.LazyFrame({"n": [1]}), "t")
    with pytest.raises(ValidationError, match="must not be negative"):
        Incremental(column="t", overlap=timedelta(minutes=-1))
    assert find_incremental({**Person().to_metadata(), **READING.to_metadata()}) == READING
    assert find_incremental(Person().to_metadata()) is None
    assert not Read("t", "2026-01-01T00:00:00+00:00").partial
