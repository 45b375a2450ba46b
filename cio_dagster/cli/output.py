"""What commands print and write: tables, moments, sizes, JSON, files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import polars as pl
from deltalake.exceptions import DeltaError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cio_dagster import places
from cio_dagster.errors import SyncError
from cio_dagster.places import Place

WIDTH = 200
"""Columns of the output where it goes to no terminal."""

WRITERS: dict[str, Callable[[pl.LazyFrame, Any], object]] = {
    ".parquet": pl.LazyFrame.sink_parquet,
    ".csv": pl.LazyFrame.sink_csv,
    ".ndjson": pl.LazyFrame.sink_ndjson,
}
"""What a file is written as, by its ending."""


class Group(click.Group):
    """Says expected errors in words."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected error ends it with status 1."""
        try:
            return super().invoke(ctx)
        except (SyncError, DeltaError, OSError, pl.exceptions.PolarsError) as error:
            raise click.ClickException(str(error) if isinstance(error, SyncError) else places.reason(error)) from None


def console() -> Console:
    """Where results go: standard output, without control codes where that is no terminal."""
    found = Console()
    if not found.is_terminal:
        found.width = WIDTH
    return found


def cell(value: object) -> Text:
    """A value in a table: no markup, and no control characters for the terminal."""
    text = "" if value is None else str(value)
    return Text(text if text.isprintable() else json.dumps(text, ensure_ascii=False))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> Table:
    """A table of values. Numbers have thousands separated, and stand to the right."""
    lines = [list(row) for row in rows]
    found = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        numeric = bool(lines) and all(type(line[place]) in (int, float, type(None)) for line in lines)
        found.add_column(name, justify="right" if numeric else "left")
    for row in lines:
        found.add_row(*(cell(f"{value:,}" if type(value) in (int, float) else value) for value in row))
    return found


def frame_table(frame: pl.DataFrame) -> Table:
    """A frame as a table; values as they are."""
    return table(frame.columns, ([None if value is None else str(value) for value in row] for row in frame.iter_rows()))


def print_json(content: object) -> None:
    """Print JSON for other programs."""
    click.echo(json.dumps(content, indent=1, default=str, ensure_ascii=False))


def check_file(file: Path) -> None:
    """Raise UsageError for a file whose ending says no format."""
    if file.suffix not in WRITERS:
        raise click.UsageError(f"FILE ends in one of {', '.join(WRITERS)}, not {file.name!r}")


def write(frame: pl.LazyFrame, file: Path, *, yes: bool) -> None:
    """Write a frame to a file of its owner's alone, in bounded memory; ask before one is written over. CSV takes no nested values."""
    check_file(file)
    if file.exists():
        ask(f"{file} exists. Write over it?", yes)
    # Not readable by others for a moment either.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
        WRITERS[file.suffix](frame, target)


def ask(question: str, yes: bool) -> None:
    """Ask, and end with status 1 where the answer is no."""
    if not yes:
        click.confirm(question, abort=True)


def interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def moment(milliseconds: int | None) -> str | None:
    """A time (Unix, in ms) in UTC."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(sep=" ", timespec="seconds")


def size(folder: Place) -> str:
    """How much is in a folder."""
    found = float(sum(places.sizes(folder).values()))
    for unit in ("B", "kB", "MB"):
        if found < 1000:
            return f"{found:.3g} {unit}"
        found /= 1000
    return f"{found:.3g} GB"
