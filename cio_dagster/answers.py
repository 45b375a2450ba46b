"""The log of Customer.io's answers to a plan's requests: one JSON line each, appended as they come.

A line says which positions of the plan a request held and which of them were refused:

    {"from": 0, "to": 1480, "at": "2026-01-31T12:00:00+00:00", "refused": [[17, "invalid", "attributes.plan", "too long"]]}

Where the state is in an object store, the log is copied there in pieces as it grows, answers-00000.jsonl and so on, of which the first is
there, maybe empty, when sending begins. What a lost machine had not copied counts as not answered.

Positions without a line were not answered, as far as is known, and stay pending. A line that a crash cut short, or that is damaged, counts
as none: what it would have said is sent again, which is safe.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import polars as pl
from typing_extensions import Self

from cio_dagster.places import StorePath

OUTCOME = pl.Schema(
    {name: pl.String() for name in ("_outcome", "_reason", "_field", "_message")} | {"_at": pl.Datetime("us", "UTC")}
)
"""What became of an operation: `accepted`, `refused` or `pending`; with reason, field and message where it was refused.

The names are none that an attribute can have, so that these columns can stand beside the operations'."""


COPY, COPIES = "answers-{:05}.jsonl", "answers-*.jsonl"

COPY_BYTES = 250_000
"""A copy that has so many is the last one of what it holds; a smaller one is written anew with what has come."""


@dataclass(frozen=True)
class Refusal:
    """One operation that Customer.io refused: its position in the plan, and Customer.io's reason, field and message."""

    position: int
    reason: str
    field: str
    message: str


class AnswerLog:
    """Appends answers to a file. Each line is handed to the operating system at once, and to the disk when the log is closed.

    copied_to
        Where `copy`, and closing the log, copy it to.
    """

    def __init__(self, path: Path, copied_to: StorePath | None = None) -> None:
        self._path, self._copied_to = path, copied_to
        self._file: int | None = None
        self._copies = self._begin = 0
        self._copied: int | None = None
        self._copying = threading.Lock()

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        # That the log is there says that sending may have begun, so it must be there before that, even after a power cut.
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.copy()
        return self

    def __exit__(self, *_: tuple[type[BaseException], BaseException, TracebackType] | None) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
                self.copy()
            finally:
                os.close(self._file)
                self._file = None

    def append(self, start: int, stop: int, refused: Sequence[Refusal]) -> None:
        """Record the answer to the request that held positions `start` to `stop` (not included)."""
        if self._file is None:
            raise ValueError("the log is not open")
        line = {
            "from": start,
            "to": stop,
            "at": datetime.now(timezone.utc).isoformat(),
            "refused": [[each.position, each.reason, each.field, each.message] for each in refused],
        }
        rest = json.dumps(line).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def copy(self) -> None:
        """Copy what is new. Does nothing for a log that is not open, or is copied nowhere."""
        if self._copied_to is None or self._file is None:
            return
        with self._copying:
            end = os.fstat(self._file).st_size
            if end == self._copied:
                return
            # A line that is being written is whole in the next copy: until then it counts as none.
            content = os.pread(self._file, end - self._begin, self._begin)
            content = content[: content.rfind(b"\n") + 1]
            (self._copied_to / COPY.format(self._copies)).put(content)
            self._copied = self._begin + len(content)
            if len(content) >= COPY_BYTES:
                self._begin, self._copies = self._copied, self._copies + 1


def join_copies(path: Path) -> None:
    """Make a log of its copies, if there are any, beside it."""
    if copies := sorted(path.parent.glob(COPIES)):
        path.write_bytes(b"".join(copy.read_bytes() for copy in copies))
        path.chmod(0o600)


@dataclass(frozen=True)
class Answers:
    """What a log says.

    answered
        Ranges of positions, in their order: `_from`, `_to` (UInt32), `_at`.
    refusals
        `_position` (UInt32), and `_reason`, `_field`, `_message`: one row for each position that was refused.
    """

    answered: pl.DataFrame
    refusals: pl.DataFrame

    def __bool__(self) -> bool:
        """Whether any request was answered; a plan without operations may have one too."""
        return not self.answered.is_empty()

    def outcomes(self, operations: pl.LazyFrame) -> pl.LazyFrame:
        """Operations, in the order of their `_position`, with what became of each: the columns of OUTCOME."""
        found = operations.set_sorted("_position").join_asof(
            self.answered.lazy(), left_on="_position", right_on="_from", strategy="backward"
        )
        reached = (pl.col("_position") < pl.col("_to")).fill_null(False)
        if self.refusals.is_empty():
            # Joining none would still hold rows, to keep their order.
            nothing = pl.lit(None, dtype=pl.String)
            found = found.with_columns(_reason=nothing, _field=nothing, _message=nothing)
        else:
            found = found.join(self.refusals.lazy(), on="_position", how="left", maintain_order="left")
        said = pl.when(~reached).then(pl.lit("pending")).when(pl.col("_reason").is_not_null()).then(pl.lit("refused"))
        found = found.with_columns(_outcome=said.otherwise(pl.lit("accepted")), _at=pl.when(reached).then(pl.col("_at")))
        return found.drop("_from", "_to")


def read_answers(path: Path, operations: int) -> Answers:
    """What the log of a plan with so many operations says; of one that is not there, nothing."""
    ranges: list[tuple[int, int, datetime]] = []
    refused: list[tuple[int, str, str, str]] = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if (answer := _read(line, operations)) is not None:
            ranges.append(answer[0])
            refused.extend(answer[1])
    words = dict.fromkeys(("_reason", "_field", "_message"), pl.String())
    return Answers(
        pl.DataFrame(ranges, schema={"_from": pl.UInt32(), "_to": pl.UInt32(), "_at": OUTCOME["_at"]}, orient="row").sort(
            "_from"
        ),
        pl.DataFrame(refused, schema={"_position": pl.UInt32(), **words}, orient="row").unique("_position", keep="last"),
    )


_Answer: TypeAlias = "tuple[tuple[int, int, datetime], list[tuple[int, str, str, str]]]"


def _read(line: bytes, operations: int) -> _Answer | None:
    """What a line says, or None if it is no whole line about positions of the plan."""
    if not line.endswith(b"\n"):
        return None
    try:
        answer = json.loads(line)
        start, stop, at = int(answer["from"]), int(answer["to"]), datetime.fromisoformat(answer["at"]).astimezone(timezone.utc)
        refused = [
            (int(position), str(reason), str(field), str(message)) for position, reason, field, message in answer["refused"]
        ]
    except (ValueError, TypeError, KeyError):
        return None
    inside = 0 <= start <= stop <= operations and all(start <= each[0] < stop for each in refused)
    return ((start, stop, at), refused) if inside else None
