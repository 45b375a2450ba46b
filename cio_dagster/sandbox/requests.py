"""The request log: what came, when, and how it was answered."""

from __future__ import annotations

from collections import deque
from typing import Any

KEPT = 200_000
"""How many requests are kept; the totals count them all."""


class RequestLog:
    """The last requests and the totals of all."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._totals = {"requests": 0, "bytes": 0, "operations": 0}

    def add(self, *, time: float, api: str, method: str, path: str, status: int | None, bytes: int, operations: int) -> None:
        """Log one request; its status is None when it got no whole answer."""
        self._entries.append(
            {
                "time": time,
                "api": api,
                "method": method,
                "path": path,
                "status": status,
                "bytes": bytes,
                "operations": operations,
            }
        )
        self._totals["requests"] += 1
        self._totals["bytes"] += bytes
        self._totals["operations"] += operations

    def entries(self) -> list[dict[str, Any]]:
        """The kept requests, oldest first."""
        return list(self._entries)

    def totals(self) -> dict[str, int]:
        """How many requests, bytes and operations came."""
        return dict(self._totals)

    def clear(self) -> None:
        """Forget all requests."""
        self._entries.clear()
        self._totals = dict.fromkeys(self._totals, 0)
