"""The picture of docs/scale.md: what waits through the simulated day."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from benchmarks.plots import OTHERS, OURS
from benchmarks.scale.model import Assumed, Measured
from benchmarks.scale.simulation import Plant, simulate

PICTURE = Path(__file__).parent.parent.parent / "docs" / "images" / "scale-backlog.png"

PLANTS = (
    ("hourly, 4 workers, of which one dies at noon", Plant(), OURS, "-"),
    ("hourly, 1 worker", Plant(workers=1), OTHERS, "-"),
    ("hourly, 4 workers, the workspace takes 1,000 rows/s", Plant(rows_per_second=1_000), OTHERS, "--"),
)


def draw(measured: Measured, assumed: Assumed) -> None:
    """Write it."""
    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    for label, plant, colour, style in PLANTS:
        hours, rows = zip(
            *((when / 3_600, rows / 1e6) for when, rows in simulate(plant, measured, assumed).backlog), strict=True
        )
        axes.plot(hours, rows, label=label, color=colour, linestyle=style)
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 4))
    axes.set_xlabel("hours")
    axes.set_ylabel("changes that wait, million")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=144)
    pyplot.close(figure)
