"""The page on scale is what its model makes of the published figures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.results import Results
from benchmarks.scale.model import BILLION, CHANGES, Assumed, Measured, words
from benchmarks.scale.page import PAGE, Simulated, page
from benchmarks.scale.simulation import Plant, most_changes, simulate
from tests.docs.pages import ROOT

RESULTS = Results.read(ROOT / "benchmarks" / "results.json")
MEASURED, ASSUMED = Measured.of(RESULTS), Assumed()
SMALL = Plant(people=1e7, changes=1e6, partitions=20, waves=4, workers=2)


def test_it_agrees_with_the_model() -> None:
    text = PAGE.read_text()
    tables = re.findall(r"(?:^\|.*\n?)+", text.split("## A day, simulated")[1].split("\n## ")[0], re.MULTILINE)
    assert text == page(RESULTS, Simulated(*(table.strip() for table in tables))), "python -m benchmarks.scale writes it anew"


def test_it_agrees_with_the_simulation() -> None:
    found = simulate(Plant(), MEASURED, ASSUMED)
    row = f"| hourly, 4 workers | yes | {words(found.latency(0.5))} | {words(found.latency(0.99))} |"
    assert row in PAGE.read_text()


@pytest.mark.parametrize("workers", [1, 2], ids=["nobody dies", "a worker dies"])
def test_no_change_is_lost_in_a_simulation(workers: int) -> None:
    found = simulate(replace(SMALL, workers=workers), MEASURED, ASSUMED)
    assert found.keeps_up
    arrived = sum(rows for _, _, rows in found.latencies)
    assert SMALL.changes <= arrived < 1.1 * SMALL.changes
    assert all(least <= most for least, most, _ in found.latencies)


def test_a_workspace_that_takes_fewer_rows_than_change_is_what_breaks() -> None:
    slow = replace(SMALL, rows_per_second=SMALL.changes / 86_400 / 2)
    assert not simulate(slow, MEASURED, ASSUMED).keeps_up
    assert most_changes(slow, MEASURED, ASSUMED) < SMALL.changes / 2
    assert BILLION * 0.1 == CHANGES
