"""The code of the pages in docs runs, and what they point to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = ["warehouses.md"]
BLOCKS = [(page, block) for page in PAGES for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(BLOCKS)])
def test_its_python_runs(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(((?!https?://)[^)]+)\)", (DOCS / page).read_text())
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_warehouses_and_extras_are_those_of_the_code() -> None:
    from cio_dagster.warehouse.lake import LAKES
    from cio_dagster.warehouse.resource import _ENGINES

    text = (DOCS / "warehouses.md").read_text()
    cells = [re.split(r" *\| *", line)[1:4] for line in text.splitlines() if line.startswith("| ")]
    rows = [each for each in cells if each[0] != "Warehouse"]
    schemes = {scheme for _, urls, _ in rows for scheme in re.findall(r"`([a-z]+)(?:\+[a-z]+)?:", urls)}
    schemes |= {kind for _, urls, _ in rows for kind in re.findall(r"the same with `(\w+)`", urls)}
    assert schemes == {each.partition("+")[0] for each in {*_ENGINES, *LAKES}} - {"postgres"}
    extras = {extra for _, _, found in rows for extra in re.findall(r"`(\w+)`", found)}
    project = (DOCS.parent / "pyproject.toml").read_text()
    listed = project.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0]
    assert extras <= set(re.findall(r"^(\w+) = \[", listed, re.MULTILINE))
