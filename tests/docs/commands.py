"""Commands in the documentation: that there are such, with such options."""

from __future__ import annotations

import re
import shlex
from functools import cache

import click

from tests.docs.pages import ROOT

OTHERS = (
    "python",
    "python3",
    "pip",
    "source",
    "mkdir",
    "cd",
    "cp",
    "export",
    "unset",
    "curl",
    "npm",
    "dbt",
    "docker",
    "helm",
    "kubectl",
)
"""Programs that are not ours, nor Dagster's."""


def check(line: str) -> None:
    """Fail where a command line names a command or an option that does not exist."""
    program, *arguments = shlex.split(line, comments=True)
    if program in OTHERS or "=" in program:
        return
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [each for each in arguments if "=" not in each and each not in targets] == [], line
        return
    if program == "cio-sandbox":
        from cio_dagster.sandbox.__main__ import build_parser

        build_parser().parse_args(arguments)
        return
    command = _command(program)
    context = click.Context(command, info_name=program)
    if program == "dg":  # Its commands find theirs in a project.
        assert isinstance(command, click.Group)
        assert arguments[0] in command.list_commands(context), line
        return
    while isinstance(command, click.Group) and arguments:
        own = [each for each in command.params if isinstance(each, click.Option)]
        takes_value = {name for option in own if not option.is_flag for name in option.opts}
        while arguments and arguments[0].startswith("-"):
            assert any(arguments[0] in option.opts for option in own), f"{line}: no option {arguments[0]}"
            arguments = arguments[2 if arguments[0] in takes_value else 1 :]
        found = command.get_command(context, arguments[0])
        assert found is not None, f"{line}: no command {arguments[0]}"
        command, arguments = found, arguments[1:]
    if "--" in arguments:  # What follows is another program's.
        arguments = arguments[: arguments.index("--")]
    options = {name for each in command.params if isinstance(each, click.Option) for name in [*each.opts, *each.secondary_opts]}
    named = {each.partition("=")[0] for each in arguments if re.match(r"-{1,2}[a-z]", each)}
    assert named <= options | {"-h", "--help"}, f"{line}: no option {sorted(named - options)}"


@cache
def _command(program: str) -> click.Command:
    """The command as this checkout has it, or the installed Dagster."""
    match program:
        case "cio":
            from cio_dagster.cli.main import main
        case "cio-state":
            from cio_dagster.cli.state import main
        case "dagster":
            from dagster._cli import cli as main
        case "dagster-celery":
            from dagster_celery.cli import main
        case "dagster-daemon":
            from dagster._daemon.cli import cli as main
        case "dagster-webserver":
            from dagster_webserver.cli import cli as main
        case "dg":
            from dagster_dg_cli.cli import cli as main
        case _:
            raise AssertionError(f"{program} is no command that the tests know")
    assert isinstance(main, click.Command)
    return main
