"""The figures as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.readme import GROWTH_IMAGE, PEERS, PEERS_IMAGE
from benchmarks.results import Results

OURS, OTHERS = "#2f6f4f", "#9aa5b1"


def plot(results: Results, folder: Path) -> list[Path]:
    """Draw what was measured; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if results.row("limited") and results.row("fivetran"):
        _peers(results, folder / PEERS_IMAGE)
        drawn.append(folder / PEERS_IMAGE)
    if results.points:
        _growth(results, folder / GROWTH_IMAGE)
        drawn.append(folder / GROWTH_IMAGE)
    return drawn


def _peers(results: Results, path: Path) -> None:
    bars = [(what, row.rate, OTHERS) for name, what in PEERS.items() if (row := results.row(name)) and row.rate]
    if (ours := results.row("limited")) and ours.rate:
        bars.append(("cio_dagster, a whole first sync", ours.rate, OURS))
    names, rates, colours = zip(*bars, strict=True)
    figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
    drawn = axes.barh(names, rates, color=colours)
    axes.bar_label(drawn, [f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(right=max(rates) * 4)
    axes.set_xlabel("people a second (logarithmic), answers after 50 ms")
    _plain(axes)
    figure.savefig(path, dpi=144)
    pyplot.close(figure)


def _growth(results: Results, path: Path) -> None:
    figure, sides = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    rows = [point["rows"] for point in results.points]
    for axes, unit, label in ((sides[0], "s", "seconds"), (sides[1], "mb", "peak memory, MB")):
        for sync, colour in (("first", OURS), ("unchanged", OTHERS)):
            slope = results.row(f"growth-{sync}-{unit}")
            name = f"{sync}, slope {slope.median:.2f}" if slope else sync
            axes.plot(rows, [point[f"{sync}_{unit}"] for point in results.points], marker="o", color=colour, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("people")
        axes.set_ylabel(label)
        axes.legend(frameon=False)
        _plain(axes)
    figure.savefig(path, dpi=144)
    pyplot.close(figure)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
