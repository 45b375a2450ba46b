"""The six rooms in order: prepare, diff and plan; guard; deliver; commit; report.

One direction. What fails before `deliver` has sent nothing; what fails in it keeps what was accepted; what a crash leaves behind, the next
run's first step commits.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import Any
from urllib.parse import quote

import polars as pl
from deltalake.exceptions import DeltaError

from cio_dagster import deliver as delivery
from cio_dagster import guards, places, stored
from cio_dagster.changes import write_changes
from cio_dagster.commit import Committed, commit, record_stop
from cio_dagster.deliver import Connection, Progress
from cio_dagster.errors import DeliveryError, GuardError, PlanChanged, SpecError, StateError, StateUnavailable
from cio_dagster.incremental import Read, check_still_good
from cio_dagster.key_partitions import into, slice_of
from cio_dagster.lock import Held
from cio_dagster.places import StoreError, StorePath, reason, remedy
from cio_dagster.plan import Plan, make_plan
from cio_dagster.report import Report, plan_report
from cio_dagster.specs import AnySpec, Collection, Event, ManualSegment, Object, read_spec
from cio_dagster.state import AssetState, Opened, StateInfo
from cio_dagster.wave import Part, done, in_wave, under_way

LEAST_FREE = 1_000_000
"""Bytes; with no more of them free, a disk is as good as full."""


@dataclass(frozen=True)
class RunOptions:
    """What a run may be asked for.

    dry_run
        Plan and report; send nothing, change nothing that later runs go by. The plan is stored, under the run's id.
    apply
        The id of a stored plan, which is sent just as it was shown. It is with the options that it was made with: `full_resync`,
        `reconcile`, `limit` and `only_keys` are not said again. PlanChanged where the source's plan would be another by now.
    limit
        Send this many operations at most, in the plan's order: removals first. The next run sends the rest. Guards
        judge the whole plan.
    only_keys
        Plan the rows with these sync keys alone, given as the outcomes table has them; what else is in the source or in Customer.io stays
        as it is. Guards still judge the whole source.
    full_resync
        Send every row whole, changed or not. Events are still sent once.
    reconcile
        Read the whole segment, or all objects of the type, from Customer.io first, and plan against that: rows that are missing there are
        sent again, and where the spec mirrors a whole asset, rows that are too many are removed. SpecError for other specs.
    allow_deletes
        Lift the guards on removals and on an empty or shrunken source, for this run.
    allow_changes
        Lift the guards on many new people and many changed rows, for this run.
    """

    dry_run: bool = False
    apply: str | None = None
    limit: int | None = None
    only_keys: Sequence[str] | None = None
    full_resync: bool = False
    reconcile: bool = False
    allow_deletes: bool = False
    allow_changes: bool = False

    @property
    def shaping(self) -> dict[str, Any]:
        """Those that say what a plan holds."""
        return {name: value for name, value in asdict(self).items() if name in SHAPING}


SHAPING = ("limit", "only_keys", "full_resync", "reconcile")
LIFTING = ("allow_deletes", "allow_changes")


def sync(
    frame: pl.LazyFrame,
    spec: AnySpec,
    state: AssetState,
    connection: Connection,
    *,
    run_id: str,
    options: RunOptions | None = None,
    environment_id: int | None = None,
    progress: Progress | None = None,
    read: Read | None = None,
    partitions: Sequence[str] = (),
) -> Report:
    """Make Customer.io equal to a frame, as its spec says: a run that is begun, judged and finished.

    frame
        The source's rows, of one asset partition.
    environment_id
        The workspace's id, where the connection was checked already; else it is checked first.
    progress
        Called while sending, with the operations answered so far and their number.
    read
        What of the source the frame is, where it is read incrementally.
    partitions
        All partitions of the asset, where it is partitioned by sync key: guards judge them together.

    Returns a report; where Customer.io could not take the whole plan, with `error`, and what it accepted committed. Raises SpecError,
    StateError, GuardError or DeliveryError where nothing was sent.
    """
    with begin(
        frame,
        spec,
        state,
        connection,
        run_id=run_id,
        options=options,
        environment_id=environment_id,
        progress=progress,
        read=read,
        partitions=partitions,
    ) as run:
        run.judge()
        return run.finish()


@contextmanager
def begin(
    frame: pl.LazyFrame,
    spec: AnySpec,
    state: AssetState,
    connection: Connection,
    *,
    run_id: str,
    options: RunOptions | None = None,
    environment_id: int | None = None,
    progress: Progress | None = None,
    read: Read | None = None,
    partitions: Sequence[str] = (),
) -> Iterator[Run]:
    """A run with its plan, under its lock: to be judged, and then finished. What was not sent is dropped at the end (arguments: see `sync`)."""
    options, seconds = options or RunOptions(), dict[str, float]()
    _check_options(options, spec)
    if state.partition is not None and spec.unpartitionable:
        raise SpecError(f"{state.asset} cannot be partitioned: {spec.unpartitionable}")
    since = datetime.now(timezone.utc).isoformat()
    with _stored(state), state.lock(run_id) as held:
        check_split(state, partitions)
        with _timed(seconds, "recover"):
            interrupted = state.plan_under_way()
            recovered = recover(state, held)
            since = interrupted.made_at if interrupted and recovered and recovered.accepted else since
        if environment_id is None:
            environment_id = delivery.check_connection(connection)
        shown = None if options.apply is None else stored.find(state, options.apply, environment_id)
        if shown is not None:
            options = replace(options, **shown.options)
        started_at = shown.started_at if shown else _started(state, spec, partitions)
        opened = state.open_tables()
        info = state.open(spec, environment_id, keep=not options.dry_run, started_at=started_at, opened=opened)
        check_still_good(read, state)
        with _timed(seconds, "plan"):
            snapshot = state.snapshot(opened)
            plan = _plan(frame, spec, state, info, opened, snapshot, connection, run_id, options, read)
            before = snapshot if plan.baseline() is None else plan.baseline()
            report = plan_report(plan, spec, state.asset, state.partition, before)
        report.environment_id, report.since = environment_id, since
        report.recovered, report.seconds, report.dry_run = recovered.accepted if recovered else 0, seconds, options.dry_run
        report.warnings += guards.warnings(plan, spec, state.report())
        run = Run(state, spec, connection, options, info, plan, before, report, shown, progress, held, partitions)
        try:
            run.take_part(recovered)
            yield run
        except BaseException as error:
            run.drop(error)
            raise


@dataclass
class Run:
    """A run of one asset partition that has its plan, and its lock."""

    state: AssetState
    spec: AnySpec
    connection: Connection
    options: RunOptions
    info: StateInfo
    plan: Plan
    compared: pl.LazyFrame | None
    """What the plan was made on: the snapshot, or the plan's baseline."""
    report: Report
    shown: stored.Stored | None
    """The stored plan that is to be applied."""
    progress: Progress | None
    held: Held
    partitions: Sequence[str] = ()
    part: Part | None = None
    """What it does in the wave (see `cio_dagster.wave`), of a partition by sync key."""
    last_part: Part | None = None
    sending: bool = False
    stopped: GuardError | PlanChanged | None = None

    def take_part(self, recovered: Committed | None) -> None:
        """Let the guards of the asset's other partitions know of the plan, before those of this one ask for theirs."""
        if not self.partitions:
            return
        self.last_part = self.state.part()
        self.part = under_way(
            self.plan.counts,
            self.last_part,
            run_id=self.plan.run_id,
            since=self.report.since,
            first=self.info.sequence == 0,
            recovered=recovered.accepted_by_operation if recovered else None,
            allowed=[name for name in LIFTING if getattr(self.options, name)],
        )
        if not self.options.dry_run:
            self.state.write_part(self.part)

    def judge(self, together: Sequence[Run] = ()) -> None:
        """Have guards judge the plan, in a dry run for the report. Raises GuardError.

        together
            Runs of other partitions that are to be finished after this one is judged.
        """
        stops = guards.check(
            self.plan,
            self.spec,
            part=self.part,
            others=cache(lambda: self._others(together)),
            **{name: getattr(self.options, name) for name in LIFTING},
        )
        self.report.stops = [str(each) for each in stops] if self.options.dry_run else []
        if stops and not self.options.dry_run:
            self.stopped = stops[0]
            raise self.stopped

    def finish(self) -> Report:
        """Send the plan and commit what was accepted; or, of a dry run, store it. Raises PlanChanged where it is not the one to be applied."""
        with _stored(self.state):
            return self._show() if self.options.dry_run else self._send()

    def drop(self, error: BaseException) -> None:
        """End it before anything was sent. If its plan was stopped, or another's of the same run, its rows are accounted for."""
        if self.options.dry_run or self.sending:
            return
        self.state.drop_plan()
        try:
            self.held()
        except StateUnavailable:
            return  # What is there is another run's by now.
        if self.part is not None:
            self.state.write_part(self.last_part)
        if isinstance(error, (GuardError, PlanChanged)):
            reason = error.guard if isinstance(error, GuardError) else "plan_changed"
            own = error is self.stopped
            record_stop(self.state, self.plan, reason, str(error) if own else "Another partition of the run was stopped.")

    def _others(self, together: Sequence[Run]) -> list[Part]:
        """The parts of the other partitions, as they count for this one."""
        assert self.part is not None
        found = {run.state.partition: run.part for run in together}
        others = [replace(self.state, partition=each) for each in self.partitions if each not in found]
        found |= zip((other.partition for other in others), places.at_once(AssetState.part, others), strict=True)
        found.pop(self.state.partition, None)
        return [in_wave(part, self.part) for part in found.values() if part is not None]

    def _show(self) -> Report:
        with _timed(self.report.seconds, "show"):
            write_changes(self.plan, self.compared, self.plan.folder / stored.CHANGES)
        stored.keep(self.state, self.plan, self.info, self.options.shaping)
        self.report.plan_folder = str(self.state.dry_run_place(self.plan.run_id))
        return self.report

    def _send(self) -> Report:
        state, report = self.state, self.report
        self.held()
        if self.shown is not None:
            try:
                self.plan = stored.to_apply(self.shown, self.plan, state)
            except PlanChanged as changed:
                self.stopped = changed
                raise
            stored.applied(state, self.shown, self.plan.run_id)
            report.deferred = self.plan.deferred
        self.sending = True
        with _timed(report.seconds, "deliver"):
            begun = self._deliver()
        with _timed(report.seconds, "commit"):
            committed = commit(state, self.plan, self.spec, begun=begun, held=self.held)
            self.held()
            state.tend(self.plan.sequence)
        report.count(committed.counted)
        report.rejects = sorted(report.rejects + committed.refused, key=lambda each: -int(each["rows"]))
        if self.part is not None:
            state.write_part(done(self.part, committed.accepted_by_operation, pending=report.pending - report.deferred))
        state.save_report(report.to_json())
        return report

    def _deliver(self) -> int:
        """Send the plan; return the position up to which sending came."""
        plan, report, traffic = self.plan, self.report, delivery.Traffic()
        if not (plan.planned - plan.deferred or plan.replaces):
            return 0
        self.held()
        published = self.state.publish(plan)
        try:
            delivery.deliver(published, self.spec, self.connection, traffic, self.progress, self.held)
        except DeliveryError as error:
            report.error = error
        report.requests, report.bytes, report.retries = traffic.requests, traffic.bytes, traffic.retries
        report.throttled_seconds = traffic.throttled_seconds
        return traffic.begun


def check_split(state: AssetState, partitions: Sequence[str]) -> None:
    """Raise StateError where the asset's state is, or is being, split otherwise: what is known there, this one would never remove.

    partitions
        All that the asset has, where it is partitioned by sync key.
    """
    if (info := state.info()) is not None:
        if info.spread_to:
            raise StateError(
                f"Nothing was sent: {state.folder} is being spread over other partitions: run `cio-state repartition {shlex.quote(state.asset)} "
                f"{info.spread_to}` again, to its end."
            )
        return
    others = [each for each in state.siblings() if each.partition not in partitions]
    others = [each for each in others if partitions or slice_of(each.partition) is not None]
    others = [each for each in others if each.info() is not None]
    if not others:
        return
    some = ", ".join("the whole" if each.partition is None else each.partition for each in others[:3])
    asset = shlex.quote(state.asset)
    raise StateError(
        f"Nothing was sent: {state.asset} has the state of another split ({some}{', ...' if len(others) > 3 else ''}), and what left the source "
        f"would not be removed by {f'partition {state.partition}' if partitions else 'this one'}. Spread it first, with "
        f"`cio-state repartition {asset} {into(partitions)}`; or move it away with `cio-state forget {asset}`: then the next runs send every row."
    )


def recover(state: AssetState, held: Held = lambda: None) -> Committed | None:
    """Commit what the answers to an interrupted run's plan prove; None where there is none."""
    plan, info = state.plan(), state.info()
    if plan is None or info is None or plan.sequence <= info.sequence:
        # Never finished, or committed already.
        state.discard_plan()
        return None
    return commit(state, plan, read_spec(plan.spec), held=held)


def _plan(
    frame: pl.LazyFrame,
    spec: AnySpec,
    state: AssetState,
    info: StateInfo,
    opened: Opened,
    snapshot: pl.LazyFrame | None,
    connection: Connection,
    run_id: str,
    options: RunOptions,
    read: Read | None,
) -> Plan:
    start = event_start(spec, state, info)
    if options.only_keys and snapshot is None and start is not None and isinstance(spec, Event) and spec.timestamp is None:
        raise SpecError(
            "only_keys cannot be of a first run of events without times: those of other keys would not be known as history, and be sent by "
            "the next run. Run it once without only_keys, or say timestamp='...' or start='all' in the spec."
        )
    return make_plan(
        frame,
        spec,
        state.dry_run_folder(run_id) if options.dry_run else state.plan_folder,
        snapshot=snapshot,
        baseline=_baseline(spec, state, snapshot, connection, options),
        unsettled=state.unsettled(),
        versions=opened.versions,
        run_id=run_id,
        sequence=state.next_sequence(opened),
        now=datetime.now(timezone.utc),
        start=start,
        operation_bytes=connection.operation_bytes,
        full_resync=options.full_resync,
        read=read,
        only_keys=options.only_keys,
        limit=options.limit,
    )


def _baseline(
    spec: AnySpec, state: AssetState, snapshot: pl.LazyFrame | None, connection: Connection, options: RunOptions
) -> pl.DataFrame | None:
    """What is in Customer.io now, where the plan is to be made against that instead of the snapshot."""
    if not isinstance(spec, (ManualSegment, Object)) or not (options.reconcile or spec.baseline == "customerio"):
        return None
    found = delivery.read_baseline(connection, spec)
    if spec.baseline == "customerio" or (spec.removes and state.partition is None):
        return found
    # What others put there, other partitions too, is not this partition's to remove, nor to remember as its own.
    own = snapshot.select("_key").collect() if snapshot is not None else pl.DataFrame(schema={"_key": pl.String})
    return found.join(own, on="_key", how="semi")


def _check_options(options: RunOptions, spec: AnySpec) -> None:
    """Raise SpecError for options that cannot be together, or of such a spec."""
    given = [name for name, value in options.shaping.items() if value not in (None, False)]
    if options.apply is not None and (given or options.dry_run):
        also = " and ".join(given + ["dry_run"] * options.dry_run)
        raise SpecError(f"apply sends a plan as it was shown, with the options that it was made with: leave {also} out.")
    if options.limit is not None and options.limit < 1:
        raise SpecError(f"limit is {options.limit}; it is 1 or more, or left out.")
    if options.only_keys is not None and not options.only_keys:
        raise SpecError("only_keys is an empty list, of no row: name sync keys, or leave it out for all rows.")
    if isinstance(spec, Collection) and (options.limit is not None or options.only_keys is not None):
        raise SpecError("A collection is replaced whole: it can have neither limit nor only_keys.")
    if options.reconcile and not isinstance(spec, (ManualSegment, Object)):
        raise SpecError(
            f"reconcile compares a manual segment or the objects of a type with all that Customer.io holds of them; a {spec.object} sync "
            "cannot be read whole. Run it with full_resync: true instead, to send every row again."
        )


def _started(state: AssetState, spec: AnySpec, partitions: Sequence[str]) -> str | None:
    """When events began to be synced, on the first run of a partition by sync key: with that of the others. None for now."""
    if not isinstance(spec, Event) or not partitions or state.exists():
        return None
    others = (replace(state, partition=each).info() for each in partitions)
    return next((info.started_at for info in others if info is not None), None)


def event_start(spec: AnySpec, state: AssetState, info: StateInfo) -> datetime | None:
    """The time from which events are sent; None for all of them. `"now"` is when the first run began, kept in the state.

    By default a partition sends all it has, but for those by sync key, which are parts of a whole.
    """
    if not isinstance(spec, Event):
        return None
    of_its_own = state.partition is not None and slice_of(state.partition) is None
    start = spec.start or ("all" if of_its_own else "now")
    if start == "all":
        return None
    moment = datetime.fromisoformat(info.started_at) if start == "now" else start
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


@contextmanager
def _stored(state: AssetState) -> Iterator[None]:
    """Say a full disk as one, and an object store that fails: Python, Polars and Delta each have errors of their own for them."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, DeltaError) as error:
        said = reason(error)
        if _is_full(state, error):
            raise StateError(
                f"The disk of {state.working_folder} is full ({said}). Make room and run it again: that commits what Customer.io accepted, and "
                "sends the rest."
            ) from error
        if isinstance(root := state.root, StorePath) and _is_of_store(root, error):
            # Not from the error: it may hold a signature.
            raise StateUnavailable(
                f"The state at {state.folder} could not be read or written ({said}). {remedy(said)}. The next run commits what Customer.io "
                "accepted, and sends the rest."
            ) from None
        raise


def _is_full(state: AssetState, error: Exception) -> bool:
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
        return True
    # Parquet writers do not all say why they failed.
    folder = state.working_folder
    return not isinstance(error, StoreError) and folder.exists() and shutil.disk_usage(folder).free <= LEAST_FREE


def _is_of_store(root: StorePath, error: Exception) -> bool:
    """Whether an error is about the state, and not about a file of this machine, or of the source's own lazy frame."""
    names = (root.key, quote(root.key, safe=""))
    return isinstance(error, (StoreError, DeltaError)) or any(name in str(error) for name in names)


@contextmanager
def _timed(seconds: dict[str, float], room: str) -> Iterator[None]:
    begun = time.monotonic()
    try:
        yield
    finally:
        seconds[room] = round(time.monotonic() - begun, 3)
