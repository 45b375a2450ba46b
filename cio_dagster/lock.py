"""One writer for each asset partition.

In a folder that is a lock of the operating system, which goes with the process that holds it. In an object store it is a lease: an object
that only one can create, and that its holder writes anew every RENEWED seconds. One who finds it watches it: if it is renewed, its holder is
alive; if nobody renews it for LEASE seconds, the holder is dead, and whoever writes it next holds it. Stores let only one write over a version.
No clocks are compared. A holder that could not renew it for so long, as it was suspended or cut off, has lost it, and stops.

Runs of one machine share its temporary files, so they have the lock of a folder there as well.
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

from cio_dagster.errors import LockedError, StateUnavailable
from cio_dagster.places import Place, StoreError, StorePath, read, replace

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
"""Raises StateUnavailable where the lock was lost meanwhile."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps."""


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
        holder = (read(note) or b"another process").decode()
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
        self._content = content | {"token": uuid.uuid4().hex}
        self._version: dict[str, str] = {}
        self._renewals, self._next = 0, b""
        self._begun = self._renewed = 0.0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> _Lease:
        if not self._write("create"):
            self._take_over()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        # A renewal that hangs is not waited for, and what may be another's by then is not removed: then the lease ends by itself.
        self._thread.join(RENEWED)
        if not self._thread.is_alive() and not self._lost and self._age() < LEASE / 2:
            try:
                self._place.unlink(missing_ok=True)
            except StoreError:
                if kind is None:  # Else what ended the run is to be told.
                    raise

    def check(self) -> None:
        """Raise StateUnavailable where the lease was lost."""
        if self._lost or self._late():
            why = self._lost or f"it could not be renewed for {LEASE - MARGIN:.0f} seconds"
            raise StateUnavailable(
                f"The lock of {self._what} is lost: {why}. Another run may write by now, so this one has stopped. Run it again: that commits "
                "what Customer.io accepted, and sends the rest."
            )

    def _age(self) -> float:
        return time.clock_gettime(_CLOCK) - self._renewed

    def _late(self) -> bool:
        return self._age() > LEASE - MARGIN

    def _write(self, mode: object) -> bool:
        """Write it, if it is as `mode` says; return whether that was so."""
        if not self._next:
            self._renewals += 1  # It makes each version another one, whatever the clock says.
            self._next = json.dumps(self._content | {"renewed": _now(), "renewals": self._renewals}).encode()
            self._begun = time.clock_gettime(_CLOCK)
        # What failed before may be there since then: it is written again as it was.
        written = self._place.put_if(self._next, mode)
        self._next = b""
        if written is None:
            return False
        self._version, self._renewed = written, self._begun
        return True

    def _take_over(self) -> None:
        found = self._place.read_version()
        ends = time.monotonic() + LEASE
        while found and time.monotonic() < ends:
            time.sleep(min(RENEWED / 5, 1.0))
            seen = self._place.read_version()
            if seen and seen[1] != found[1]:
                raise self._taken(seen)
            found = seen
        if not self._write(found[1] if found else "create"):
            raise self._taken(self._place.read_version())

    def _taken(self, found: tuple[bytes, object] | None) -> LockedError:
        return _taken(self._what, found[0].decode(errors="replace") if found else "another process", UNTIL)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            try:
                if not self._write(self._version):
                    self._lost = "another run has taken it"
                    return
            except StoreError as error:
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
