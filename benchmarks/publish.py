"""Figures into the repository: `results.json` and `results.md` here, the pictures in `docs/images`, the README's section, and docs/scale.md."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.cases.figures import FULL
from benchmarks.plots import plot
from benchmarks.readme import HEADING, IMAGES, LIMITS, PEERS, section
from benchmarks.results import Results, write
from benchmarks.scale.write import write as write_scale

ROOT = Path(__file__).parent.parent


def publish(results: Results) -> None:
    """Write all of them. Raises ValueError for results of fewer rows or of some cases, and where the README has no such section."""
    if results.rows_of_people != FULL or any(results.row(name) is None for name in (*PEERS, *LIMITS)):
        raise ValueError(f"figures are published of all cases, with {FULL:,} people")
    write(results, ROOT / "benchmarks")
    plot(results, ROOT / IMAGES)
    readme = ROOT / "README.md"
    before, heading, after = readme.read_text().partition(HEADING)
    if not heading:
        raise ValueError(f"{readme} has no section {HEADING.strip()!r}")
    _, following = re.split(r"(?m)^(?=## )", after, maxsplit=1)
    readme.write_text(before + heading + "\n" + section(results) + "\n" + following)
    write_scale(results)
