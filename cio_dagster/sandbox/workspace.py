"""The workspace that operations change: its store, its settings, its clock and its activity log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from cio_dagster.sandbox.identity import new_ulid
from cio_dagster.sandbox.settings import Settings, object_types
from cio_dagster.sandbox.store import Store, dump


class Who(NamedTuple):
    """Whom an activity is about."""

    cio_id: str | None
    id: str | None
    email: str | None


NOBODY = Who(None, None, None)


class Workspace:
    """One Customer.io workspace."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self._activities: list[tuple[object, ...]] = []

    def now(self) -> float:
        """Seconds since the epoch on the sandbox's clock."""
        return time.time() + self.settings.clock_offset

    def object_types(self) -> dict[str, str]:
        """The object types by id."""
        return object_types(self.settings.object_types)

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction; its activities are written at its end."""
        self._activities.clear()
        with self.store.transaction():
            yield
            self.store.run_many(
                "INSERT INTO activities (id, type, name, cio_id, person_id, person_email, timestamp, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                self._activities,
            )

    def log(
        self,
        type: str,
        data: Mapping[str, Any],
        who: Who = NOBODY,
        *,
        name: str | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Add an activity, which the open change writes."""
        now = self.now()
        when = int(now) if timestamp is None else timestamp
        self._activities.append((new_ulid(int(now * 1000)), type, name, *who, when, dump(data)))
