"""The lists that the pages show: which rows, in which order, and what finds one. A page of a list is one query with a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from cio_dagster.sandbox.store import Store

ROWS = 50
"""Rows of a page."""


@dataclass(frozen=True)
class Page:
    """Some rows of a list: page ``number`` of ``last``, of ``total`` rows that the search found."""

    rows: Sequence[Any]
    number: int
    last: int
    total: int


@dataclass(frozen=True)
class Listing:
    """A list: its columns and tables in SQL, the texts that a search looks into, the ids that it takes whole, and the order.

    ``failed`` is the condition of the rows that tell of a failure, where there are such.
    """

    columns: str
    tables: str
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    order: str
    failed: str = ""

    def page(
        self,
        store: Store,
        number: int = 1,
        *,
        search: str = "",
        failed: bool = False,
        where: str = "",
        values: tuple[object, ...] = (),
        rows: int = ROWS,
    ) -> Page:
        """A page of the rows for which ``where`` holds and that the search finds; the last page, if there are fewer."""
        conditions = [where] if where else []
        if failed and self.failed:
            conditions.append(self.failed)
        if search:
            found = [f"instr(lower({text}), lower(?))" for text in self.texts] + [f"{id} = ?" for id in self.ids]
            conditions.append(f"({' OR '.join(found)})")
            values += (search,) * len(found)
        tables = f"{self.tables} WHERE {' AND '.join(conditions)}" if conditions else self.tables
        total = store.value(f"SELECT count(*) FROM {tables}", *values)
        last = max(ceil(total / rows), 1)
        number = min(number, last)
        sql = f"SELECT {self.columns} FROM {tables} ORDER BY {self.order} LIMIT ? OFFSET ?"
        return Page(store.rows(sql, *values, rows, (number - 1) * rows).fetchall(), number, last, total)


_PERSON = "people.id AS person_id, people.email AS person_email"

LISTINGS = {
    "people": Listing(
        columns="people.*",
        tables="people",
        texts=("people.id", "people.email", "people.phone", "people.anonymous_id"),
        ids=("people.cio_id",),
        order="people.seq",
    ),
    "devices": Listing(
        columns=f"devices.*, {_PERSON}",
        tables="devices LEFT JOIN people USING (cio_id)",
        texts=("devices.token", "people.id", "people.email"),
        ids=("devices.cio_id",),
        order="devices.seq",
    ),
    "events": Listing(
        columns=f"events.*, {_PERSON}",
        tables="events LEFT JOIN people USING (cio_id)",
        texts=("events.name", "events.anonymous_id", "people.id", "people.email"),
        ids=("events.id", "events.cio_id"),
        order="events.seq DESC",
    ),
    "segments": Listing(
        columns="segments.*, (SELECT count(*) FROM segment_members WHERE segment_id = segments.id) AS members",
        tables="segments",
        texts=("segments.name",),
        ids=("segments.id",),
        order="segments.id",
    ),
    "members": Listing(
        columns="people.*",
        tables="segment_members JOIN people USING (cio_id)",
        texts=("people.id", "people.email"),
        ids=("people.cio_id",),
        order="people.seq",
    ),
    "objects": Listing(
        columns="objects.*, (SELECT count(*) FROM relationships"
        " WHERE relationships.cio_object_id = objects.cio_object_id) AS related",
        tables="objects",
        texts=("objects.object_id",),
        ids=("objects.cio_object_id",),
        order="objects.seq",
    ),
    "relationships": Listing(
        columns=f"relationships.*, objects.object_type_id, objects.object_id, {_PERSON}",
        tables="relationships JOIN objects USING (cio_object_id) LEFT JOIN people ON people.cio_id = relationships.cio_id",
        texts=("objects.object_id", "relationships.anonymous_id", "people.id", "people.email"),
        ids=("relationships.cio_id", "relationships.cio_object_id"),
        order="relationships.seq",
    ),
    "collections": Listing(
        columns="id, name, key_field, created_at, updated_at, json_array_length(data) AS rows",
        tables="collections",
        texts=("name",),
        ids=("id",),
        order="id",
    ),
    "activities": Listing(
        columns="*",
        tables="activities",
        texts=("type", "name", "person_id", "person_email"),
        ids=("cio_id",),
        order="seq DESC",
        failed="(type LIKE '%failed%' OR type = 'skipped_update')",
    ),
}
