"""What the cases share: measurements as figures, and when a target is for them."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.bench import Bench, Found

FULL = 1_000_000
"""The rows that the targets are for."""


def seconds(measured: Iterable[Found]) -> list[float]:
    """Of each run."""
    return [one["seconds"] for one in measured]


def megabytes(measured: Iterable[Found]) -> list[float]:
    """The peak of each run."""
    return [one["peak_mb"] for one in measured]


def ratios(measured: Iterable[Found], against: Iterable[Found]) -> list[float]:
    """Seconds against seconds, run by run."""
    return [one / other for one, other in zip(seconds(measured), seconds(against), strict=True)]


def full(bench: Bench, target: float) -> float | None:
    """The target, if this is the size that it is for."""
    return target if bench.rows == FULL else None


def count(rows: float) -> str:
    """A number of rows in words."""
    return f"{rows / 1e6:g} million" if rows >= 100_000 else f"{rows:,.0f}"
