"""Figures into the repository: `results.json` and `results.md` here, the pictures in `docs/images`, and the README's section."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.cases.figures import FULL
from benchmarks.plots import GROWTH, PEERS, plot
from benchmarks.results import LIMITS, SUMMARY, Results, summary, write

ROOT = Path(__file__).parent.parent
IMAGES = "docs/images"
HEADING = "## Figures\n"


def publish(results: Results) -> None:
    """Write all of them. Raises ValueError for results of fewer rows or of some cases, and where the README has no such section."""
    if results.rows_of_people != FULL or any(results.row(name) is None for name in (*SUMMARY, *LIMITS)):
        raise ValueError(f"figures are published of all cases, with {FULL:,} people")
    write(results, ROOT / "benchmarks")
    plot(results, ROOT / IMAGES)
    readme = ROOT / "README.md"
    before, heading, after = readme.read_text().partition(HEADING)
    if not heading:
        raise ValueError(f"{readme} has no section {HEADING.strip()!r}")
    _, following = re.split(r"(?m)^(?=## )", after, maxsplit=1)
    readme.write_text(before + heading + "\n" + section(results) + "\n" + following)


def section(results: Results) -> str:
    """The README's section on figures, without its heading."""
    cores, rows = results.machine.cores, results.rows_of_people
    return f"""\
`make bench` reads {rows:,} people of 8 columns from DuckDB and sends them to a sink on the same machine ({cores} cores), beside peers that send the same
rows to the same sink, each with its best settings. Ours also checks them, compares, writes a plan, logs answers and commits the snapshot; the
peers do not. Figures are ratios of medians of one run; [all of them](benchmarks/results.md) are there with machine, versions and targets.

{summary(results)}

![People a second, beside peers]({IMAGES}/{PEERS})

![Time and memory by the number of rows]({IMAGES}/{GROWTH})
"""
