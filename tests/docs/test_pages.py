"""The code of the pages in docs runs, and what they point to exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config

import cio_dagster
from cio_dagster import CustomerIO, CustomerIOIOManager
from cio_dagster.prepare import json_text
from cio_dagster.state import OUTCOMES_SCHEMA
from tests.docs.commands import check
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, fields, lost_links, name, prose, section, settings

BY_PAGE = {name(page): blocks(page) for page in PAGES}
LANGUAGES = {"python", "yaml", "json", "bash", "console", "sql", "toml", "mermaid", "text", ""}
ELSEWHERE = {"deployment.md", "tutorial.md", "testing.md", "yaml.md"}
"""Pages of which the Python depends on what was written before: tests of their own run it."""
PYTHON = {
    f"{page}-{number}": block.text
    for page, found in BY_PAGE.items()
    if page not in ELSEWHERE
    for number, block in enumerate(found)
    if block.language == "python"
}

MODEL = {
    "resource_type": "model",
    "name": "customers",
    "alias": "customers",
    "unique_id": "model.shop.customers",
    "package_name": "shop",
    "fqn": ["shop", "customers"],
    "config": {"schema": "marts", "meta": {}, "enabled": True},
    "depends_on": {"nodes": []},
    "original_file_path": "models/customers.sql",
    "database": "shop",
    "schema": "marts",
}
MANIFEST = {
    "metadata": {"project_name": "shop", "adapter_type": "duckdb"},
    "nodes": {"model.shop.customers": MODEL},
    **{each: {} for each in ("sources", "child_map", "parent_map", "exposures", "metrics", "semantic_models")},
    **{each: {} for each in ("saved_queries", "unit_tests", "macros", "groups", "selectors", "disabled", "docs", "group_map")},
}
"""What dbt writes about a project with the one model `marts.customers`, as far as dagster-dbt reads it."""


@pytest.mark.parametrize("block", PYTHON.values(), ids=PYTHON)
def test_the_python_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "dagster_dbt" in block:
        pytest.importorskip("dagster_dbt")  # No part of what the tests install; the other blocks of the page run without.
        monkeypatch.chdir(tmp_path)
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "manifest.json").write_text(json.dumps(MANIFEST))
    if "outcomes(" in block:
        pl.LazyFrame(schema=OUTCOMES_SCHEMA).sink_delta(str(tmp_path / "customerio" / "people" / "whole" / "outcomes"))
    exec(compile(block.replace("/var/lib/cio_dagster", str(tmp_path)), "page", "exec", dont_inherit=True), {"__name__": "page"})


@pytest.mark.parametrize("page", BY_PAGE)
def test_the_rest_of_the_code_is_what_it_says(page: str) -> None:
    for block in BY_PAGE[page]:
        assert block.language in LANGUAGES
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.text))
        elif block.language == "bash" and not block.title:
            for line in block.text.replace("\\\n", " ").splitlines():
                for command in re.split(r" && | \| ", line):
                    if command.strip():
                        check(command)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_commands_in_the_text_exist(page: Path) -> None:
    for command in re.findall(r"`((?:cio|cio-state|dagster|dg|make) [^`]+)`", prose(page)):
        check(re.sub(r"[\[\]]|\.\.\.$", "", command))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_lead_somewhere(page: Path) -> None:
    assert lost_links(page) == []


def test_every_setting_of_a_workspace_is_described() -> None:
    found = section((DOCS / "workspace.md").read_text(), "## Settings")
    assert settings(found) == fields(CustomerIO) | fields(CustomerIOIOManager)


def test_the_table_of_values_is_that_of_the_code() -> None:
    rows = re.findall(r"^\|.*\|$", json_text.__doc__ or "", re.MULTILINE)
    assert "\n".join(rows) in (DOCS / "values.md").read_text()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(config)
    reference = (tmp_path / "reference" / "index.html").read_text()
    assert [name for name in cio_dagster.__all__ if f'id="cio_dagster.{name}"' not in reference] == []


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
