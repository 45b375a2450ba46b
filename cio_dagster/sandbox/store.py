"""What the workspace holds, in SQLite: one transaction a request, committed before the answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMAT = 1
"""The version of the tables below; a state file of another version is refused."""

_SCHEMA = """
CREATE TABLE people (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, cio_id TEXT NOT NULL UNIQUE,
    id TEXT UNIQUE, email TEXT, email_key TEXT UNIQUE, phone TEXT UNIQUE, anonymous_id TEXT UNIQUE,
    attributes TEXT NOT NULL, set_at TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE suppressed (kind TEXT, key TEXT, together TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE devices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL, cio_id TEXT NOT NULL, platform TEXT NOT NULL,
    last_used INTEGER NOT NULL, attributes TEXT NOT NULL, UNIQUE (token, cio_id));
CREATE INDEX devices_cio_id ON devices (cio_id);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, type TEXT NOT NULL, name TEXT NOT NULL, cio_id TEXT,
    anonymous_id TEXT, held_kind TEXT, held_key TEXT, timestamp INTEGER NOT NULL, received_at INTEGER NOT NULL,
    attributes TEXT NOT NULL);
CREATE INDEX events_cio_id ON events (cio_id);
CREATE INDEX events_anonymous_id ON events (anonymous_id) WHERE anonymous_id IS NOT NULL;
CREATE INDEX events_held ON events (held_kind, held_key) WHERE held_kind IS NOT NULL;
CREATE TABLE event_ids (scope TEXT, id TEXT, received_at REAL NOT NULL, PRIMARY KEY (scope, id)) WITHOUT ROWID;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, description TEXT NOT NULL, type TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE segment_members (segment_id INTEGER, cio_id TEXT, PRIMARY KEY (segment_id, cio_id)) WITHOUT ROWID;
CREATE INDEX segment_members_cio_id ON segment_members (cio_id);
CREATE TABLE objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, cio_object_id TEXT NOT NULL UNIQUE, object_type_id TEXT NOT NULL,
    object_id TEXT NOT NULL, attributes TEXT NOT NULL, set_at TEXT NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, UNIQUE (object_type_id, object_id));
CREATE TABLE relationships (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, cio_id TEXT, anonymous_id TEXT, cio_object_id TEXT NOT NULL,
    attributes TEXT NOT NULL, created_at INTEGER NOT NULL,
    UNIQUE (cio_object_id, cio_id), UNIQUE (cio_object_id, anonymous_id));
CREATE INDEX relationships_cio_id ON relationships (cio_id);
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, data TEXT NOT NULL, key_field TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE collection_writes (
    id TEXT PRIMARY KEY, collection_id INTEGER NOT NULL, body TEXT NOT NULL, due REAL NOT NULL,
    result TEXT, finished_at REAL);
CREATE TABLE activities (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, type TEXT NOT NULL, name TEXT, cio_id TEXT,
    person_id TEXT, person_email TEXT, timestamp INTEGER NOT NULL, data TEXT NOT NULL);
CREATE INDEX activities_cio_id ON activities (cio_id);
CREATE INDEX activities_type ON activities (type);
CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id TEXT NOT NULL, metric TEXT NOT NULL, timestamp INTEGER NOT NULL,
    data TEXT NOT NULL);
CREATE TABLE exports (
    id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, filters TEXT NOT NULL, description TEXT NOT NULL,
    content TEXT NOT NULL, total INTEGER NOT NULL, downloads INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL);
CREATE TABLE export_links (token TEXT PRIMARY KEY, export_id INTEGER NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE imports (id INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE accepted (seq INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, operation TEXT NOT NULL);
CREATE INDEX accepted_due ON accepted (due, seq);
"""

TABLES = tuple(line.split()[2] for line in _SCHEMA.splitlines() if line.startswith("CREATE TABLE"))


class Store:
    """The database of one sandbox, in memory or in a file that one process at a time holds."""

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            # People's data: for its owner's eyes only. SQLite gives its side files the same mode.
            path.touch(mode=0o600)
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None, cached_statements=256, timeout=1)
        self._connection.row_factory = sqlite3.Row
        # A file belongs to one sandbox at a time; the lock ends with the process.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Synchronous NORMAL with a write-ahead log survives the death of the process, which is what is promised.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA cache_size = -200000")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise ValueError(f"{path} has format {version} and this sandbox reads format {FORMAT}")
        if version == 0:
            with self.transaction():
                for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: commits at the end, rolls back when the block raises."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def run(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        """Execute one statement."""
        return self._connection.execute(sql, parameters)

    def run_many(self, sql: str, parameters: Iterable[tuple[object, ...]]) -> None:
        """Execute one statement for each tuple of parameters."""
        self._connection.executemany(sql, parameters)

    def row(self, sql: str, *parameters: object) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def rows(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        """The rows of a query."""
        return self._connection.execute(sql, parameters)

    def value(self, sql: str, *parameters: object) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, *parameters)
        return row[0] if row else None

    def empty(self) -> None:
        """Forget everything; ids given before are not given again."""
        with self.transaction():
            for table in TABLES:
                self._connection.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


_COMPACT = json.JSONEncoder(separators=(",", ":"))


def dump(value: object) -> str:
    """A value as the JSON that the tables hold."""
    return _COMPACT.encode(value)
