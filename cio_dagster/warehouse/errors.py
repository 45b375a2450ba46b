"""What goes wrong in a warehouse, before and after its text is cleared of credentials."""

from __future__ import annotations

from cio_dagster.errors import SyncError


class WarehouseError(SyncError):
    """The warehouse refused a query, gave what no dtype can hold, took too long, or cannot be reached. Never holds a credential.

    `source` says what was being run: the SQL file's path, `the query` for SQL text, or a table's name.
    """

    def __init__(self, message: str, *, source: str = "the query") -> None:
        super().__init__(f"{source}: {message}")
        self.source = source


class EngineError(Exception):
    """What an engine refused, in words that may hold credentials: it does not leave the package."""
