"""The decorator `customerio_asset`: a function that gives a frame becomes an asset that lands in Customer.io."""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from cio_dagster.errors import SpecError
from cio_dagster.incremental import Incremental
from cio_dagster.io_manager import DEFERRED, Computed, is_dry
from cio_dagster.lineage import Query, noting
from cio_dagster.partitions import PARTITION_EXPR, check_partitions, partition_column
from cio_dagster.specs import AnySpec, Collection
from cio_dagster.translator import CustomerIOTranslator, CustomerIOTranslatorData, asset_arguments
from cio_dagster.watching import interruptible

IO_MANAGER_KEY = "customerio"
POOL = "customerio"
CHECK = "no_rejected_rows"

DESCRIBED = ("deps", "group_name", "code_version", "freshness_policy", "automation_condition", "owners", "tags")
"""Options that pass through a translator, beside key, description, kinds, metadata and partitions."""

RETRIES = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
"""For outages that outlast the client's own retries. Failures that a retry cannot help (guards, credentials, specs) are not retried."""


class SyncConfig(dg.Config):
    """The run options of every Customer.io asset, in the launchpad under ops > the asset > config."""

    dry_run: bool = Field(
        default=False, description="Show what the run would change, as an observation, and store that plan; send nothing."
    )
    apply: str | None = Field(
        default=None,
        description="Send a stored plan, by its id (the dry run's), just as it was shown; refuse if the source's would differ by now.",
    )
    limit: int | None = Field(
        default=None, description="Send this many operations at most, removals first; the next run sends the rest."
    )
    only_keys: list[str] | None = Field(
        default=None, description="Plan the rows with these sync keys alone; everything else stays as it is."
    )
    full_resync: bool = Field(default=False, description="Send every row whole, changed or not. Events are still sent once.")
    reconcile: bool = Field(
        default=False, description="Segments and objects: read all of them from Customer.io first, and repair what differs."
    )
    allow_deletes: bool = Field(
        default=False, description="Lift the guards on removals and on an empty or shrunken source, for this run."
    )
    allow_changes: bool = Field(
        default=False, description="Lift the guards on many new people and many changed rows, for this run."
    )


def customerio_asset(
    spec: AnySpec,
    *,
    name: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
    key: dg.AssetKey | str | Sequence[str] | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    partition_expr: str | Mapping[str, str] | None = None,
    incremental: Incremental | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    io_manager_key: str = IO_MANAGER_KEY,
    pool: str | None = POOL,
    retry_policy: dg.RetryPolicy | None = RETRIES,
    metadata: Mapping[str, Any] | None = None,
    kinds: set[str] | None = None,
    translator: CustomerIOTranslator | None = None,
    **asset_options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make an asset whose frame is synced to Customer.io.

    The function gives a Polars LazyFrame or DataFrame, an Arrow table or reader, or, for a run of several partitions, a mapping from partition
    key to one of these. It may be async, and takes resources and upstream assets as with `dagster.asset`.

        @customerio_asset(Person(key="id", column="customer_id"), group_name="customerio")
        def people(warehouse: Warehouse) -> pl.LazyFrame:
            return warehouse.query("people.sql")

    spec
        What the rows become: Person, Device, Event, Collection, ManualSegment, Object or Relationship.
    partition_expr
        The column that says which partition a row belongs to (for multi-partitions a mapping from dimension to column); needed where one run
        covers several partitions. By `hash_partitions` and `range_partitions` it is a column of the sync key, and need not be said where
        there is one alone.
    incremental
        Read only what has changed, as the function asks for with `incremental_parameters(context)`, and now and then all.
    translator
        Changes the key, group, owners, tags, kinds, ... that these arguments give the asset: one rule for many syncs.
    asset_options
        Anything else that `dagster.asset` takes: group_name, deps, ins, owners, tags, automation_condition, ...

    The asset has the run options of SyncConfig, and a check, `no_rejected_rows`, that every materialisation evaluates.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        expression = {PARTITION_EXPR: partition_expr} if partition_expr is not None else {}
        reading = incremental.to_metadata() if incremental is not None else {}
        asset_spec = dg.AssetSpec(
            key=_asset_key(function, name, key_prefix, key),
            partitions_def=partitions_def,
            metadata={**(metadata or {}), **spec.to_metadata(), **expression, **reading},
            kinds={"customerio", "polars"} if kinds is None else kinds,
            description=asset_options.get("description") or inspect.getdoc(function),
            **{option: value for option, value in asset_options.items() if option in DESCRIBED},
        )
        asset_spec = (translator or CustomerIOTranslator()).get_asset_spec(CustomerIOTranslatorData(spec, asset_spec))
        asset_key = asset_spec.key
        try:
            check_partitions(spec, asset_spec.partitions_def, partition_column(asset_spec.metadata))
        except SpecError as error:
            raise SpecError(f"{asset_key.to_user_string()}: {error}") from None
        if incremental is not None and isinstance(spec, Collection):
            raise SpecError(f"{asset_key.to_user_string()} cannot be incremental: a collection is replaced as a whole")
        compute, has_config = _compute(function, asset_key, io_manager_key)
        return dg.asset(
            compute,
            backfill_policy=backfill_policy,
            io_manager_key=io_manager_key,
            pool=pool,
            retry_policy=retry_policy,
            check_specs=[
                dg.AssetCheckSpec(
                    CHECK, asset=asset_key, description="Every row of the source was accepted, or was there already."
                ),
                *asset_options.get("check_specs", []),
            ],
            config_schema=None if has_config else SyncConfig.to_config_schema().as_field(),
            output_required=False,
            **asset_arguments(asset_spec),
            **{name: value for name, value in asset_options.items() if name not in (*DESCRIBED, "description", "check_specs")},
        )

    return decorate


def _asset_key(function: Callable[..., Any], name: str | None, prefix: str | Sequence[str] | None, key: Any) -> dg.AssetKey:
    if key is not None:
        return key if isinstance(key, dg.AssetKey) else dg.AssetKey(key)
    path = [prefix] if isinstance(prefix, str) else list(prefix or [])
    return dg.AssetKey([*path, name or function.__name__])


def _compute(function: Callable[..., Any], asset_key: dg.AssetKey, io_manager_key: str) -> tuple[Callable[..., Any], bool]:
    """The function that Dagster runs: the user's, then the output and the check; on a dry run a preview and no output."""
    signature, hints = inspect.signature(function), typing.get_type_hints(function)
    parameters = list(signature.parameters.values())
    wants_context = bool(parameters) and parameters[0].name in ("context", "_context", "_")
    has_config = "config" in signature.parameters
    if has_config and not (isinstance(hints.get("config"), type) and issubclass(hints["config"], SyncConfig)):
        raise dg.DagsterInvalidDefinitionError(
            f"{asset_key.to_user_string()}: a config parameter must be a subclass of cio_dagster.SyncConfig, so that the run options stay"
        )

    def arguments(context: dg.AssetExecutionContext, given: dict[str, Any]) -> dict[str, Any]:
        return {parameters[0].name: context, **given} if wants_context else given

    def after(context: dg.AssetExecutionContext, frame: Any, queries: Sequence[Query], since: float) -> Iterator[Any]:
        manager = getattr(context.resources, io_manager_key)
        if is_dry(context.op_execution_context.op_config, context.run):
            # The check is of what the run would do: the last run's verdict would pass for this source's.
            yield _check([report.to_json() for report in manager.preview(context, frame)])
            if context.run.tags.get(DEFERRED) == "true":
                # It is no materialisation, and so the assets after it are planned too.
                yield dg.Output(None)
        else:
            yield dg.Output(Computed(frame, queries, since))
            keys = context.partition_keys if context.assets_def.partitions_def is not None else [None]
            yield _check(manager.last_reports(asset_key, keys))

    if inspect.iscoroutinefunction(function):

        async def compute_async(context: dg.AssetExecutionContext, **given: Any) -> AsyncIterator[Any]:
            since = time.monotonic()
            with interruptible(), noting() as queries:
                frame = await function(**arguments(context, given))
            for event in after(context, frame, queries, since):
                yield event

        compute: Callable[..., Any] = compute_async
    else:

        def compute_sync(context: dg.AssetExecutionContext, **given: Any) -> Iterator[Any]:
            since = time.monotonic()
            with interruptible(), noting() as queries:
                frame = function(**arguments(context, given))
            yield from after(context, frame, queries, since)

        compute = compute_sync

    rest = parameters[1:] if wants_context else parameters
    own = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)
    resolved = [parameter.replace(annotation=hints.get(parameter.name, parameter.annotation)) for parameter in rest]
    compute.__name__, compute.__doc__, compute.__module__ = function.__name__, function.__doc__, function.__module__
    compute.__signature__ = inspect.Signature([own, *resolved])  # type: ignore[attr-defined]
    compute.__annotations__ = {parameter.name: parameter.annotation for parameter in [own, *resolved]}
    return compute, has_config


def _check(reports: Iterable[Mapping[str, Any]]) -> dg.AssetCheckResult:
    """Red where Customer.io refused rows or some are pending, a warning where rows were rejected before sending.

    What the run's limit left for the next run is neither; it is said.
    """
    reports = list(reports)
    deferred = sum(report.get("deferred", 0) for report in reports)
    # A dry run has nothing pending.
    refused = sum(report["refused"] + max(report["pending"] - report.get("deferred", 0), 0) for report in reports)
    rejected = sum(report["rejected"] for report in reports)
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not rejected and not refused,
        severity=dg.AssetCheckSeverity.ERROR if refused else dg.AssetCheckSeverity.WARN,
        description=f"By its limit, the run leaves {deferred:,} operations for the next." if deferred else None,
        metadata={"rejected": rejected, "of_these_refused_by_customerio_or_pending": refused, "left_by_limit": deferred},
    )
