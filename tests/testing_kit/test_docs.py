"""The page about testing is a test module that passes, and a wrong expectation fails it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cio_dagster import testing

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_its_code_runs_as_a_users_tests_would(pytester: pytest.Pytester) -> None:
    plugin, *blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    pytester.makeconftest(plugin)
    pytester.makepyfile(test_right="\n".join(blocks), test_wrong=blocks[0].replace('"plan": "pro"}', '"plan": "free"}'))
    pytester.syspathinsert(ROOT)
    (pytester.path / "sql").symlink_to(ROOT / "sql")
    result = pytester.runpytest_inprocess("--quiet")
    result.assert_outcomes(passed=len(re.findall("^def test_", PAGE, re.MULTILINE)), failed=1)
    shown = result.stdout.str()
    assert 'id "1": plan is "pro", expected "free"' in shown
    # The error points at the user's line, not into the kit.
    assert "test_wrong.py:" in shown
    assert "arrived.py" not in shown


def test_every_assertion_is_described() -> None:
    names = {name for name in testing.__all__ if name.startswith("assert_")}
    assert set(re.findall(r"^\| `(assert_\w+)\(", PAGE, re.MULTILINE)) == names
