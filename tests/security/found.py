"""Everything that runs wrote, as bytes."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def written(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file, and of every value of every SQLite table, unpacked where it is packed."""
    for folder in folders:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            yield str(path), path.read_bytes()
            if path.suffix == ".db":
                for table, value in _values(path):
                    yield f"{path} {table}", value


def _values(path: Path) -> Iterator[tuple[str, bytes]]:
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
    for table in tables:
        for row in connection.execute(f'select * from "{table}"'):
            yield from ((table, _unpacked(value)) for value in row if isinstance(value, (str, bytes)))
    connection.close()


def _unpacked(value: Any) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return zlib.decompress(data) if data[:1] == b"\x78" else data


def where(secret: str, *folders: Path) -> list[str]:
    """Where a text was written."""
    return [name for name, content in written(*folders) if secret.encode() in content]
