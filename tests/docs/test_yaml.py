"""The YAML of README and docs loads, and the page on it names every attribute."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest

from cio_dagster import CustomerIOSync

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "yaml.md").read_text()
PROJECT = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "yaml_in_docs"\n'


def test_all_yaml_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```yaml\n# (defs/[\w/]+\.yaml)\n(.*?)```", (ROOT / "README.md").read_text() + PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```yaml") + 1
    for name, block in blocks:
        path = tmp_path / "yaml_in_docs" / name
        path.parent.mkdir(parents=True)
        path.write_text(block)
        for sql in re.findall(r"\w+\.sql", block):
            (path.parent / sql).write_text("select 1")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ACCOUNTS_TYPE", "3")
    defs = dg.load_from_defs_folder(path_within_project=tmp_path)
    made = {key.to_user_string() for key in defs.resolve_asset_graph().executable_asset_keys}
    assert made == {"people", "orders", "accounts", "customerio/segment/vip"}
    assert set(defs.resources or {}) == {"customerio", "warehouse"}
    assert {schedule.name for schedule in defs.schedules or []} == {"people_schedule", "orders_schedule"}


def test_its_python_runs() -> None:
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "yaml.md", "exec"), {"__name__": __name__, "__builtins__": __builtins__})


def test_its_table_has_every_attribute_and_its_links_lead_somewhere() -> None:
    table = PAGE.split("| Attribute | |")[1].split("\n\n")[0]
    named = [name for names in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", names)]
    assert named == list(CustomerIOSync.model().model_fields)
    assert [link for link in re.findall(r"\]\(((?!https?://)[^)]+)\)", PAGE) if not (ROOT / "docs" / link).exists()] == []
