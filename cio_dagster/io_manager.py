"""The IO manager: what an asset function returns is written to Customer.io; what Customer.io accepted is what downstream assets load."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import dagster as dg
import polars as pl
from pydantic import PrivateAttr

from cio_dagster import places
from cio_dagster.errors import (
    CredentialsRefused,
    DryRunOnly,
    GuardError,
    PlanChanged,
    RegionMismatch,
    RequestRefused,
    SpecError,
    StateError,
    SyncError,
    TooManyRejected,
)
from cio_dagster.incremental import Read, find_incremental, next_read
from cio_dagster.key_partitions import slices
from cio_dagster.lineage import Query, column_lineage
from cio_dagster.metadata import (
    add_up,
    column_schema,
    difference_metadata,
    dry_run_metadata,
    guard_metadata,
    report_metadata,
    workspace_link,
)
from cio_dagster.partitions import check_partitions, partition_column, split
from cio_dagster.pool import no_slots_warning, pool_slots
from cio_dagster.prepare.landed import landed
from cio_dagster.report import Report, hashed
from cio_dagster.resource import CustomerIO
from cio_dagster.specs import METADATA_KEY, AnySpec, find_spec
from cio_dagster.state import AssetState, state_root
from cio_dagster.stored import reads_all
from cio_dagster.sync import Run, RunOptions, begin
from cio_dagster.watching import interruptible, said_progress, watcher

if TYPE_CHECKING:
    import pyarrow as pa  # Slow to import, and here only a name.

Frame: TypeAlias = "pl.LazyFrame | pl.DataFrame | pa.Table | pa.RecordBatch | pa.RecordBatchReader"


@dataclass(frozen=True)
class Computed:
    """What an asset's function returned, and the queries that it ran meanwhile."""

    frame: Frame | Mapping[str, Frame]
    queries: Sequence[Query] = ()
    since: float = field(default_factory=time.monotonic)
    """When its step began, by time.monotonic(): from then on it had its share of the rate budget."""


BRANCH = "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT"
"""The variable of the environment that Dagster+ sets to 1 in branch deployments."""

PLAN_JOB = "customerio_plan"
"""The job whose runs, and those of the jobs named after it, are dry (see `cio_dagster.jobs`)."""

DRY_RUN = "customerio/dry_run"
"""The tag of runs that are dry, whatever their config says: `true`."""

DEFERRED = "dagster/defer_asset_events"
"""Dagster's tag of runs in which outputs are no materialisations: `true`."""

PROGRESS_SECONDS = 5.0

TOGETHER = 256
"""Partitions by sync key of a run that are judged before the first of them is sent. Their locks are held meanwhile, and their plans on disk."""

WITHHELD = "whose text may hold values, so it is not shown (show_values=False)."


class CustomerIOIOManager(dg.ConfigurableIOManager):
    """Writes what an asset returns to Customer.io, as the spec in the asset's definition metadata says.

    state
        Where snapshots, outcomes and plans are kept: a folder, or s3://, gs:// or az:// with bucket and prefix (see `cio_dagster.state`).
    show_values
        Whether metadata, observations, checks and logs may show what rows hold: keys, values before and after, Customer.io's words about
        them. With False they show numbers and names, and of a key the first 12 digits of its SHA-256. The snapshot, the outcomes table and
        `report.json` in the state folder hold values all the same; and what the asset's own function logs or raises is Dagster's to record.
    branch_deployments_send
        Whether runs in a branch deployment of Dagster+ may send. By default they may be dry runs only, as a branch usually has the credentials of
        production; others fail before anything is sent.
    """

    customerio: CustomerIO
    state: str
    show_values: bool = True
    branch_deployments_send: bool = False

    _unlimited_run: str | None = PrivateAttr(default=None)
    _reads: dict[dg.AssetKey, dict[str | None, Read]] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: Computed | Frame | Mapping[str, Frame]) -> None:
        """Sync the frame (or a mapping from partition key to frame). Raises dagster.Failure, with the counts as metadata."""
        asset = _Asset.of_output(context)
        if asset.options.dry_run:
            return  # In a plan job an output only says that the assets after it can be planned.
        computed = obj if isinstance(obj, Computed) else Computed(obj)
        reports = self._sync(asset, computed.frame, context.log, computed.since)
        if len(reports) > 1:
            for report in reports:
                context.step_context.add_asset_metadata(
                    report_metadata(report), asset_key=context.asset_key, partition_key=report.partition
                )
        context.add_output_metadata(add_up(reports) | self._link(asset.spec, reports) | _columns(context, asset.spec, computed))

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """The snapshot: what Customer.io accepted, identifiers and attributes as columns. Of a partitioned asset, those asked for."""
        upstream = context.upstream_output
        if upstream is None:
            raise SpecError(f"{context.asset_key.to_user_string()} is not made by an asset of this code location")
        spec = _spec(upstream.definition_metadata, context.asset_key)
        keys: list[str | None] = list(context.asset_partition_keys) if context.has_asset_partitions else [None]
        frames = []
        for key in keys:
            state = self._state(context.asset_key, key)
            if (values := state.values(spec)) is not None:
                frames.append(values)
        if not frames:
            raise SpecError(f"{context.asset_key.to_user_string()} has no snapshot yet: materialize it first")
        return pl.concat(frames, how="diagonal_relaxed")

    def preview(self, context: dg.AssetExecutionContext, obj: Frame | Mapping[str, Frame]) -> list[Report]:
        """A dry run: what a run would do, logged as an observation of each partition, and stored to be applied. Nothing is sent."""
        asset = _Asset.of_execution(context)
        reports = self._sync(asset, obj, context.log, time.monotonic())
        for report in reports:
            metadata = dry_run_metadata(report, asset.op) | report_metadata(report) | self._link(asset.spec, [report])
            context.log_event(dg.AssetObservation(asset.key, partition=report.partition, metadata=metadata))
        return reports

    def begin_read(self, context: dg.AssetExecutionContext) -> dict[str | None, Read]:
        """What the run is to read of each partition (None: the unpartitioned whole), which what it then writes is held to.

        Raises SpecError for an asset that was not made with `incremental`.
        """
        asset = _Asset.of_execution(context)
        if (incremental := find_incremental(asset.metadata)) is None:
            raise SpecError(
                f"{asset.key.to_user_string()} reads all: make it with customerio_asset(..., incremental=Incremental(column=...))"
            )
        now, options = datetime.now(timezone.utc), asset.options
        everything = options.full_resync or options.reconcile or options.only_keys is not None
        reads: dict[str | None, Read] = {}
        partitions: list[str | None] = [*asset.partition_keys] or [None]
        for partition in partitions:
            state = self._state(asset.key, partition)
            # A plan is applied to what it was made of.
            whole = everything if options.apply is None else reads_all(state, options.apply)
            reads[partition] = next_read(state, asset.spec, incremental, now=now, everything=whole)
        if any(not read.partial for read in reads.values()):
            reads = {partition: Read(incremental.column, now.isoformat()) for partition in reads}
        self._reads[asset.key] = reads
        return reads

    def last_reports(self, asset_key: dg.AssetKey, partitions: Iterable[str | None]) -> list[dict[str, Any]]:
        """The reports of the last runs of these partitions (None: the unpartitioned whole), as JSON."""
        found = places.at_once(lambda partition: self._state(asset_key, partition).report(), partitions)
        return [report for report in found if report is not None]

    @interruptible()
    def _sync(self, asset: _Asset, obj: Frame | Mapping[str, Frame], log: Any, since: float) -> list[Report]:
        reports: list[Report] = []
        failure: SyncError | None = None
        partition: str | None = None
        slots, watching = self._slots(asset, log), watcher.get()
        asset.check_run()
        try:
            self._check_deployment(asset)
            reads = self._taken_reads(asset)
            connection = self.customerio.connection(slots, since)
            environment_id = self.customerio.environment_id(asset.run_id, connection)
            frames, split_by_key = _frames(asset, obj), list(slices(asset.partitions))
            for group in _groups(frames, TOGETHER if split_by_key else 1):
                with ExitStack() as locks:
                    runs: list[Run] = []
                    for partition in group:
                        if watching:
                            watching.begun(asset.key.to_user_string(), partition)
                        begun = begin(
                            frames[partition],
                            asset.spec,
                            self._state(asset.key, partition),
                            connection,
                            run_id=asset.run_id,
                            options=asset.options,
                            environment_id=environment_id,
                            progress=_progress(log, asset, partition),
                            read=reads.get(partition),
                            partitions=split_by_key,
                        )
                        runs.append(locks.enter_context(begun))
                    for run in runs:
                        partition = run.state.partition
                        run.judge(runs)
                    for run in runs:
                        partition = run.state.partition
                        report = run.finish()
                        shown = report if self.show_values else report.without_values()
                        reports.append(shown)
                        _log(log, shown)
                        if watching:
                            watching.reported(shown)
                        _check_report(report, asset.spec)
        except SyncError as error:
            failure = error if self.show_values else _without_values(error)
        except pl.exceptions.PolarsError as error:
            if self.show_values:
                raise
            failure = SpecError(f"The frame could not be computed: {type(error).__name__}, {WITHHELD}")
        if failure is not None:
            final = isinstance(
                failure,
                (
                    CredentialsRefused,
                    RegionMismatch,
                    DryRunOnly,
                    GuardError,
                    PlanChanged,
                    SpecError,
                    StateError,
                    TooManyRejected,
                ),
            )
            counts = add_up(reports) if reports else {}
            if isinstance(failure, GuardError):
                counts |= guard_metadata(failure)
            if isinstance(failure, PlanChanged):
                counts |= difference_metadata(failure)
            description = str(failure) if partition is None else f"Partition {partition}: {failure}"
            raise dg.Failure(description=description, metadata=counts, allow_retries=not final) from (
                failure if self.show_values else None
            )
        return reports

    def _check_deployment(self, asset: _Asset) -> None:
        if os.environ.get(BRANCH) == "1" and not asset.options.dry_run and not self.branch_deployments_send:
            raise DryRunOnly(
                "Nothing was sent: this is a branch deployment, where runs may be dry only. Run it with the option `dry_run: true`; or, if the "
                "branch has a workspace of its own, say CustomerIOIOManager(branch_deployments_send=True)."
            )

    def _taken_reads(self, asset: _Asset) -> dict[str | None, Read]:
        """What the asset's function was told to read in this run; nothing for an asset that always reads all."""
        reads = self._reads.pop(asset.key, None)
        if reads is None and find_incremental(asset.metadata) is not None:
            raise SpecError(
                f"{asset.key.to_user_string()} is incremental, but its function did not ask what to read: select by "
                "**incremental_parameters(context), as in `where $full or updated_at >= $since`."
            )
        return reads or {}

    def _link(self, spec: AnySpec, reports: Sequence[Report]) -> dict[str, Any]:
        """A link to Customer.io, where it is not another address that is written to."""
        if self.customerio.track_url or self.customerio.app_url or not reports or reports[0].environment_id is None:
            return {}
        return {"customerio": workspace_link(spec, self.customerio.region, reports[0].environment_id)}

    def _slots(self, asset: _Asset, log: Any) -> int:
        """With how many steps this one shares the rate budget. Where nothing limits them, that is said once by each process of a run."""
        slots = pool_slots(asset.instance, asset.pool)
        if slots is None and self._unlimited_run != asset.run_id:
            self._unlimited_run = asset.run_id
            log.warning(no_slots_warning(asset.pool))
        return slots or 1

    def _state(self, key: dg.AssetKey, partition: str | None) -> AssetState:
        return AssetState(state_root(self.state), self.customerio.workspace, "/".join(key.path), partition)


class _Asset:
    """What a run of an asset is about: key, spec, partitions and options; and the pool of its step."""

    def __init__(self, key: dg.AssetKey, metadata: Mapping[str, Any], step: Any, run: dg.DagsterRun) -> None:
        self.key, self.run_id, self.metadata = key, step.run_id, metadata
        self.instance, self.pool, self.op = step.instance, step.op_def.pool, step.op_def.name
        self.spec = _spec(metadata, key)
        config = step.op_config if isinstance(step.op_config, Mapping) else {}
        options = {name: config[name] for name in RunOptions.__dataclass_fields__ if name in config}
        self.options = RunOptions(**options | {"dry_run": is_dry(config, run)})
        self.partitions: Any = None
        self.partition_keys: list[str] = []

    def check_run(self) -> None:
        """Raise dagster.Failure where the run is cancelled or over: not every executor ends the steps of such a run."""
        run = self.instance.get_run_by_id(self.run_id)
        if run is not None and (run.status == dg.DagsterRunStatus.CANCELING or run.is_finished):
            raise dg.Failure(
                f"Stopped, as the run is {run.status.value.lower()}. What Customer.io accepted is kept; the next run sends the rest.",
                allow_retries=False,
            )

    @classmethod
    def of_output(cls, context: dg.OutputContext) -> _Asset:
        step = context.step_context
        asset = cls(context.asset_key, context.definition_metadata or {}, step, step.dagster_run)
        if context.has_asset_partitions:
            asset.partitions, asset.partition_keys = context.asset_partitions_def, list(context.asset_partition_keys)
        return asset

    @classmethod
    def of_execution(cls, context: dg.AssetExecutionContext) -> _Asset:
        definition = context.assets_def
        metadata = definition.metadata_by_key[definition.key]
        asset = cls(definition.key, metadata, context.op_execution_context, context.run)
        if definition.partitions_def is not None:
            asset.partitions, asset.partition_keys = definition.partitions_def, list(context.partition_keys)
        return asset


def is_dry(config: Any, run: dg.DagsterRun) -> bool:
    """Whether a run is dry: by an asset's op config, by its tags, or by its job, as Dagster's UI launches jobs without their run tags."""
    planning = run.job_name == PLAN_JOB or run.job_name.startswith(f"{PLAN_JOB}_")
    return planning or run.tags.get(DRY_RUN) == "true" or (isinstance(config, Mapping) and bool(config.get("dry_run")))


def _spec(metadata: Mapping[str, Any] | None, key: dg.AssetKey) -> AnySpec:
    spec = find_spec(metadata or {})
    if spec is None:
        raise SpecError(
            f"{key.to_user_string()} has no sync spec: make it with @customerio_asset(Person(...)), or put "
            f"Person(...).to_metadata() into its metadata (key {METADATA_KEY!r})."
        )
    return spec


def _frames(asset: _Asset, obj: Frame | Mapping[str, Frame]) -> dict[str | None, pl.LazyFrame]:
    """The frame of each partition of the run; the whole frame under None where the asset has no partitions."""
    if not asset.partition_keys:
        return {None: _lazy(obj, asset.key)}
    column = partition_column(asset.metadata)
    check_partitions(asset.spec, asset.partitions, column)
    if not isinstance(obj, Mapping):
        return dict(split(_lazy(obj, asset.key), asset.partitions, asset.partition_keys, column, asset.spec).items())
    if set(obj) != set(asset.partition_keys):
        raise SpecError(f"The run covers partitions {asset.partition_keys}, but the asset returned frames for {sorted(obj)}.")
    frames = {key: _lazy(frame, asset.key) for key, frame in obj.items()}
    if not slices(asset.partitions):
        return dict(frames.items())
    return {key: split(frame, asset.partitions, [key], column, asset.spec)[key] for key, frame in frames.items()}


def _columns(context: dg.OutputContext, spec: AnySpec, computed: Computed) -> dict[str, Any]:
    """The metadata of columns: what they are in Customer.io, and which columns of which tables they are made of."""
    found = computed.frame
    frame = next(iter(found.values()), None) if isinstance(found, Mapping) else found
    if frame is None:
        return {}
    schema = frame.collect_schema() if isinstance(frame, pl.LazyFrame) else frame.schema
    if not isinstance(schema, pl.Schema):
        schema = pl.Schema(schema)
    columns = landed(spec, schema)
    layer = context.step_context.job_def.asset_layer
    # What is in Customer.io is no table, whatever its name.
    deps = [
        key for key in layer.get(context.asset_key).parent_keys if not (layer.has(key) and find_spec(layer.get(key).metadata))
    ]
    lineage = column_lineage(columns, frame, computed.queries, deps)
    return {"dagster/column_schema": column_schema(columns)} | ({"dagster/column_lineage": lineage} if lineage else {})


def _groups(keys: Iterable[str | None], size: int) -> list[list[str | None]]:
    """The keys in their order, so many at a time."""
    found = list(keys)
    return [found[place : place + size] for place in range(0, len(found), size)]


def _check_report(report: Report, spec: AnySpec) -> None:
    """Raise what fails a run after its plan was sent."""
    if report.error is not None:
        raise report.error
    if not report.dry_run and report.too_many_rejected(spec.max_rejected):
        raise TooManyRejected(
            f"{report.rejected:,} of {report.planned.source:,} rows were rejected, more than "
            f"max_rejected={spec.max_rejected}. What was accepted is kept; the outcomes table lists the rows."
        )


def _without_values(error: SyncError) -> SyncError:
    """The error without keys, and without Customer.io's words, which may quote what was sent."""
    if isinstance(error, PlanChanged):
        return PlanChanged(error.plan, error.differing, [each | {"key": hashed(each["key"])} for each in error.examples])
    if not isinstance(error, RequestRefused):
        return error
    said = "Customer.io refused a request" + (f" with status {error.status}" if error.status else "")
    return RequestRefused(f"{said}, {WITHHELD}", status=error.status)


def _lazy(obj: object, key: dg.AssetKey) -> pl.LazyFrame:
    if isinstance(obj, pl.LazyFrame):
        return obj
    if isinstance(obj, pl.DataFrame):
        return obj.lazy()
    if hasattr(obj, "__arrow_c_stream__") or hasattr(obj, "__arrow_c_array__"):
        return pl.DataFrame(cast("pa.Table", obj)).lazy()
    raise SpecError(
        f"{key.to_user_string()} returned {type(obj).__name__}; return a Polars LazyFrame or DataFrame, or an Arrow table or reader"
    )


def _progress(log: Any, asset: _Asset, partition: str | None) -> Callable[[int, int], None]:
    begun = last = time.monotonic()
    watching, key = watcher.get(), asset.key.to_user_string()
    name = key if partition is None else f"{key} {partition}"

    def tick(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        said = said_progress(done, total, now - begun)
        if watching:
            watching.sending(key, partition, done, total, said)
        if now - last >= PROGRESS_SECONDS:
            last = now
            asset.check_run()
            if done:
                log.info(f"{name}: {said}")

    return tick


def _log(log: Any, report: Report) -> None:
    counts = report.planned
    name = report.asset if report.partition is None else f"{report.asset} {report.partition}"
    if report.dry_run:
        log.info(
            f"{name}: would create {counts.create:,}, update {counts.update:,}, remove {counts.delete:,}, send {counts.send:,}"
            f"{f' ({report.deferred:,} of these later, by limit)' if report.deferred else ''}; {counts.unchanged:,} unchanged, "
            f"{counts.rejected:,} rejected. To send just this, run it with apply: {report.run_id}"
        )
    else:
        log.info(
            f"{name}: created {report.created:,}, updated {report.updated:,}, removed {report.removed:,}, sent {report.sent:,}; "
            f"{counts.unchanged + counts.keep:,} unchanged, {report.rejected:,} rejected, {report.pending:,} pending"
        )
    for warning in report.all_warnings:
        log.warning(f"{name}: {warning}")
    for each in report.rejects:
        log.warning(f"{name}: {each['rows']:,} rows rejected, {each['reason']}: {each['message']}")
