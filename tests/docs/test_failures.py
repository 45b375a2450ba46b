"""The failure guide: it names every error, every guard and every reason why a row is rejected."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from typing import get_args

import cio_dagster
from cio_dagster import SyncError, guards
from cio_dagster.specs import IdentityProblem
from tests.docs.pages import DOCS, ROOT, section

PAGE = (DOCS / "failures.md").read_text()


def subclasses(of: type) -> set[type]:
    return {of}.union(*(subclasses(each) for each in of.__subclasses__()))


def test_every_public_error_is_explained() -> None:
    for module in pkgutil.walk_packages(cio_dagster.__path__, "cio_dagster."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    public = {each.__name__ for each in subclasses(SyncError) if each.__module__.startswith("cio_dagster")}
    assert set(re.findall(r"^### (\w+)$", section(PAGE, "## Errors"), re.MULTILINE)) == public
    assert public <= set(cio_dagster.__all__)


def test_every_guard_is_explained() -> None:
    made = {call.args[0].value for call in calls(Path(guards.__file__), "_stop") if isinstance(call.args[0], ast.Constant)}
    assert len(made) == 5 or "max_changed" in made
    assert set(re.findall(r"^\| `(\w+)` \|", section(PAGE, "## Guards"), re.MULTILINE)) == made


def test_every_reject_reason_is_explained() -> None:
    reasons = set(get_args(IdentityProblem))
    for path in (ROOT / "cio_dagster").glob("prepare/*.py"):
        reasons |= {call.args[0].value for call in calls(path, "reject") if isinstance(call.args[0], ast.Constant)}
        reasons |= set(re.findall(r'"(duplicate_key\w*)"', path.read_text()))
    reasons |= set(re.findall(r'reason=pl\.lit\("(\w+)"\)', (ROOT / "cio_dagster" / "plan.py").read_text()))
    json_text = (ROOT / "cio_dagster" / "prepare" / "json_text.py").read_text()
    reasons |= set(re.findall(r"`(\w+)` \(", json_text.split("Problems:")[1].split('"""')[0]))
    table = section(PAGE, "## Rejected rows")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == reasons


def calls(path: Path, name: str) -> list[ast.Call]:
    """The calls of a function in a module."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]
