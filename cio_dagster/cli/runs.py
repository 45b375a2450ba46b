"""Runs in this process, and what came of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import click
import dagster as dg

from cio_dagster.cli.progress import watch
from cio_dagster.cli.selection import Location, Run
from cio_dagster.io_manager import DEFERRED, DRY_RUN
from cio_dagster.report import Report

INTERRUPTS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
"""Dagster's log is for its own pages: here, tables say what there is."""


@dataclass
class Outcome:
    """What came of runs."""

    reports: list[Report] = field(default_factory=list)
    """In the order in which they came."""
    failures: dict[str, str] = field(default_factory=dict)
    """Assets (or steps) that failed, and why."""
    not_run: list[str] = field(default_factory=list)
    """Assets that were to run after these."""
    checks: list[dg.AssetCheckEvaluation] = field(default_factory=list)
    """Those that did not pass."""
    run_ids: list[str] = field(default_factory=list)
    """Of each run."""
    interrupted: bool = False

    @property
    def problems(self) -> list[str]:
        """Why it is not as it should be, in words; nothing where all went well."""
        found = [f"{asset} failed: {why}" for asset, why in self.failures.items()]
        found += [f"{asset} did not run, as something before it failed" for asset in self.not_run]
        for report in self.reports:
            name = named(report)
            found += [f"{name}: a guard would stop this run: {each}" for each in report.stops]
            if report.refused:
                found.append(f"{name}: Customer.io refused {report.refused:,} operations")
            if not report.dry_run and report.pending > report.deferred:
                found.append(f"{name}: {report.pending - report.deferred:,} operations are pending; the next run sends them")
        for check in self.checks:
            if check.severity == dg.AssetCheckSeverity.ERROR and check.check_name != "no_rejected_rows":
                said = f": {check.description}" if check.description else ""
                found.append(f"{check.asset_key.to_user_string()}: the check {check.check_name} did not pass{said}")
        return found


def execute(
    location: Location,
    runs: Sequence[tuple[Run, Mapping[str, Any]]],
    *,
    instance: dg.DagsterInstance,
    dry: bool,
    quiet: bool = False,
) -> Outcome:
    """Run assets with run options (as SyncConfig has them), one run after the other, up to the first that fails.

    A dry run is so by its tags, and has no checks but those of the syncs' own steps. With `quiet`, what the assets' functions print goes to
    standard error.
    """
    definitions = _without_checks(location.definitions) if dry else location.definitions
    job = definitions.resolve_implicit_global_asset_job_def()
    outcome = Outcome()
    away: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if quiet else nullcontext()
    with watch() as reports, away:
        for run, options in runs:
            config: dict[str, Any] = {"ops": _ops(location, run, options)}
            if not location.definitions.loggers:
                config["loggers"] = QUIET
            try:
                result = job.execute_in_process(
                    run_config=config,
                    asset_selection=run.keys,
                    partition_key=run.partition,
                    tags=run.tags | ({DRY_RUN: "true", DEFERRED: "true"} if dry else {}),
                    instance=instance,
                    raise_on_error=False,
                )
            except dg.DagsterError as error:
                raise click.ClickException(str(error)) from error
            outcome.run_ids.append(result.run_id)
            _take_in(outcome, location, run, result)
            outcome.interrupted |= reports.interrupted
            if outcome.failures or outcome.interrupted:
                break
    outcome.reports = list(reports.found.values())
    ran = {report.asset for report in outcome.reports} | set(outcome.failures)
    wanted = [key.to_user_string() for run, _ in runs for key in run.keys if key in location.syncs]
    if outcome.failures:
        outcome.not_run = [asset for asset in dict.fromkeys(wanted) if asset not in ran]
    return outcome


def named(report: Report) -> str:
    """The asset, and its partition if it has some."""
    return report.asset if report.partition is None else f"{report.asset} {report.partition}"


def _ops(location: Location, run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """The run options as config of the assets' ops."""
    if not options:
        return {}
    syncs = [key for key in run.keys if key in location.syncs]
    if without := [key.to_user_string() for key in syncs if not location.has_dry_runs(key)]:
        raise click.UsageError(f"{', '.join(without)} takes no run options, as only assets do that customerio_asset made")
    return {location.syncs[key].definition.op.name: {"config": dict(options)} for key in syncs}


def _without_checks(definitions: dg.Definitions) -> dg.Definitions:
    """Definitions without the checks that have a step of their own, which look at what was sent."""
    assets = [each for each in definitions.assets or [] if not isinstance(each, dg.AssetChecksDefinition)]
    return dg.Definitions(assets=assets, resources=definitions.resources, loggers=definitions.loggers)


def _take_in(outcome: Outcome, location: Location, run: Run, result: dg.ExecuteInProcessResult) -> None:
    names = {location.executable[key].node_def.name: key.to_user_string() for key in run.keys}
    for event in result.all_events:
        if event.is_step_failure:
            outcome.failures[names.get(str(event.step_key), str(event.step_key))] = _why(event.step_failure_data)
        elif event.is_job_event and event.is_failure:
            error = event.job_failure_data.error
            outcome.interrupted |= error is not None and error.cls_name in INTERRUPTS
            if not outcome.failures and not outcome.interrupted:
                outcome.failures["the run"] = error.message.strip() if error else str(event.message)
    outcome.checks += [check for check in result.get_asset_check_evaluations() if not check.passed]


def _why(failure: Any) -> str:
    """Why a step failed: what was said with the Failure, else the error under all others."""
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no error was recorded"
