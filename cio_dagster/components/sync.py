"""The component of a sync: SQL and a spec in YAML become an asset, its checks and its schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
import polars as pl
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    MultiRunBackfillPolicyModel,
    SingleRunBackfillPolicyModel,
    StaticPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_backfill_policy,
    resolve_partitions_def,
)
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel, ValidationError

from cio_dagster.asset import IO_MANAGER_KEY, POOL, customerio_asset
from cio_dagster.checks import build_customerio_checks
from cio_dagster.components.connection import WAREHOUSE_KEY
from cio_dagster.components.resolve import error_at, invalid_at, resolve_templates
from cio_dagster.components.scaffold import SyncScaffolder
from cio_dagster.components.schema import model_schema, spec_schema, with_schema
from cio_dagster.errors import SpecError
from cio_dagster.key_partitions import hash_partitions, range_partitions, slices
from cio_dagster.partitions import partition_parameters, partition_predicate
from cio_dagster.specs import AnySpec, read_spec
from cio_dagster.translator import CustomerIOTranslator, CustomerIOTranslatorData
from cio_dagster.warehouse import Warehouse


class _SpecSchema:
    """The schema of a spec, for a mapping that is judged once its templates are resolved."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return spec_schema()


def _resolve_spec(context: dg.ResolutionContext, value: Any) -> AnySpec:
    value = resolve_templates(context, value)
    if not isinstance(value, dict):
        raise error_at(context, "a spec is a mapping that begins with `object: person`, or another of Customer.io's objects")
    try:
        return read_spec(value)
    except ValidationError as error:
        # The first part of a place is the object, except where it is the object that is wrong.
        raise invalid_at(context, error, value, skip=1) from None


def _resolve_sql(context: dg.ResolutionContext, value: str) -> str:
    if not value.endswith(".sql"):
        return value
    path = context.resolve_source_relative_path(value)
    if not path.is_file():
        there = ", ".join(sorted(each.name for each in path.parent.glob("*.sql"))) or "no SQL files"
        raise error_at(context, f"there is no such file; in {path.parent} there are: {there}")
    return str(path)


class MonthlyPartitionsDefinitionModel(dg.Resolvable, dg.Model):
    """Months, as Dagster has hours, days and weeks for YAML."""

    type: Literal["monthly"] = "monthly"
    start_date: str
    end_date: str | None = None
    timezone: str | None = None
    minute_offset: int = 0
    hour_offset: int = 0
    day_offset: int = 1


class HashPartitionsDefinitionModel(dg.Resolvable, dg.Model):
    """Partitions by the hash of the sync key, as `hash_partitions` makes them."""

    type: Literal["hash"] = "hash"
    count: int


class RangePartitionsDefinitionModel(dg.Resolvable, dg.Model):
    """Partitions by ranges of the sync key, as `range_partitions` makes them."""

    type: Literal["range"] = "range"
    bounds: Sequence[int] | Sequence[str]


def _resolve_partitions(context: dg.ResolutionContext, model: Any) -> dg.PartitionsDefinition[Any] | None:
    if isinstance(model, str):
        raise error_at(
            context, 'partitions are a mapping, such as {type: daily, start_date: "2026-01-01"}, or a template that makes them'
        )
    if isinstance(model, MonthlyPartitionsDefinitionModel):
        return dg.MonthlyPartitionsDefinition(**model.model_dump(exclude={"type"}))
    try:
        if isinstance(model, HashPartitionsDefinitionModel):
            return hash_partitions(model.count)
        if isinstance(model, RangePartitionsDefinitionModel):
            return range_partitions(model.bounds)
    except SpecError as error:
        raise error_at(context, str(error)) from None
    return resolve_partitions_def(context, model)


@dg.scaffold_with(SyncScaffolder)
@dataclass
class CustomerIOSync(dg.Component, dg.Resolvable):
    """One sync: the rows of a query become people, devices, events, ... in Customer.io.

    The asset is called as the folder of the YAML file, unless `translation` gives it another key. A subclass may override `get_asset_spec`
    to describe many syncs by one rule.
    """

    sql: Annotated[
        str,
        dg.Resolver(
            _resolve_sql,
            inject_before_resolve=False,
            description="The query: a file beside the YAML, if it ends in .sql, else SQL. A partitioned sync may use $partition_start and "
            "$partition_end (time windows), $partition_key and $partition_keys in it.",
            examples=["people.sql", "select * from customers"],
        ),
    ]
    spec: Annotated[
        Any,  # AnySpec; Dagster would look into the models of that, and takes no constrained numbers
        dg.Resolver(
            _resolve_spec,
            model_field_type=Annotated[dict[str, Any], _SpecSchema()],
            description="What the rows become: `object`, and the settings of that object.",
        ),
    ]
    translation: Annotated[
        Annotated[
            TranslationFn[CustomerIOTranslatorData],
            TranslationFnResolver[CustomerIOTranslatorData](lambda data: {"data": data}),
        ]
        | None,
        dg.Resolver.default(description="How the asset is called and shown: key, group_name, deps, owners, tags, kinds, ..."),
    ] = None
    partitions_def: Annotated[
        dg.PartitionsDefinition[Any] | None,
        dg.Resolver(
            _resolve_partitions,
            model_field_type=HourlyPartitionsDefinitionModel
            | DailyPartitionsDefinitionModel
            | WeeklyPartitionsDefinitionModel
            | MonthlyPartitionsDefinitionModel
            | TimeWindowPartitionsDefinitionModel
            | StaticPartitionsDefinitionModel
            | HashPartitionsDefinitionModel
            | RangePartitionsDefinitionModel,
            description="How the sync is partitioned. Others by template: {{ dg.DailyPartitionsDefinition('2026-01-01', end_offset=1) }}.",
        ),
    ] = None
    partition_expr: Annotated[
        str | Mapping[str, str] | None,
        dg.Resolver.default(
            description="The column that says which partition a row belongs to, for runs over several partitions, and by sync key."
        ),
    ] = None
    backfill_policy: Annotated[
        dg.BackfillPolicy | None,
        dg.Resolver(
            resolve_backfill_policy,
            model_field_type=SingleRunBackfillPolicyModel | MultiRunBackfillPolicyModel,
            description="Whether a backfill is one run, which needs partition_expr, or many.",
        ),
    ] = None
    schedule: Annotated[
        str | None,
        dg.Resolver.default(
            description="When to run, in cron's words; in UTC, or in the time zone of the partitions. A run of time windows is of the last "
            "complete one, of other partitions of each of them.",
            examples=["0 * * * *", "@daily"],
        ),
    ] = None
    checks: Annotated[
        bool,
        dg.Resolver.default(description="Whether each run is followed by the checks of build_customerio_checks."),
    ] = True
    pool: Annotated[
        str | None, dg.Resolver.default(description="The concurrency pool, whose slots share the workspace's rate budget.")
    ] = POOL
    io_manager_key: Annotated[
        str, dg.Resolver.default(description="The resource key of the workspace's CustomerIOConnection.")
    ] = IO_MANAGER_KEY
    warehouse_key: Annotated[str, dg.Resolver.default(description="The resource key of the WarehouseConnection.")] = (
        WAREHOUSE_KEY
    )

    @classmethod
    def model(cls) -> type[BaseModel]:
        """What the YAML holds."""
        model = super().model()
        return with_schema(model, lambda: model_schema(model))

    def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
        """The asset, before `translation`; to be overridden in subclasses, as of a CustomerIOTranslator."""
        return CustomerIOTranslator().get_asset_spec(data)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset, with its checks and its schedule."""
        asset = self._asset(Path(context.path).stem)
        return dg.Definitions(
            assets=[asset],
            asset_checks=build_customerio_checks([asset]) if self.checks else [],
            schedules=[_schedule(asset, self.schedule)] if self.schedule else [],
        )

    def _asset(self, name: str) -> dg.AssetsDefinition:
        @customerio_asset(
            self.spec,
            name=name,
            partitions_def=self.partitions_def,
            partition_expr=self.partition_expr,
            backfill_policy=self.backfill_policy,
            pool=self.pool,
            io_manager_key=self.io_manager_key,
            translator=_Translator(self),
            required_resource_keys={self.warehouse_key},
        )
        def sync(context: dg.AssetExecutionContext) -> pl.LazyFrame:
            warehouse: Warehouse = getattr(context.resources, self.warehouse_key)
            partitions = context.assets_def.partitions_def
            where = partition_predicate(context) if slices(partitions) else None
            return warehouse.query(self.sql, where=where, **(partition_parameters(context) if partitions is not None else {}))

        return sync


class _Translator(CustomerIOTranslator):
    """What the component says, its own method first."""

    def __init__(self, component: CustomerIOSync) -> None:
        self.component = component

    def get_asset_spec(self, data: CustomerIOTranslatorData) -> dg.AssetSpec:
        asset_spec = self.component.get_asset_spec(data)
        translation = self.component.translation
        return asset_spec if translation is None else translation(asset_spec, data)


def _schedule(asset: dg.AssetsDefinition, cron_schedule: str) -> dg.ScheduleDefinition:
    name, partitions = f"{'__'.join(asset.key.path)}_schedule", asset.partitions_def
    if partitions is None:
        return dg.ScheduleDefinition(name=name, target=asset, cron_schedule=cron_schedule)
    windows = partitions if isinstance(partitions, dg.TimeWindowPartitionsDefinition) else None

    @dg.schedule(name=name, target=asset, cron_schedule=cron_schedule, execution_timezone=windows.timezone if windows else None)
    def schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        keys = partitions.get_partition_keys(context.scheduled_execution_time, dynamic_partitions_store=context.instance)
        asked = keys[-1:] if windows else keys
        requests = [dg.RunRequest(f"{context.scheduled_execution_time}/{key}", partition_key=key) for key in asked]
        return requests or dg.SkipReason("There is no partition yet.")

    return schedule
