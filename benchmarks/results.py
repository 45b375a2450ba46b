"""What was measured, and how it is shown: on the terminal, as JSON, as Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.machine import Machine

ROOMS = ("read", "recover", "plan", "deliver", "commit")
"""What a report's seconds are of, and the reading of the warehouse before."""


@dataclass(frozen=True)
class Row:
    """One figure.

    name
        What other programs know it by.
    values
        What each run found, in `unit`: `s`, `MB` (1,000,000 bytes), `bytes/row`, `rows/s`, `requests`, ..., or `x` for a ratio of two figures of one run.
    rows
        How many rows the seconds were for, where a rate makes sense.
    target, at_least
        What the median is to be at most, or at least; None where nothing is asked, or not of so few rows.
    """

    name: str
    what: str
    unit: str
    values: Sequence[float]
    rows: int | None = None
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the runs."""
        return statistics.median(self.values)

    @property
    def rate(self) -> float | None:
        """Rows a second."""
        if self.unit == "rows/s":
            return self.median
        return self.rows / self.median if self.rows and self.unit == "s" else None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the target."""
        if self.target is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target

    def to_json(self) -> dict[str, Any]:
        """The row with what follows from it."""
        spread = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return asdict(self) | spread | {"rows_per_second": self.rate, "met": self.met}


@dataclass
class Results:
    """All figures of one run of the benchmarks, and where they were found."""

    machine: Machine
    rows_of_people: int
    rows: list[Row] = field(default_factory=list)
    points: list[dict[str, float]] = field(default_factory=list)
    """The growth: `rows`, `first_s`, `first_mb`, `unchanged_s`, `unchanged_mb`."""
    rooms: dict[str, dict[str, float]] = field(default_factory=dict)
    """The median seconds of each room of the syncs."""
    minutes: float = 0

    def row(self, name: str) -> Row | None:
        """The figure of this name, if it was measured."""
        return next((row for row in self.rows if row.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """All of it, as `results.json` has it."""
        return asdict(self) | {"rows": [row.to_json() for row in self.rows]}

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `to_json` gave."""
        found = json.loads(path.read_text())
        rows = [Row(**{name: row[name] for name in Row.__dataclass_fields__}) for row in found["rows"]]
        return cls(**found | {"machine": Machine(**found["machine"]), "rows": rows})


def write(results: Results, folder: Path) -> None:
    """Write `results.json` and `results.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")
    (folder / "results.md").write_text(markdown(results))


def table(results: Results) -> Table:
    """All figures, for the terminal."""
    shown = Table(
        title=f"{results.rows_of_people:,} people of 8 columns", caption=results.machine.in_words(), caption_justify="left"
    )
    for name in ("", "median", "least to most", "runs", "rows/s", "target", ""):
        shown.add_column(name, justify="left" if not name else "right", overflow="fold")
    for row in results.rows:
        shown.add_row(*_cells(row), style="red" if row.met is False else None)
    return shown


def rooms_table(results: Results) -> Table:
    """Where the seconds of each sync went, for the terminal."""
    shown = Table("seconds by room, medians", *ROOMS)
    for cells in _rooms(results):
        shown.add_row(*cells)
    return shown


def markdown(results: Results) -> str:
    """All figures, as `results.md` has them."""
    lines = ["| | median | least to most | runs | rows/s | target | met |", "|---|--:|--:|--:|--:|--:|---|"]
    lines += [_line(_cells(row)) for row in results.rows]
    notes = [f"- {row.what}: {row.note}" for row in results.rows if row.note]
    rooms = [_line(["seconds by room, medians", *ROOMS]), "|---|" + "--:|" * len(ROOMS)]
    rooms += [_line(cells) for cells in _rooms(results)]
    blocks = [
        f"# {results.rows_of_people:,} people of 8 columns\n\n{results.machine.in_words()} It took {results.minutes:.0f} minutes.",
        "\n".join(lines),
        "\n".join(notes),
        "\n".join(rooms),
    ]
    return "\n\n".join(blocks) + "\n"


def _cells(row: Row) -> list[str]:
    met = {None: "", True: "yes", False: "no"}[row.met]
    target = "" if row.target is None else f"{'at least' if row.at_least else 'at most'} {number(row.target)} {row.unit}"
    rate = "" if row.rate is None else f"{row.rate:,.0f}"
    spread = f"{number(min(row.values))} to {number(max(row.values))}" if len(row.values) > 1 else ""
    return [row.what, f"{number(row.median)} {row.unit}", spread, str(len(row.values)), rate, target, met]


def _rooms(results: Results) -> list[list[str]]:
    return [[name, *(f"{seconds[room]:.2f}" for room in ROOMS)] for name, seconds in results.rooms.items()]


def number(value: float) -> str:
    """A figure, with as many digits as matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
