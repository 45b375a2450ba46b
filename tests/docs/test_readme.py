"""The README's code runs, and what it points to exists."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from benchmarks.readme import HEADING, section
from benchmarks.results import Results
from cio_dagster.state import OUTCOMES_SCHEMA
from tests.docs.pages import PAGES, lost_links
from tests.docs.pages import name as name_of

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_its_python_runs(block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = tmp_path / "customerio" / "people" / "whole" / "outcomes"
    pl.LazyFrame(schema=OUTCOMES_SCHEMA).sink_delta(str(state))
    exec(compile(block.replace("/var/lib/cio_dagster", str(tmp_path)), "README.md", "exec"), {"__name__": "readme"})


def test_its_links_lead_somewhere() -> None:
    assert lost_links(ROOT / "README.md") == []


def test_it_leads_to_every_page() -> None:
    assert [name_of(page) for page in PAGES if f"(docs/{name_of(page)}" not in README and page.name != "index.md"] == []


def test_its_options_and_variables_are_those_of_the_code() -> None:
    from cio_dagster import SyncConfig

    for text in (README, (ROOT / "docs" / "running.md").read_text()):
        options = re.findall(r"^\| `(\w+)` \| (?:plan|send|lift)", text, re.MULTILINE)
        assert options == list(SyncConfig.model_fields)
    definitions = (ROOT / "definitions.py").read_text()
    variables = set(re.findall(r"`(CIO_\w+)`", README))
    assert variables == set(re.findall(r'"(CIO_\w+)"', definitions))


def test_the_table_of_objects_is_that_of_the_specs() -> None:
    import typing

    import cio_dagster

    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| ", README.split("## What becomes what")[1], re.MULTILINE)[:7]
    for name, keys, behaviors in rows:
        fields = getattr(cio_dagster, name).model_fields
        for behavior in typing.get_args(fields["behavior"].annotation):
            assert f"`{behavior}`" in behaviors, (name, behavior)
        if "key" in fields:
            assert set(typing.get_args(fields["key"].annotation)) <= set(re.findall(r"`(\w+)`", keys)), name


def test_its_figures_are_those_of_the_last_published_benchmarks() -> None:
    results = ROOT / "benchmarks" / "results.json"
    if not results.exists():
        pytest.skip("no benchmarks were published yet")
    shown = README.split(HEADING)[1].split("\n## ")[0]
    assert shown.strip() == section(Results.read(results)).strip()
