"""The definitions that a command is about, found as `dagster` and `dg` find them."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import dagster as dg

# Nothing public reads workspace.yaml and pyproject.toml, or finds the Definitions in a module.
from dagster._cli.workspace.cli_target import workspace_opts_to_load_target
from dagster._grpc.utils import get_loadable_targets
from dagster.components.definitions import LazyDefinitions
from dagster_shared.cli import WorkspaceOpts
from dotenv import load_dotenv

from cio_dagster.cli.selection import Location

DEFAULT_FILE = "definitions.py"

_OPTIONS = [
    click.option("-f", "--python-file", type=click.Path(exists=True, dir_okay=False), help="The file with the Definitions."),
    click.option("-m", "--module-name", metavar="MODULE", help="The module with the Definitions."),
    click.option("-a", "--attribute", metavar="NAME", help="Their name there; needed where it has several."),
    click.option("-d", "--working-directory", type=click.Path(exists=True, file_okay=False), help="Where imports begin."),
    click.option("-w", "--workspace", type=click.Path(exists=True, dir_okay=False), help="A workspace.yaml."),
    click.option("-l", "--location", metavar="NAME", help="The code location, where the workspace has several."),
]


def location_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name definitions, and pass on as `location` what they name."""
    names = list(inspect.signature(load).parameters)

    @wraps(command)
    def loaded(**given: Any) -> Any:
        return command(location=Location(load(**{name: given.pop(name) for name in names})), **given)

    for option in reversed(_OPTIONS):
        loaded = option(loaded)
    return loaded


def load(
    python_file: str | None = None,
    module_name: str | None = None,
    attribute: str | None = None,
    working_directory: str | None = None,
    workspace: str | None = None,
    location: str | None = None,
) -> dg.Definitions:
    """The definitions that the options name; else those of pyproject.toml or workspace.yaml here, else of definitions.py here.

    Variables that a `.env` here sets are set first, as Dagster's commands do. Raises UsageError where there are none, or too many;
    ClickException, with the traceback, where their code fails.
    """
    load_dotenv(Path(".env"), override=True)
    origins = _origins(python_file, module_name, attribute, working_directory, workspace)
    named = [origin for origin in origins if location in (None, origin.location_name)]
    if len(named) != 1:
        there = ", ".join(origin.location_name for origin in origins) or "none"
        raise click.UsageError(f"say which code location with --location; there are: {there}")
    target = named[0].loadable_target_origin
    if target.executable_path not in (None, sys.executable):
        raise click.UsageError(f"{named[0].location_name} runs under {target.executable_path}: use the `cio` of that Python")
    try:
        found = get_loadable_targets(
            python_file=target.python_file,
            module_name=target.module_name,
            package_name=target.package_name,
            autoload_defs_module_name=target.autoload_defs_module_name,
            working_directory=target.working_directory,
            attribute=target.attribute,
            resolve_lazy_defs=False,
        )[0].target_definition
        definitions = found() if isinstance(found, LazyDefinitions) else found
    except Exception as error:
        raise click.ClickException(f"the definitions cannot be loaded.\n{traceback.format_exc()}") from error
    if isinstance(definitions, list):
        return dg.Definitions(assets=definitions)
    if not isinstance(definitions, dg.Definitions):
        raise click.UsageError(f"{named[0].location_name} has a {type(definitions).__name__}, not Definitions")
    return definitions


def _origins(
    python_file: str | None,
    module_name: str | None,
    attribute: str | None,
    working_directory: str | None,
    workspace: str | None,
) -> list[Any]:
    """The code locations, as Dagster has them."""
    if sum(option is not None for option in (python_file, module_name, workspace)) > 1:
        raise click.UsageError("give one of --python-file, --module-name and --workspace")

    def opened(file: str | None) -> list[Any]:
        options = WorkspaceOpts(
            workspace=[workspace] if workspace else None,
            python_file=[file] if file else None,
            module_name=[module_name] if module_name else None,
            attribute=attribute,
            working_directory=working_directory,
        )
        return list(workspace_opts_to_load_target(options).create_origins())

    try:
        return opened(python_file)
    except click.UsageError:
        if python_file or module_name or workspace or not os.path.exists(DEFAULT_FILE):
            raise
        return opened(DEFAULT_FILE)
