"""Packing: operations in, requests out, by bytes and by rows. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Batch:
    """Operations that go in one request: their JSON bodies, the position of the first in the plan, and what they do."""

    start: int
    bodies: pl.Series
    operation: str

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.start + len(self.bodies)

    def halves(self) -> tuple[Batch, Batch]:
        """The batch in two, for finding the operation that a whole request was refused for."""
        middle = len(self.bodies) // 2
        return (
            Batch(self.start, self.bodies[:middle], self.operation),
            Batch(self.start + middle, self.bodies[middle:], self.operation),
        )


def pack(
    chunks: Iterable[pl.DataFrame], *, max_bytes: int, max_rows: int, wrapping: int, mixed: bool, start: int = 0
) -> Iterator[Batch]:
    """Fill requests in the order of the operations.

    chunks
        Frames of `_operation` and `_body` (String, not null), in order; `start` is the position of the first row.
    max_bytes, wrapping
        A request's limit in UTF-8 bytes, and the bytes it has around and beside the bodies; a comma stands between two bodies.
    max_rows, mixed
        A request's limit in operations; and whether it may hold operations of several kinds.
    """
    rest: pl.DataFrame | None = None
    for chunk in chunks:
        rows = chunk if rest is None else pl.concat([rest, chunk])
        bounds = _bounds(rows, max_bytes - wrapping, max_rows, mixed)
        for first, last in itertools.pairwise(bounds):
            yield Batch(start + first, rows["_body"][first:last], rows["_operation"][first])
        rest, start = rows[bounds[-1] :], start + bounds[-1]
    if rest is not None and not rest.is_empty():
        edges = [*_bounds(rest, max_bytes - wrapping, max_rows, mixed), len(rest)]
        for first, last in itertools.pairwise(edges):
            yield Batch(start + first, rest["_body"][first:last], rest["_operation"][first])


def _bounds(rows: pl.DataFrame, room: int, max_rows: int, mixed: bool) -> list[int]:
    """Where full requests begin; the last bound begins what may not be full yet. One step for each request, none for each row."""
    ends = rows.select((pl.col("_body").str.len_bytes().cast(pl.UInt64) + 1).cum_sum()).to_series()
    changes = (
        [] if mixed else rows.select((pl.col("_operation") != pl.col("_operation").shift()).arg_true()).to_series().to_list()
    )
    bounds, taken = [0], 0
    while True:
        first = bounds[-1]
        last = min(int(ends.search_sorted(taken + room + 1, side="right")), first + max_rows)
        last = max(last, first + 1)
        last = min([last, *(change for change in changes if change > first)])
        if last >= len(rows):
            return bounds
        bounds.append(last)
        taken = int(ends[last - 1])
