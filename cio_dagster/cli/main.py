"""`cio`: plan and run syncs, and see how they are, from the terminal, over the same definitions as Dagster.

Exit status: 0 done; 1 something failed, was refused or is pending, or a guard stops it; 2 wrong usage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import dagster as dg

from cio_dagster.cli import output, show
from cio_dagster.cli.location import location_options
from cio_dagster.cli.rejects import rejected_by_reason, rejected_rows
from cio_dagster.cli.runs import Outcome, execute
from cio_dagster.cli.selection import Location, Run, parse_range
from cio_dagster.cli.state import main as state
from cio_dagster.cli.status import status_of
from cio_dagster.report import EXAMPLES

Command = Callable[..., Any]

SHOWN = 5
"""Changes shown of each operation, where --show does not say otherwise."""


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Plan and run syncs to Customer.io, and see how they are.

    Definitions are found as Dagster's commands find them: by the options -f, -m or -w, else pyproject.toml's [tool.dagster] or
    workspace.yaml in this folder, else definitions.py. ASSETS are names, or asset selections such as "group:customerio" or "people+"; without
    any, all that are synced to Customer.io. Runs are recorded in the Dagster instance of DAGSTER_HOME, if that is set.

    Exit status: 0 done; 1 something failed, was refused or is pending, or a guard stops it; 2 wrong usage.
    """


main.add_command(state, "state")

_assets = click.argument("assets", nargs=-1)
_select = click.option("--select", multiple=True, metavar="SELECTION", help="The same as ASSETS.")
_json = click.option("--json", "as_json", is_flag=True, help="Write JSON, for other programs.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_out = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it to this file.")

_PARTITIONS = [
    click.option("--partition", metavar="KEY", help="The partition of those that have some."),
    click.option("--partition-range", metavar="FIRST...LAST", help="A range of partitions."),
]
_SHAPING = [
    click.option("--full-resync", is_flag=True, help="Send every row whole, changed or not. Events are still sent once."),
    click.option("--reconcile", is_flag=True, help="Segments and objects: read all of them first, and repair what differs."),
    click.option("--limit", type=click.IntRange(min=1), help="Send this many operations at most, removals first."),
    click.option(
        "--only-key", "only_keys", multiple=True, metavar="KEY", help="The row with this sync key alone; can be repeated."
    ),
]
_ALLOWING = [
    click.option("--allow-deletes", is_flag=True, help="Lift the guards on removals and on an empty or shrunken source."),
    click.option("--allow-changes", is_flag=True, help="Lift the guards on many new people and many changed rows."),
]


def _options(*options: Sequence[Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed([each for group in options for each in group]):
            command = option(command)
        return command

    return decorate


@main.command()
@_assets
@_options([_select], _PARTITIONS, _SHAPING, _ALLOWING)
@click.option(
    "--show", "shown", type=click.IntRange(0, EXAMPLES), default=SHOWN, show_default=True, help="Changes to show of each kind."
)
@_options([_out, _yes, _json])
@location_options
def plan(
    location: Location,
    assets: tuple[str, ...],
    select: tuple[str, ...],
    partition: str | None,
    partition_range: str | None,
    shown: int,
    out: Path | None,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what a run would do, and store that plan, for `cio sync --apply`. Nothing is sent."""
    if out is not None:
        output.check_file(out)
    with _instance() as instance:
        runs = _runs(location, [*assets, *select], partition, parse_range(partition_range), instance, dry=True)
        outcome = execute(location, [(run, _given(options)) for run in runs], instance=instance, dry=True, quiet=as_json)
    if as_json:
        output.print_json(show.as_json(outcome))
    else:
        show.plan(outcome, output.console(), shown)
    if out is not None:
        output.write(show.all_changes(outcome), out, yes=yes)
        click.echo(f"Wrote the whole plan to {out}.", err=True)
    _end(outcome)


@main.command()
@_assets
@_options([_select], _PARTITIONS, _SHAPING, _ALLOWING)
@click.option("--apply", "plans", multiple=True, metavar="PLAN", help="Send this stored plan just as it was shown, or nothing.")
@_options([_yes, _json])
@location_options
def sync(
    location: Location,
    assets: tuple[str, ...],
    select: tuple[str, ...],
    partition: str | None,
    partition_range: str | None,
    plans: tuple[str, ...],
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run syncs, and say what became of the rows.

    On a terminal, without --yes or --apply, the plan is shown first, and just that is sent if the answer is yes.
    """
    expressions, span = [*assets, *select], parse_range(partition_range)
    given = _given(options)
    with _instance() as instance:
        if plans:
            if partition or span or set(given) - {"allow_deletes", "allow_changes"}:
                raise click.UsageError("--apply sends a plan as it was shown: leave partitions and other options out")
            keys = location.select(expressions)
            applied = [(run, given | {"apply": each}) for each in plans for run in location.applying(keys, each)]
        else:
            runs = _runs(location, expressions, partition, span, instance, dry=False)
            applied = [(run, given) for run in runs]
            if output.interactive() and not yes and not as_json:
                applied = _confirmed(location, runs, given, instance)
        outcome = execute(location, applied, instance=instance, dry=False, quiet=as_json)
    if as_json:
        output.print_json(show.as_json(outcome))
    else:
        show.sync(outcome, output.console())
    _end(outcome)


@main.command()
@_assets
@_options([_select, _json])
@location_options
def status(location: Location, assets: tuple[str, ...], select: tuple[str, ...], as_json: bool) -> None:
    """How syncs are: rows in Customer.io by the snapshot, the last run and what became of it, a plan under way, who holds the lock."""
    found = [line for sync in location.selected_syncs([*assets, *select]) for line in status_of(sync)]
    if as_json:
        output.print_json({"syncs": found})
    else:
        show.status(found, output.console())
    if any(line["problem"] for line in found):
        raise SystemExit(1)


@main.command()
@_assets
@_options([_select])
@click.option("--run", "run_id", metavar="ID", help="Of this run; by default of the last one of each asset partition.")
@click.option("--all", "every", is_flag=True, help="Show every row.")
@_options([_out, _yes, _json])
@location_options
def rejects(
    location: Location,
    assets: tuple[str, ...],
    select: tuple[str, ...],
    run_id: str | None,
    every: bool,
    out: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Rows that were rejected, before sending or by Customer.io: by reason, with an example."""
    syncs = location.selected_syncs([*assets, *select])
    if out is not None:
        output.write(rejected_rows(syncs, run_id), out, yes=yes)
        click.echo(f"Wrote the rejected rows to {out}.", err=True)
        return
    hidden = [sync.name for sync in syncs if not sync.manager.show_values]
    if every and hidden:
        raise click.UsageError(f"the rows of {', '.join(hidden)} are not to be shown (show_values=False): use --out FILE")
    found = rejected_rows(syncs, run_id).collect() if every else rejected_by_reason(syncs, run_id)
    if as_json:
        output.print_json({"rejects": found.to_dicts()})
    elif found.is_empty():
        click.echo("No rows were rejected.")
    else:
        output.console().print(output.table(found.columns, found.iter_rows()))


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The instance of DAGSTER_HOME, or one for this command."""
    with dg.DagsterInstance.get() if os.environ.get("DAGSTER_HOME") else dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The run options that were given."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value}


def _runs(
    location: Location,
    expressions: list[str],
    partition: str | None,
    span: tuple[str, str] | None,
    instance: dg.DagsterInstance,
    *,
    dry: bool,
) -> list[Run]:
    """The runs of what is selected; what is left out of them is said."""
    keys, left = location.select(expressions), dict[dg.AssetKey, str]()
    for key in keys:
        if dry and not location.has_dry_runs(key):
            left[key] = "it has no dry runs, as only assets have that customerio_asset made"
        elif not expressions and not partition and not span and location.executable[key].partitions_def is not None:
            left[key] = "say which of its partitions with --partition or --partition-range"
    for key, why in left.items():
        click.echo(f"Without {key.to_user_string()}: {why}.", err=True)
    chosen = [key for key in keys if key not in left]
    if not chosen:
        raise click.UsageError("nothing is left to run")
    return location.runs(chosen, partition=partition, range=span, instance=instance)


def _confirmed(
    location: Location, runs: list[Run], options: dict[str, Any], instance: dg.DagsterInstance
) -> list[tuple[Run, dict[str, Any]]]:
    """Show the plans of runs, and ask; the same runs, each to apply its plan if all of it could be planned."""
    planned = [Run([key for key in run.keys if location.has_dry_runs(key)], run.partition, run.range) for run in runs]
    whole = [run.keys for run in planned] == [run.keys for run in runs]
    planned = [run for run in planned if run.keys]
    outcome = execute(location, [(run, options) for run in planned], instance=instance, dry=True)
    show.plan(outcome, output.console(), SHOWN, applied=False)
    if outcome.problems:
        _end(outcome)
    also = [key.to_user_string() for run in runs for key in run.keys if not location.has_dry_runs(key)]
    output.ask(f"Send this, and run {', '.join(dict.fromkeys(also))}?" if also else "Send this?", False)
    if not whole:
        return [(run, options) for run in runs]
    allowed = {name: value for name, value in options.items() if name.startswith("allow_")}
    return [(run, allowed | {"apply": id}) for run, id in zip(runs, outcome.run_ids, strict=True)]


def _end(outcome: Outcome) -> None:
    """End with what went wrong, if something did."""
    if outcome.interrupted:
        raise click.ClickException(
            "interrupted. What Customer.io has answered is kept: the next run of the asset commits it, and sends the rest."
        )
    if outcome.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
