"""`cio-state`: look at the state of syncs, and mend it.

Exit status: 0 done; 1 an error that is look.said in words, or a question answered with no; 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import resource
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import click
import polars as pl
from deltalake import DeltaTable
from pydantic import SecretStr

from cio_dagster import places
from cio_dagster.cli import look, output
from cio_dagster.deliver import Connection, check_connection, read_baseline
from cio_dagster.key_partitions import hash_partitions, range_partitions, read_bounds
from cio_dagster.lock import NOTE
from cio_dagster.places import Place
from cio_dagster.plan import Counts, Plan
from cio_dagster.repartition import locked, split, spread
from cio_dagster.specs import AnySpec, Collection, Event, ManualSegment, Object
from cio_dagster.state import FORGOTTEN, OUTCOMES_SCHEMA, AssetState, all_states, state_root

CREDENTIALS = ("CIO_SITE_ID", "CIO_TRACK_API_KEY", "CIO_APP_API_KEY")


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", envvar="CIO_STATE", required=True, metavar="PLACE", help="Where the state is; by default CIO_STATE's.")
@click.option("--workspace", metavar="NAME", help="The workspace, where the folder holds several with such an asset.")
@click.pass_context
def main(context: click.Context, state: str, workspace: str | None) -> None:
    """Look at what syncs remember of Customer.io, and mend it."""
    root = state_root(state)
    if not places.is_folder(root):
        raise click.ClickException(f"there is no folder {root}")
    context.obj = [found for found in all_states(root) if workspace in (None, found.workspace)]


_asset = click.argument("asset")
_partition = click.option("--partition", metavar="KEY", help="The partition, of a partitioned asset.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@main.command("list")
@click.pass_obj
def list_states(states: list[AssetState]) -> None:
    """All asset partitions: rows, the last run, size, a plan under way, and who holds the lock."""
    columns = ("workspace", "asset", "partition", "object", "rows", "last run", "at", "size", "plan under way", "lock")
    output.console().print(output.table(columns, places.at_once(_listed, states)))


def _listed(state: AssetState) -> list[object]:
    run = look.last_run(state)
    return [
        state.workspace,
        state.asset,
        state.partition,
        look.said(look.object_of, state),
        look.said(look.count_text, state),
        run.get("run_id"),
        output.moment(run.get("timestamp")),
        output.size(state.folder),
        look.said(look.plan_text, state),
        look.holder(state),
    ]


@main.command()
@_asset
@_partition
@click.option("--key", help="Show the row with this key alone.")
@click.option("--limit", default=20, show_default=True, help="The most rows to show.")
@click.pass_obj
def show(states: list[AssetState], asset: str, partition: str | None, key: str | None, limit: int) -> None:
    """The snapshot's rows as values, and the report of the last run."""
    state = _one(states, asset, partition)
    rows = _snapshot(state)
    if key is not None:
        rows = rows.filter(pl.col("_key") == key)
    found = _values(state, rows).head(limit).collect()
    if key is not None and found.is_empty():
        raise click.ClickException(f"the snapshot has no row with the key {key!r}")
    console, report = output.console(), state.report()
    if key is None and report is not None:
        numbers = {
            name: value for name, value in report.items() if isinstance(value, int) and not isinstance(value, bool) and value
        }
        console.print(f"Last report (run {report['run_id']}): {numbers}", markup=False, highlight=False)
    console.print(output.frame_table(found))
    if key is None:
        console.print(f"{len(found):,} of {state.rows():,} rows")


@main.command()
@_asset
@_partition
@click.option("--version", type=int, help="Show the rows of this version.")
@click.option("--limit", default=20, show_default=True, help="The most versions, or rows, to show.")
@click.pass_obj
def history(states: list[AssetState], asset: str, partition: str | None, version: int | None, limit: int) -> None:
    """The snapshot's versions: time, run and rows; with --version, its rows as they were."""
    state = _one(states, asset, partition)
    delta = DeltaTable(_snapshot_path(state))
    if version is not None:
        output.console().print(
            output.frame_table(
                _values(state, pl.scan_delta(str(state.folder / "snapshot"), version=version)).head(limit).collect()
            )
        )
        return
    lines = [
        [
            str(entry["version"]),
            output.moment(entry["timestamp"]),
            entry.get("run_id"),
            look.said(_rows_of, state, entry["version"]),
        ]
        for entry in delta.history(limit)
    ]
    output.console().print(output.table(("version", "at", "run", "rows"), lines))


@main.command()
@_asset
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_partition
@_yes
@click.pass_obj
def export(states: list[AssetState], asset: str, file: Path, partition: str | None, yes: bool) -> None:
    """Write the snapshot's rows, as values, to FILE: .parquet, .csv or .ndjson."""
    output.check_file(file)
    state = _one(states, asset, partition)
    frame = _values(state, _snapshot(state)).collect()
    if file.suffix == ".csv":
        frame = frame.with_columns(_json_column(series) for series in frame if series.dtype.is_nested())
    output.write(frame.lazy(), file, yes=yes)
    click.echo(f"Wrote {len(frame):,} rows to {file}.")


@main.command()
@_asset
@_partition
@click.option("--run", metavar="ID", help="Of this run alone.")
@click.option(
    "--outcome", metavar="OUTCOME", help="accepted, rejected, pending, left_out, unchanged, not_chosen or stopped alone."
)
@click.option("--limit", default=50, show_default=True, help="The most lines to show.")
@click.pass_obj
def outcomes(
    states: list[AssetState], asset: str, partition: str | None, run: str | None, outcome: str | None, limit: int
) -> None:
    """What became of every row of every run, newest first."""
    tables = [state.outcomes() for state in _some(states, asset, partition)]
    lines = pl.concat(tables, how="diagonal").sort("time", descending=True, maintain_order=True)
    for name, value in (("run_id", run), ("outcome", outcome)):
        if value is not None:
            lines = lines.filter(pl.col(name) == value)
    found = lines.drop("asset").collect()
    console = output.console()
    console.print(output.frame_table(found.head(limit)))
    console.print(f"{min(limit, len(found)):,} of {len(found):,} lines")


@main.command()
@_asset
@_partition
@_yes
@click.pass_obj
def rebuild(states: list[AssetState], asset: str, partition: str | None, yes: bool) -> None:
    """Make the snapshot of a segment or an object type from what Customer.io holds now.

    The credentials are CIO_SITE_ID, CIO_TRACK_API_KEY and CIO_APP_API_KEY, with CIO_REGION, CIO_TRACK_URL and CIO_APP_URL as in the demo.
    """
    state = _one(states, asset, partition)
    spec = _rebuildable(state)
    connection = _connection()
    with state.lock("cio-state rebuild") as still_held:
        _no_plan(state)
        state.open(spec, check_connection(connection))
        held = read_baseline(connection, spec)
        known = look.said_or(lambda: _snapshot(state).select("_key").collect())
        keys = pl.Series("_key", dtype=pl.String) if known is None else known["_key"]
        missing, foreign = (~keys.is_in(held["_key"].implode())).sum(), (~held["_key"].is_in(keys.implode())).sum()
        there = f"{len(keys):,} rows" if known is not None else "no rows that can be read"
        click.echo(f"Customer.io holds {len(held):,} rows of {_what(spec)} now; the snapshot has {there}.")
        click.echo(f"{missing:,} rows leave the snapshot: the next run sends those that the source has.")
        mirror = "; the next run removes those that the source does not have, within its guards" if spec.removes else ""
        click.echo(f"{foreign:,} rows enter it, whoever put them there{mirror}.")
        if isinstance(spec, Object):
            click.echo("Attributes are not read: the next run sends every object of the source whole.")
        output.ask("Rebuild the snapshot?", yes)
        still_held()
        if known is None and places.is_folder(damaged := state.folder / "snapshot"):
            places.move(damaged, _aside(state, "snapshot"), last=NOTE)
        now = datetime.now(timezone.utc)
        plan = Plan(
            state.plan_folder,
            "cio-state rebuild",
            state.next_sequence(),
            now.isoformat(),
            Counts(),
            spec=spec.model_dump(mode="json"),
        )
        state.write_watermark(None)
        state.write_snapshot([held.lazy().with_columns(_accepted_at=pl.lit(now))], plan, append=False)
        state.write_unsettled(None)
        state.close_plan(plan, ["snapshot"])
    click.echo(f"The snapshot has {len(held):,} rows.")


@main.command()
@_asset
@_partition
@click.option("--key", "keys", multiple=True, help="Forget the row with this key alone; can be given again.")
@_yes
@click.pass_obj
def forget(states: list[AssetState], asset: str, partition: str | None, keys: tuple[str, ...], yes: bool) -> None:
    """Take rows out of the snapshot, so that they are sent again; or move the whole state aside.

    Without --partition, the states of all partitions are moved.
    """
    if keys:
        _forget_rows(_one(states, asset, partition), list(keys), yes)
        return
    chosen = _some(states, asset, partition)
    with ExitStack() as locks:
        held = [locks.enter_context(state.lock("cio-state forget")) for state in chosen]
        for state in chosen:
            rows = look.said(look.count_text, state)
            plan = look.said(look.plan_text, state)
            click.echo(f"{_name(state)}: {rows} rows" + (f"; and the plan of {plan}" if plan else ""))
        click.echo(_after_forgetting(look.said_or(chosen[0].spec)))
        output.ask(f"Move the state of {len(chosen):,} asset partition{'s' * (len(chosen) > 1)} aside?", yes)
        for state, still_held in zip(chosen, held, strict=True):
            still_held()
            click.echo(f"Moved to {_move_aside(state)}.")


@main.command()
@_asset
@click.option("--into", "count", type=int, metavar="COUNT", help="So many hash partitions.")
@click.option(
    "--bound", "bounds", multiple=True, metavar="KEY", help="Range partitions that begin at this key; can be given again."
)
@click.option("--whole", is_flag=True, help="No partitions any more.")
@click.option(
    "--by", "column", metavar="COLUMN", help="The column of the sync key by which rows are split, where it has several."
)
@_yes
@click.pass_obj
def repartition(
    states: list[AssetState], asset: str, count: int | None, bounds: tuple[str, ...], whole: bool, column: str | None, yes: bool
) -> None:
    """Spread the state of an asset over other partitions by sync key. Nothing is sent.

    Also from an asset without partitions, or to one (--whole). Killed under way, it is run again, and goes on. Bounds are whole numbers, or text;
    digits that are text stand in double quotes: '"10"'.
    """
    if [count is not None, bool(bounds), whole].count(True) != 1:
        raise click.UsageError("Say one of --into, --bound and --whole.")
    if count is not None:
        partitions = list(hash_partitions(count).get_partition_keys())
    else:
        partitions = list(range_partitions(read_bounds(bounds)).get_partition_keys()) if bounds else []
    there = _some(states, asset, None)
    made = [replace(there[0], partition=each) for each in partitions] or [replace(there[0], partition=None)]
    _allow_files(len(there) + len(made))
    with locked(list(dict.fromkeys([*there, *made]))) as still_held:
        todo = split(there, partitions, column)
        rows = sum(state.rows() for state in todo.old) if todo.new else 0
        kept = f", beside {len(todo.kept):,} that stay as they are" if todo.kept else ""
        click.echo(
            f"{rows:,} rows of {_names(todo.old)} go to {_names(todo.new)}{kept}. Nothing is sent: the next run of each partition reads its source "
            "whole, and sends what differs."
        )
        click.echo(f"The old states are moved to {FORGOTTEN}, with their outcomes, reports and stored plans.")
        output.ask("Spread them?", yes)
        spread(todo, still_held)
        for state in todo.old:
            still_held()
            _move_aside(state)
    click.echo(f"Done: {_names([*todo.kept, *todo.new])}.")


def _names(states: list[AssetState]) -> str:
    """Partitions in words."""
    if [state.partition for state in states] == [None]:
        return "the asset without partitions"
    named = ", ".join(str(state.partition) for state in states[:3])
    return f"{len(states):,} partition{'s' * (len(states) != 1)}" + (
        f" ({named}{', ...' if len(states) > 3 else ''})" if states else ""
    )


def _allow_files(count: int) -> None:
    """Let this process have a file open for each lock."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _move_aside(state: AssetState) -> Place:
    """Move a whole state to where what is forgotten is, and return that place. To be called under its lock."""
    target = _aside(state, "whole" if state.partition is None else state.folder.name)
    places.move(state.folder, target, last=NOTE)
    return target


def _forget_rows(state: AssetState, keys: list[str], yes: bool) -> None:
    with state.lock("cio-state forget") as still_held:
        _no_plan(state)
        found = _snapshot(state).filter(pl.col("_key").is_in(keys)).select("_key").collect()["_key"]
        if unknown := sorted(set(keys) - set(found)):
            raise click.ClickException(
                f"the snapshot has no row with the key {', '.join(map(repr, unknown))}; nothing was changed"
            )
        click.echo(f"{_name(state)}: {len(found):,} of {state.rows():,} rows.")
        click.echo(_after_forgetting(look.said_or(state.spec)))
        output.ask("Forget them?", yes)
        still_held()
        lines = found.to_frame().select(
            run_id=pl.lit("cio-state forget"),
            asset=pl.lit(state.asset),
            partition=pl.lit(state.partition, dtype=pl.String),
            key="_key",
            operation=pl.lit("forget"),
            outcome=pl.lit("pending"),
            reason=pl.lit("forgotten"),
            field=pl.lit(""),
            message=pl.lit("Taken out of the snapshot by cio-state."),
            time=pl.lit(datetime.now(timezone.utc)),
            rows=pl.lit(0),
        )
        state.put_back(found, None, lines.cast(dict(OUTCOMES_SCHEMA)), run_id="cio-state forget")  # type: ignore[arg-type]
    click.echo(f"Forgot {len(found):,} rows.")


def _after_forgetting(spec: AnySpec | None) -> str:
    """What the next run does after forgetting."""
    if isinstance(spec, Event):
        return (
            "The next run sends those events again that its source has and that its start does not leave out, with the ids they had, so "
            "that Customer.io takes none twice."
        )
    if isinstance(spec, Collection):
        return "The next run replaces the collection by its source."
    left = (
        " A row that has left the source is not known any more, so no mirror removes it."
        if spec is None or spec.removes
        else ""
    )
    return f"The next run sends those rows that its source has, whole, over what Customer.io holds.{left}"


def _rebuildable(state: AssetState) -> ManualSegment | Object:
    """The spec, if its snapshot can be made from Customer.io."""
    spec = state.spec()
    why = {
        "person": "the App API lists people by filter only, and does not say which of them this asset put there",
        "device": "the App API shows the devices of one person at a time",
        "event": "Customer.io gives no list of the events it took; their ids make sending them again safe, so `forget` is enough",
        "collection": "a collection is replaced whole, so `forget` is enough",
        "relationship": "the App API shows the relationships of one object at a time",
    }
    if spec is None:
        raise click.ClickException(f"{_name(state)} has no spec yet: run it once")
    if not isinstance(spec, (ManualSegment, Object)):
        raise click.ClickException(f"the snapshot of a {spec.object} sync cannot be rebuilt: {why[spec.object]}")
    if state.partition is not None:
        raise click.ClickException(
            "the snapshot of a partition cannot be rebuilt: Customer.io does not say which partition put a row there"
        )
    return spec


def _connection() -> Connection:
    """The workspace that the CIO_* variables name."""
    if missing := [name for name in CREDENTIALS if not os.environ.get(name)]:
        raise click.ClickException(f"set {', '.join(missing)}: Customer.io is read")
    site_id, track_api_key, app_api_key = (os.environ[name] for name in CREDENTIALS)
    region = os.environ.get("CIO_REGION") or "us"
    if region not in ("us", "eu"):
        raise click.ClickException(f"CIO_REGION is us or eu, not {region!r}")
    return Connection(
        site_id,
        SecretStr(track_api_key),
        SecretStr(app_api_key),
        "eu" if region == "eu" else "us",
        os.environ.get("CIO_TRACK_URL") or None,
        os.environ.get("CIO_APP_URL") or None,
    )


def _some(states: list[AssetState], asset: str, partition: str | None) -> list[AssetState]:
    """The states of an asset, in one workspace."""
    found = [state for state in states if state.asset == asset and partition in (None, state.partition)]
    if not found:
        there = ", ".join(sorted({_name(state) for state in states if partition is None or state.asset == asset})) or "nothing"
        raise click.ClickException(
            f"there is no state of {asset}{f' partition {partition}' if partition else ''}; there is: {there}"
        )
    if len(workspaces := sorted({state.workspace for state in found})) > 1:
        raise click.ClickException(f"say which with --workspace: {', '.join(workspaces)}")
    return found


def _one(states: list[AssetState], asset: str, partition: str | None) -> AssetState:
    found = _some(states, asset, partition)
    if len(found) > 1:
        raise click.ClickException(f"say which with --partition: {', '.join(str(state.partition) for state in found)}")
    return found[0]


def _name(state: AssetState) -> str:
    return state.asset if state.partition is None else f"{state.asset} partition {state.partition}"


def _what(spec: ManualSegment | Object) -> str:
    return f"segment {spec.identity['segment']!r}" if isinstance(spec, ManualSegment) else f"object type {spec.object_type_id}"


def _snapshot(state: AssetState) -> pl.LazyFrame:
    rows = state.snapshot()
    if rows is None:
        raise click.ClickException(f"{_name(state)} has no snapshot yet")
    return rows


def _snapshot_path(state: AssetState) -> str:
    _snapshot(state)
    return str(state.folder / "snapshot")


def _values(state: AssetState, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of a snapshot as values; as they are where the spec is not known."""
    spec = state.spec()
    values = state.values(spec, rows) if spec is not None else rows
    assert values is not None
    return values


def _rows_of(state: AssetState, version: int) -> str:
    return f"{pl.scan_delta(str(state.folder / 'snapshot'), version=version).select(pl.len()).collect().item():,}"


def _no_plan(state: AssetState) -> None:
    if (plan := state.plan_under_way()) is not None:
        raise click.ClickException(
            f"{_name(state)} has the plan of an interrupted run ({plan.run_id}): run the asset first, which commits what was accepted"
        )


def _aside(state: AssetState, name: str) -> Place:
    """A new place for what is taken out of a state."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
    folder = state.root / FORGOTTEN / stamp / state.folder.parent.parent.name / state.folder.parent.name
    places.make_folders(state.root, folder)
    return folder / name


def _json_column(series: pl.Series) -> pl.Series:
    texts = [None if value is None else json.dumps(value, default=str, ensure_ascii=False) for value in series.to_list()]
    return pl.Series(series.name, texts, dtype=pl.String)


if __name__ == "__main__":
    main()
