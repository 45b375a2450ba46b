"""One writer for each asset partition.

In a folder that is a lock of the operating system, which goes with the process that holds it. In an object store it is a lease: an object
that only one can create, and that its holder writes anew every RENEWED seconds. One who finds it watches it: if it is renewed, its holder is
alive; if nobody renews it for LEASE seconds, the holder is dead, and whoever writes it next holds it. Stores let only one write over a version.
No clocks are compared. A holder that could not renew it for so long, as it was suspended or cut off, has lost it, and stops.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import filelock

from cio_dagster.errors import LockedError, StateError
from cio_dagster.places import Place, StorePath, replace

LEASE = 60.0
"""Seconds without renewal after which a lease is another's to take."""

RENEWED = 10.0
"""Seconds between renewals."""

MARGIN = 10.0
"""Seconds before a lease ends in which its holder does not rely on it any more."""

UNTIL = f"is free {LEASE:.0f} seconds after the end of its process"

NOTE = "lock.json"
"""Who holds the lock, since when. In an object store it is the lease."""

Held = Callable[[], None]
"""Raises StateError where the lock was lost meanwhile."""


@contextmanager
def lock(folder: Place, run_id: str, what: str) -> Iterator[Held]:
    """Be the only writer of a folder. Raises LockedError if another run holds the lock.

    what
        What is locked, in words.
    """
    content = {"run": run_id, "pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    if isinstance(folder, StorePath):
        with _Lease(folder / NOTE, content, what) as lease:
            yield lease.check
    else:
        with _locked(folder, content, what):
            yield lambda: None


@contextmanager
def _locked(folder: Path, content: dict[str, object], what: str) -> Iterator[None]:
    held, note = filelock.FileLock(folder / "lock", timeout=0), folder / NOTE
    try:
        held.acquire()
    except filelock.Timeout:
        holder = note.read_text() if note.exists() else "another process"
        raise _taken(what, holder, "goes with its process") from None
    try:
        replace(note, json.dumps(content))
        yield
    finally:
        note.unlink(missing_ok=True)
        held.release()


class _Lease:
    """A lease of an object, renewed by a thread of its own."""

    def __init__(self, place: StorePath, content: dict[str, object], what: str) -> None:
        self._place, self._what = place, what
        self._token = uuid.uuid4().hex
        self._content = content | {"token": self._token}
        self._version: dict[str, str] = {}
        self._renewed = 0.0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> _Lease:
        if not self._write("create"):
            self._take_over()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # A renewal that hangs is not waited for: then the lease ends by itself.
        self._thread.join(RENEWED)
        if not self._thread.is_alive() and not self._late():
            self._place.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise StateError where the lease was lost."""
        if self._lost or self._late():
            raise StateError(
                f"The lock of {self._what} could not be renewed for {LEASE - MARGIN:.0f} seconds{self._lost and f' ({self._lost})'}, so another run "
                "may write it by now: this one has stopped. What Customer.io accepted is in its plan's log; the next run commits it."
            )

    def _late(self) -> bool:
        return bool(self._lost) or time.monotonic() - self._renewed > LEASE - MARGIN

    def _write(self, mode: object) -> bool:
        """Write it, if it is as `mode` says; return whether that was so."""
        begun = time.monotonic()
        content = json.dumps(self._content | {"renewed": _now()}).encode()
        try:
            self._version = self._place.put(content, mode)
        except FileExistsError:
            # A write whose answer was lost is tried again, and then meets itself.
            found, version = self._read()
            if found.get("token") != self._token:
                return False
            self._version = version
        self._renewed = begun
        return True

    def _read(self) -> tuple[dict[str, object], dict[str, str]]:
        try:
            text, version = self._place.read_version()
            return json.loads(text), version
        except FileNotFoundError:
            return {}, {}

    def _take_over(self) -> None:
        version = self._read()[1]
        ends = time.monotonic() + LEASE
        while version and time.monotonic() < ends:
            time.sleep(min(RENEWED / 5, 1.0))
            seen, now = self._read()
            if now and now != version:
                raise _taken(self._what, json.dumps(seen), UNTIL)
            version = now
        if not self._write(version or "create"):
            raise _taken(self._what, json.dumps(self._read()[0]), UNTIL)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            try:
                if not self._write(self._version):
                    self._lost = "another run has taken it"
                    return
            except OSError as error:
                # Until it is too late, the store may come back.
                if self._late():
                    self._lost = str(error)
                    return


def _taken(what: str, holder: str, until: str) -> LockedError:
    return LockedError(
        f"{what} is being written by another run: {holder}. Wait for it, or terminate that run: the lock {until}.",
        holder=holder,
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
