"""A running query: on a thread of its own, so that a signal, or too long a wait, stops it where it runs, in the database.

A driver's call does not return to Python before the database answers, and a signal's handler runs in Python, on the main thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from cio_dagster.warehouse.errors import EngineError

STOP_SECONDS = 10.0
"""How long a stopped query is waited for. After that it is left behind on its thread."""

T = TypeVar("T")


class Running:
    """What stops a query. The query's thread says how it is cancelled, and asks between batches whether it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Callable[[], None] | None = None
        self._stopped = False

    @contextmanager
    def cancelled_by(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While the block runs, a stop calls `cancel`, from another thread and perhaps more than once."""
        with self._lock:
            self._cancel = cancel
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._cancel = None

    def check(self) -> None:
        """Raise EngineError where the query was stopped."""
        if self._stopped:
            raise EngineError("it was cancelled")

    def stop(self) -> None:
        """Cancel the query, and have it end at its next batch."""
        with self._lock:
            self._stopped = True
            if self._cancel is not None:
                self._cancel()


def run(work: Callable[[Running], T], seconds: float | None) -> T:
    """What `work` returns or raises. Raises EngineError after so many seconds; None is no limit.

    An exception that a signal raises meanwhile, such as KeyboardInterrupt, goes on when the query is cancelled.
    """
    running, future = Running(), Future[T]()

    def target() -> None:
        try:
            future.set_result(work(running))
        except BaseException as error:  # noqa: BLE001 It is raised where the result is waited for.
            future.set_exception(error)

    threading.Thread(target=target, name="cio-warehouse", daemon=True).start()
    try:
        done = bool(wait([future], seconds).done)
    except BaseException:
        _stop(running, future)
        raise
    if not done:
        _stop(running, future)
        raise EngineError(f"it took longer than {seconds:g} s (statement_timeout), and was cancelled")
    return future.result()


def _stop(running: Running, future: Future[T]) -> None:
    """Cancel until it ends: a cancel that comes before the query has begun is lost."""
    for _ in range(int(STOP_SECONDS * 10)):
        running.stop()
        if wait([future], 0.1).done:
            return
