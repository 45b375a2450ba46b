"""Python runs for chunks and requests, never for rows: the lines that run are counted on all threads that Python starts.

Lines and not calls, as a loop over rows need not call anything. Loops within Polars or the standard library's C are not seen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cio_dagster import Event, ManualSegment
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec
from cio_dagster.state import AssetState
from tests.counts.conftest import PEOPLE, Counter, people

FEW, MANY = 300, 900
"""Both fit one request, and one chunk."""

LINES_A_ROW = 0.5
"""What an added row may cost. The least loop would cost 1; waiting on a busy machine costs some lines, whatever the rows."""

WIRE = frozenset({"asyncio", "aiohttp", "selectors.py", "threading.py", "concurrent"})
"""Standard library and client code that moves bytes and waits: as often as the machine's load has it."""


class Lines:
    value = 0


@contextmanager
def counted() -> Iterator[Lines]:
    lines = Lines()

    def begin(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return None if WIRE.intersection(Path(frame.f_code.co_filename).parts) else line

    def line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        lines.value += event == "line"
        return line

    before = sys.gettrace()
    threading.settrace(begin)
    sys.settrace(begin)
    try:
        yield lines
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]


def test_a_loop_over_rows_would_be_seen() -> None:
    with counted() as few:
        sum([n for n in range(FEW)])  # noqa: C416
    assert few.value >= FEW


@pytest.mark.parametrize(
    "spec",
    [
        PEOPLE,
        ManualSegment(name="Members", column="customer_id", behavior="mirror"),
        Event(row_id="email", column="customer_id", name="seen", start="all"),
    ],
    ids=lambda spec: spec.object,
)
def test_rows_cost_no_python(spec: AnySpec, sink: RunningSandbox, tmp_path: Path) -> None:
    columns = ["customer_id"] if isinstance(spec, ManualSegment) else list(people(1).collect_schema())

    def syncs(rows: int, name: str) -> Iterator[None]:
        """A first one, an unchanged one, and one with all rows changed (or nothing new, where rows do not change)."""
        counter = Counter(sink, AssetState(tmp_path / name, "workspace", "asset"))
        for frame in (people(rows), people(rows), people(rows, touched=rows)):
            counter.sync(frame.select(columns), spec)
            yield

    def lines(rows: int) -> list[int]:
        found, each = [], syncs(rows, f"of-{rows}")
        for _ in range(3):
            with counted() as one:
                next(each)
            found.append(one.value)
        return found

    list(syncs(FEW, "warm"))  # Imports and caches.
    for few, many in zip(lines(FEW), lines(MANY), strict=True):
        assert (many - few) / (MANY - FEW) < LINES_A_ROW, (few, many)
