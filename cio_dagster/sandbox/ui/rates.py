"""Requests and operations over time, as the bars of a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BARS = 60
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)


@dataclass
class Bar:
    """What came from ``start`` (seconds since the epoch) on, for as long as a bar lasts."""

    start: int
    requests: int = 0
    failed: int = 0
    operations: int = 0


@dataclass(frozen=True)
class Rates:
    """Bars of ``seconds`` each, oldest first."""

    seconds: int
    bars: list[Bar]

    @property
    def most_requests(self) -> int:
        """The requests of the tallest bar."""
        return max((bar.requests for bar in self.bars), default=0)

    @property
    def most_operations(self) -> int:
        """The operations of the tallest bar."""
        return max((bar.operations for bar in self.bars), default=0)


def is_failure(request: Mapping[str, Any]) -> bool:
    """Whether a logged request got no answer, or one that is an error."""
    return request["status"] is None or request["status"] >= 400


def rates(requests: Sequence[Mapping[str, Any]]) -> Rates:
    """Logged requests, oldest first, counted into at most 60 bars of equal length."""
    if not requests:
        return Rates(1, [])
    first, last = requests[0]["time"], requests[-1]["time"]
    span = max(last - first, 0)
    seconds = next((step for step in _STEPS if span / step < BARS - 1), int(span / (BARS - 1)) + 1)
    start = int(first // seconds) * seconds
    bars = [Bar(start + number * seconds) for number in range(int((last - start) // seconds) + 1)]
    for request in requests:
        # The log is in the order of the answers, so a slow request may stand behind quicker ones that came later.
        bar = bars[min(max(int((request["time"] - start) // seconds), 0), len(bars) - 1)]
        bar.requests += 1
        bar.failed += is_failure(request)
        bar.operations += request["operations"]
    return Rates(seconds, bars)
