"""The tutorial, followed word by word: its files are written, its commands run, and they print what it says that they do."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from cio_dagster.cli.main import main as cio
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.testing import assert_events, assert_no_failures, assert_people
from tests.docs.commands import check
from tests.docs.pages import DOCS, blocks

SERVERS = ("cio-sandbox", "dagster dev", "dagster schedule", "mkdir", "cd", "python3", "pip", "source .venv")
"""What the reader starts, and this test does not: the sandbox runs, and the rest needs a computer of one's own."""


class Reader:
    """Somebody who does what the page says, in an empty folder, and whose Customer.io is a sandbox whatever the page says."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._sandbox, self._patch = folder, sandbox, monkeypatch
        self.printed, self.planned = "", ""
        """By the last command, and by the last that made a plan."""

    def write(self, title: str, text: str) -> None:
        path = self._folder / title
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("'...'", "of-the-workspace"))

    def run(self, line: str) -> None:
        check(line)
        program, *arguments = shlex.split(line)
        if line.startswith(SERVERS):
            return
        if program == "source":
            self._source(arguments[0])
        elif program == "python":
            runpy.run_path(arguments[0])
        else:
            assert program == "cio"
            result = CliRunner().invoke(cio, [self._plan() if each == "PLAN" else each for each in arguments])
            assert result.exit_code == 0, result.output
            self.printed += result.output
            self.planned = result.output if "--apply" in result.output else self.planned

    def _source(self, file: str) -> None:
        for line in (self._folder / file).read_text().splitlines():
            verb, *words = shlex.split(line, comments=True)
            for word in words:
                name, _, value = word.partition("=")
                if verb == "unset":
                    self._patch.delenv(name)
                else:
                    self._patch.setenv(name, value.replace("$PWD", str(self._folder)))
        if file == "workspace.env":
            self._patch.delenv("DAGSTER_HOME")  # To record runs takes longer than they do, and was done above.
        self._patch.setenv("CIO_TRACK_URL", self._sandbox.url)
        self._patch.setenv("CIO_APP_URL", self._sandbox.url)

    def _plan(self) -> str:
        [found] = re.findall(r"cio sync --apply (\S+)", self.planned)
        return str(found)


def test_it_works_as_written(customerio_sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "definitions", ModuleType("definitions"))
    del sys.modules["definitions"]  # Dagster loads the page's; at the end, that which was there is put back.
    reader = Reader(tmp_path, customerio_sandbox, monkeypatch)
    for block in blocks(DOCS / "tutorial.md"):
        if block.title:
            reader.write(block.title, block.text)
        elif block.language == "bash":
            for line in block.text.splitlines():
                for command in line.split(" && "):
                    reader.printed = ""
                    if command == "source workspace.env":  # The workspace is empty, as far as the reader's data goes.
                        assert_everything_of_the_sandbox(customerio_sandbox)
                        customerio_sandbox.reset()
                    reader.run(command)
        else:
            assert [line for line in block.text.splitlines() if plain(line) not in plain(reader.printed)] == []
    assert_no_failures(customerio_sandbox)
    assert len(customerio_sandbox.get("people")) == 5
    assert customerio_sandbox.get("events") == []


def plain(text: str) -> str:
    """Text without a table's lines, and with single spaces."""
    return re.sub(r"[\s━┃│┏┓┡┩╇┳└┘┴─]+", " ", text).strip()


def assert_everything_of_the_sandbox(sandbox: RunningSandbox) -> None:
    names = {1: "Ada", 2: "Bob", 3: "Cem", 4: "Dee", 5: "Eve"}
    assert_people(sandbox, [{"id": key, "first_name": name} for key, name in names.items()])
    assert_people(sandbox, [{"id": 2, "plan": "pro"}], others=True)
    assert_events(sandbox, [{"name": "order_placed", "id": 1, "total": 20}])
