"""The sandbox's page names every setting with its default, and every flag."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from cio_dagster.sandbox.__main__ import build_parser
from cio_dagster.sandbox.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def test_every_setting_is_described_with_its_values() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    for field in dataclasses.fields(Settings):
        values = [value.strip("`") for value in rows[field.name].strip().split(", ")]
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert values[0] == default, field.name
        assert set(values) == {default, *field.metadata["choices"]}, field.name
        assert field.metadata["why"]


def test_every_flag_is_described() -> None:
    for action in build_parser()._actions:
        for flag in action.option_strings:
            assert flag in ("-h", "--help") or flag in PAGE
