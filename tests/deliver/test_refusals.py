"""Which rows an answer refuses: 207s of every shape, whole batches refused, and answers that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cio_dagster.report import Report
from cio_dagster.specs import Event, ManualSegment, Object, Person
from cio_dagster.state import AssetState
from cio_dagster.sync import sync
from tests.deliver.scripted import Reply, Scripted, scripted
from tests.engine import Engine, check_counts, check_outcomes, connection, frame_of

PERSON = Person()


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"p{n:03}"} for n in range(count)]


def bad(operation: Any, *numbers: int) -> bool:
    return int(operation["identifiers"]["id"][1:]) in numbers


def run(
    reply: Callable[[str, str, Any], Reply], count: int, root: Path, spec: Any = PERSON, **changes: Any
) -> tuple[Report, Scripted]:
    state = AssetState(root, "w", "a")
    with scripted(reply) as script:
        report = sync(frame_of(rows(count)), spec, state, connection(script.url, **changes), run_id="r")
    check_counts(report)
    check_outcomes(report, root)
    return report, script


def accepted(root: Path) -> set[str]:
    snapshot = AssetState(root, "w", "a").snapshot()
    assert snapshot is not None
    return set(snapshot.select("_key").collect()["_key"])


def refused_lines(root: Path) -> dict[str, tuple[str, str, str]]:
    lines = pl.read_delta(str(AssetState(root, "w", "a").folder / "outcomes")).filter(outcome="rejected")
    return {
        key: (reason, field, message)
        for key, reason, field, message in lines.select("key", "reason", "field", "message").iter_rows()
    }


def error(index: Any, text: str = "too long") -> dict[str, Any]:
    return {"batch_index": index, "reason": "invalid", "field": "attributes.plan", "message": text}


def test_a_207_refuses_the_rows_it_names(tmp_path: Path) -> None:
    answer = {"errors": [error(4), error(1), error(4, "another thing about the same row")]}
    report, script = run(lambda *_: (207, answer), 6, tmp_path)
    assert (report.created, report.refused, report.pending, len(script.batches)) == (4, 2, 0, 1)
    assert accepted(tmp_path) == {"p000", "p002", "p003", "p005"}
    assert refused_lines(tmp_path) == dict.fromkeys(("p001", "p004"), ("invalid", "attributes.plan", "too long"))
    assert report.rejects[0]["rows"] == 2


@pytest.mark.parametrize(
    "errors",
    [
        [error(6)],
        [error(-1)],
        [error(None)],
        [error("1")],
        [error(1.5)],
        [error(True)],
        [{"reason": "invalid", "field": "", "message": "which?"}],
        ["a string"],
        [error(1), error(99)],
        [],
        None,
    ],
    ids=str,
)
def test_a_207_that_does_not_say_which_rows_accepts_none_of_them_unseen(tmp_path: Path, errors: Any) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        refused = any(bad(each, 1) for each in body["batch"])
        return (207, {"errors": errors}) if refused else (200, {})

    report, _ = run(reply, 6, tmp_path)
    assert (report.created, report.refused) == (5, 1)
    assert set(refused_lines(tmp_path)) == {"p001"}
    assert "p001" not in accepted(tmp_path)


def test_a_200_with_errors_refuses_what_they_name(tmp_path: Path) -> None:
    report, _ = run(lambda *_: (200, {"errors": [error(0)]}), 3, tmp_path)
    assert (report.created, report.refused) == (2, 1)


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (400, {"errors": [{"reason": "invalid", "field": "attributes.x", "message": "no"}]}, "no"),
        (400, {"meta": {"errors": ["id attribute must be a string value", "and more"]}}, "id attribute must be a string value"),
        (400, {"meta": {"error": "malformed"}}, "malformed"),
        (400, b"something in plain text", "something in plain text"),
        (400, b"", "HTTP status 400"),
        (400, ["a list"], '["a list"]'),
        (413, b"<html>Request Entity Too Large</html>", "<html>Request Entity Too Large</html>"),
        (422, {"errors": [{"detail": "unprocessable", "status": "422"}]}, "unprocessable"),
    ],
)
def test_a_batch_refused_whole_is_split_until_the_offending_rows_are_found(
    tmp_path: Path, status: int, answer: Any, message: str
) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        return (status, answer) if any(bad(each, 3, 40) for each in body["batch"]) else (200, {})

    report, script = run(reply, 64, tmp_path)
    assert (report.created, report.refused, report.error) == (62, 2, None)
    assert {key: line[2] for key, line in refused_lines(tmp_path).items()} == {"p003": message, "p040": message}
    assert len(script.batches) <= 2 * 2 * 7
    delivered = [
        each["identifiers"]["id"] for batch in script.batches for each in batch if not any(bad(one, 3, 40) for one in batch)
    ]
    assert sorted(delivered) == sorted(accepted(tmp_path))


def test_413_by_size_is_split_to_fit(tmp_path: Path) -> None:
    report, script = run(lambda _, __, body: (413, b"") if len(body["batch"]) > 5 else (200, {}), 64, tmp_path)
    assert (report.created, report.refused) == (64, 0)
    assert sum(len(batch) for batch in script.batches if len(batch) <= 5) == 64


def test_a_plan_that_is_refused_row_by_row_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_dagster.deliver.HOPELESS", 100)
    report, script = run(lambda *_: (400, {"meta": {"error": "no such workspace"}}), 300, tmp_path, batch_bytes=5_000)
    assert report.error is not None
    assert "refused all of the first" in str(report.error)
    assert "no such workspace" in str(report.error)
    assert report.refused + report.pending == 300
    assert report.pending > 0
    assert len(script.batches) <= 300


@pytest.mark.parametrize(
    ("status", "answer"), [(404, b"<!DOCTYPE html><html>not here</html>"), (405, b""), (409, {}), (451, {})]
)
def test_other_4xx_stop_the_run_and_are_not_tried_again(tmp_path: Path, status: int, answer: Any) -> None:
    report, script = run(lambda *_: (status, answer), 6, tmp_path)
    assert report.error is not None
    assert report.error.status == status
    assert (report.pending, report.created, len(script.calls)) == (6, 0, 1)


def test_200s_without_json_objects_are_accepted_or_tried_again(tmp_path: Path) -> None:
    answers: list[bytes] = [b"<html>", b'{"errors":[', b"\xff\xfe", b""]
    report, script = run(lambda *_: (200, answers.pop(0)), 3, tmp_path)
    assert (report.created, report.retries, len(script.calls)) == (3, 3, 4)


def test_v1_segments_refused_whole_are_split(engine: Engine) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        if path.startswith("/v1/segments"):
            return 200, {"segments": [{"id": 4, "name": "s", "type": "manual"}]}
        return (400, {"meta": {"errors": ["ids: p002 is odd"]}}) if "p002" in body["ids"] else (200, {})

    with scripted(reply) as script:
        report = sync(frame_of(rows(8)), ManualSegment(name="s"), engine.state(), connection(script.url), run_id="r")
    assert (report.created, report.refused) == (7, 1)
    assert report.rejects[0]["message"] == "ids: p002 is odd"


def test_single_events_are_refused_alone(tmp_path: Path) -> None:
    spec = Event(row_id="id", key="anonymous_id", column="id", name="seen", start="all")

    def reply(method: str, path: str, body: Any) -> Reply:
        return (400, {"meta": {"errors": ["bad"]}}) if body["anonymous_id"] == "p001" else (200, {})

    report, script = run(reply, 4, tmp_path, spec)
    assert (report.sent, report.refused, len(script.calls)) == (3, 1, 4)


def test_what_the_sandbox_refuses_is_tried_again_once_fixed(engine: Engine) -> None:
    """A 207 of the real kind: an object type that does not exist yet."""
    spec = Object(object_type_id=7, column="id")
    report = engine.sync(spec, rows(3))
    assert (report.refused, report.created) == (3, 0)
    engine.sandbox.settings(object_types="7:Boats")
    assert engine.sync(spec, rows(3)).created == 3
