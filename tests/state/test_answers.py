"""The log of answers: what it says of each position, whole or damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_dagster.answers import AnswerLog, Refusal, read_answers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def outcomes(path: Path, operations: int) -> pl.DataFrame:
    positions = pl.LazyFrame({"_position": range(operations)}, schema={"_position": pl.UInt32})
    return read_answers(path, operations).outcomes(positions).collect()


def said(path: Path, operations: int) -> str:
    """The outcomes' first letters in order: a, r or p."""
    return "".join(each[0] for each in outcomes(path, operations)["_outcome"])


def write(path: Path) -> None:
    with AnswerLog(path) as log:
        log.append(4, 6, [])
        log.append(0, 3, [Refusal(1, "invalid", "attributes.plan", 'zu lang: ü\n"')])
        log.append(8, 9, [Refusal(8, "refused", "", "")])


def test_each_position_has_an_outcome(path: Path) -> None:
    write(path)
    assert said(path, 10) == "arapaapprp"
    row = outcomes(path, 10).row(1, named=True)
    assert (row["_reason"], row["_field"], row["_message"]) == ("invalid", "attributes.plan", 'zu lang: ü\n"')
    assert row["_at"] is not None
    assert outcomes(path, 10)["_at"].is_null().to_list() == [letter == "p" for letter in said(path, 10)]


@pytest.mark.parametrize("operations", [0, 5])
def test_no_answers(path: Path, operations: int) -> None:
    assert said(path, operations) == "p" * operations
    path.write_bytes(b"")
    assert said(path, operations) == "p" * operations


def test_the_file_is_its_owners(path: Path) -> None:
    write(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_any_cut_loses_no_more_than_the_line_it_is_in(path: Path) -> None:
    write(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        assert said(path, 9) == ["ppppppppp", "ppppaappp", "arapaappp"][lines]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 40,
        b"12",
        b"null",
        b"[]",
        b"{}",
        b'{"from": 0, "to": 9}',
        b'{"from": 0, "to": 99, "at": "2026-01-01T00:00:00+00:00", "refused": []}',
        b'{"from": 5, "to": 2, "at": "2026-01-01T00:00:00+00:00", "refused": []}',
        b'{"from": 0, "to": 9, "at": "yesterday", "refused": []}',
        b'{"from": 0, "to": 9, "at": "2026-01-01T00:00:00+00:00", "refused": [[12, "", "", ""]]}',
        b'{"from": 0, "to": 9, "at": "2026-01-01T00:00:00+00:00", "refused": [3]}',
        b"\xff\xfe\xfd",
    ],
)
def test_a_damaged_line_says_nothing(path: Path, garbage: bytes) -> None:
    write(path)
    whole = path.read_bytes()
    first, rest = whole.split(b"\n", 1)
    path.write_bytes(first + b"\n" + garbage + b"\n" + rest)
    assert said(path, 9) == "arapaappr"


def test_times_with_and_without_a_fraction(path: Path) -> None:
    times = ["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00.000001+00:00"]
    lines = [{"from": n, "to": n + 1, "at": time, "refused": []} for n, time in enumerate(times)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert said(path, 2) == "aa"


def test_a_write_that_takes_only_a_part_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_some = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write_some(file, data[:7]))
    write(path)
    assert said(path, 9) == "arapaappr"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.sets(st.integers(0, 5))), max_size=12), st.randoms())
def test_any_order_of_answers(tmp_path_factory: pytest.TempPathFactory, requests: list, random: object) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("log") / "answers.jsonl"
    expected, lines, position = "", [], 0
    for size, answered, refused in requests:
        inside = sorted(each for each in refused if each < size)
        expected += "".join("p" if not answered else "r" if n in inside else "a" for n in range(size))
        if answered:
            lines.append((position, position + size, [Refusal(position + n, "no", "", "") for n in inside]))
        position += size
    random.shuffle(lines)  # type: ignore[attr-defined]
    with AnswerLog(path) as log:
        for line in lines:
            log.append(*line)
    assert said(path, position) == expected
