"""A sensor that watches the warehouse: which tables have changed since the last look, and so which syncs and partitions are to be run.

The cursor holds what each sync was last asked to run for, by table. So a sync that could not be asked to run, because a query failed or
because the people it is about are not there yet, is found changed by the next look too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timezone
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import dagster as dg

from cio_dagster.errors import SpecError, SyncError
from cio_dagster.warehouse import Warehouse

ChangedPartitions: TypeAlias = "str | Callable[[Any, Any], Iterable[Any]]"

ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
RUN_KEY_TAG = "dagster/run_key"


def build_warehouse_sensor(
    assets: Iterable[Any],
    watermarks: Mapping[Any, str],
    *,
    partitions: Mapping[Any, ChangedPartitions] | None = None,
    name: str = "warehouse_changes",
    warehouse: str = "warehouse",
    minimum_interval_seconds: int = 60,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
    first_look: Literal["remember", "request"] = "remember",
) -> dg.SensorDefinition:
    """A sensor that runs the syncs of those warehouse tables that have changed, and no others.

        build_warehouse_sensor(
            [people, orders],
            {"customers": "select max(updated_at), count(*) from customers", "orders": "select max(loaded_at) from orders"},
            partitions={orders: "select distinct ordered_at::date from orders where loaded_at > $since and loaded_at <= $until"},
        )

    assets
        The syncs to watch for. Without partitions, those that are to run do so in one run, in the order of their dependencies.
    watermarks
        Table (the asset or key of an upstream asset, or of a sync itself) to a query, or the name of a SQL file, whose one row is another one when the
        table has changed. Several columns are fine. It is run at every look, so it should be cheap.
    partitions
        Partitioned sync to what tells its changed partitions: a query of one column, or a function of the table's watermark before and now (the first
        column). The query gets these as $since and $until. It gives partition keys, or times and dates, which stand for their time
        window. New keys of dynamic partitions are added, unknown ones of others are left out.
    warehouse
        The resource that runs the queries.
    first_look
        `remember` (the default): what is found where the cursor does not know a table yet, at the first look or as the cursor was lost, counts as
        known. `request`: it counts as changed; `since` is None then.

    A partitioned sync whose upstream syncs are to run as well is asked to run by the first look after that run has ended, however it ended: so
    people are there before what is about them. A query that fails is logged, and leaves its syncs to the next look;
    where all fail, so does the look. The same change never asks for two runs: the run key is made of the cursor and of the watermarks.
    Raises SpecError for a table that none of the assets depends on, and for a partitioned asset whose partitions nothing tells.
    """
    watched = _Watched.of(assets, watermarks, partitions or {})

    @dg.sensor(
        name=name,
        target=list(dict.fromkeys(watched.assets.values())),
        required_resource_keys={warehouse},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Runs the syncs of the tables that changed: {', '.join(sorted(map(_name, watched.queries)))}.",
    )
    def warehouse_sensor(context: dg.SensorEvaluationContext, **_resources: Any) -> dg.SensorResult:
        # Called directly, as in tests, Dagster gives the resources as arguments too.
        return _Look(watched, getattr(context.resources, warehouse), context, known_first=first_look == "remember").result()

    return warehouse_sensor


@dataclass(frozen=True)
class _Watched:
    """What is watched: assets by key, the query of each table, and what tells the changed partitions of an asset."""

    assets: dict[dg.AssetKey, dg.AssetsDefinition]
    queries: dict[dg.AssetKey, str]
    partitions: dict[dg.AssetKey, ChangedPartitions]

    @classmethod
    def of(cls, assets: Iterable[Any], watermarks: Mapping[Any, str], partitions: Mapping[Any, ChangedPartitions]) -> _Watched:
        found = {key: asset for asset in assets if isinstance(asset, dg.AssetsDefinition) for key in asset.keys}
        watched = cls(found, _by_key(watermarks), _by_key(partitions))
        upstream = {key for asset in found for key in watched.tables_of(asset)}
        if strangers := sorted(map(_name, watched.queries.keys() - upstream)):
            known = sorted({_name(key) for asset in found.values() for key in {*asset.keys, *asset.dependency_keys}})
            raise SpecError(
                f"watermarks names {', '.join(strangers)}, which none of the assets depends on; they do on {', '.join(known)}."
            )
        if strangers := sorted(map(_name, watched.partitions.keys() - found.keys())):
            raise SpecError(f"partitions names {', '.join(strangers)}, which are not among the assets.")
        for key, asset in found.items():
            if (asset.partitions_def is not None) != (key in watched.partitions) and watched.tables_of(key):
                has = (
                    "has partitions: say in partitions="
                    if asset.partitions_def
                    else "has no partitions, so nothing can tell in partitions="
                )
                raise SpecError(f"{_name(key)} {has} which of them have changed.")
        return watched

    def tables_of(self, asset: dg.AssetKey) -> list[dg.AssetKey]:
        """The watched tables that an asset is made from."""
        own = {asset, *self.assets[asset].asset_deps.get(asset, ())}
        return [table for table in self.queries if table in own]

    def upstream_of(self, asset: dg.AssetKey) -> set[dg.AssetKey]:
        """The other assets that an asset depends on, directly or not."""
        found: set[dg.AssetKey] = set()
        todo = [asset]
        while todo:
            new = {key for key in self.assets[todo.pop()].dependency_keys if key in self.assets} - found
            found |= new
            todo += new
        return found - {asset}


@dataclass
class _Cursor:
    """What is known from one look to the next. `seen`: asset to table to watermark, as text; `held`: asset to the key of the run that it waits for."""

    at: str = ""
    seen: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> _Cursor:
        try:
            return cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError) as error:
            raise SpecError(
                f"The sensor's cursor is none that it wrote ({error}): reset it, in the UI or by `dagster sensor cursor`."
            ) from error


class _Look:
    """One evaluation of the sensor."""

    def __init__(
        self, watched: _Watched, warehouse: Warehouse, context: dg.SensorEvaluationContext, *, known_first: bool
    ) -> None:
        self.watched, self.warehouse, self.context, self.known_first = watched, warehouse, context, known_first
        self.before, self.cursor = _Cursor.read(context.cursor), _Cursor.read(context.cursor)
        self.failures: list[str] = []
        self.requests: list[dg.RunRequest] = []
        self.new_partitions: dict[str, tuple[dg.DynamicPartitionsDefinition, set[str]]] = {}

    def result(self) -> dg.SensorResult:
        now = self._watermarks()
        changed = {asset: tables for asset in self.watched.assets if (tables := self._changed(asset, now))}
        whole = sorted(asset for asset in changed if asset not in self.watched.partitions)
        run_key = self._run_key(whole, changed, now)
        if whole:
            self.requests.append(dg.RunRequest(run_key=run_key, asset_selection=whole))
            for asset in whole:
                self._remember(asset, changed[asset], now)
        for asset in sorted(changed.keys() - set(whole)):
            if not self._held(asset, run_key if self.watched.upstream_of(asset) & set(whole) else None):
                self._request_partitions(asset, changed[asset], now)
        if self.cursor != self.before:
            self.cursor.at = datetime.now(timezone.utc).isoformat()
        return dg.SensorResult(
            run_requests=self.requests,
            skip_reason=None if self.requests else self._why_nothing(),
            cursor=json.dumps(asdict(self.cursor)),
            dynamic_partitions_requests=[each.build_add_request(sorted(keys)) for each, keys in self.new_partitions.values()],
        )

    def _watermarks(self) -> dict[dg.AssetKey, tuple[Any, ...]]:
        """Each table's watermark; of those whose query does not fail."""
        found: dict[dg.AssetKey, tuple[Any, ...]] = {}
        for table, sql in self.watched.queries.items():
            try:
                rows = self.warehouse.query(sql).collect().rows()
                if len(rows) != 1:
                    raise SpecError(f"A watermark query gives one row; {sql!r} gave {len(rows)}.")
                found[table] = rows[0]
            except SyncError as error:
                self._failed(table, error)
        if not found:
            raise SyncError(" ".join(self.failures))
        return found

    def _changed(self, asset: dg.AssetKey, now: Mapping[dg.AssetKey, tuple[Any, ...]]) -> list[dg.AssetKey]:
        """The tables of an asset whose watermark is another one than it was last asked to run for."""
        seen = self.before.seen.get(_name(asset), {})
        tables = [table for table in self.watched.tables_of(asset) if table in now]
        if self.known_first:
            self._remember(asset, [table for table in tables if _name(table) not in seen], now)
            tables = [table for table in tables if _name(table) in seen]
        return [table for table in tables if seen.get(_name(table)) != _texts(now[table])]

    def _remember(self, asset: dg.AssetKey, tables: list[dg.AssetKey], now: Mapping[dg.AssetKey, tuple[Any, ...]]) -> None:
        if tables:
            self.cursor.seen.setdefault(_name(asset), {}).update({_name(table): _texts(now[table]) for table in tables})

    def _held(self, asset: dg.AssetKey, upstream_run: str | None) -> bool:
        """Whether an asset is to wait for a run of what is upstream: the one asked for by this look, or by the look that began the waiting."""
        if waits_for := self.before.held.get(_name(asset)):
            runs = self.context.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: waits_for}))
            if any(run.status not in ENDED for run in runs):
                return True
            del self.cursor.held[_name(asset)]
            return False
        if upstream_run is not None:
            self.cursor.held[_name(asset)] = upstream_run
        return upstream_run is not None

    def _request_partitions(
        self, asset: dg.AssetKey, tables: list[dg.AssetKey], now: Mapping[dg.AssetKey, tuple[Any, ...]]
    ) -> None:
        try:
            keys = sorted({key for table in tables for key in self._partitions(asset, table, now[table])})
        except SyncError as error:
            self._failed(asset, error)
            return
        run_key = self._run_key([asset], {asset: tables}, now)
        self.requests += [dg.RunRequest(run_key=f"{run_key} {key}", asset_selection=[asset], partition_key=key) for key in keys]
        self._remember(asset, tables, now)

    def _partitions(self, asset: dg.AssetKey, table: dg.AssetKey, now: tuple[Any, ...]) -> Iterable[str]:
        """The partitions of an asset that changed with a table."""
        seen = self.before.seen.get(_name(asset), {}).get(_name(table))
        until, since = now[0], None if seen is None else _as(seen[0], now[0])
        tell = self.watched.partitions[asset]
        if callable(tell):
            values = list(tell(since, until))
        else:
            frame = self.warehouse.query(tell, since=since, until=until).collect()
            if frame.width != 1:
                raise SpecError(f"A query for changed partitions gives one column; {tell!r} gave {frame.columns}.")
            values = frame.to_series().drop_nulls().to_list()
        definition: Any = self.watched.assets[asset].partitions_def
        keys = {_partition_key(definition, value) for value in values}
        if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name:
            there = set(self.context.instance.get_dynamic_partitions(definition.name))
            if keys - there:
                self.new_partitions.setdefault(definition.name, (definition, set()))[1].update(keys - there)
            return keys
        there = set(definition.get_partition_keys(dynamic_partitions_store=self.context.instance))
        if strangers := sorted(keys - there):
            self.context.log.warning(
                f"{_name(asset)}: {len(strangers):,} changed partitions are not among the asset's, such as {strangers[0]}: left out."
            )
        return keys & there

    def _run_key(
        self,
        assets: list[dg.AssetKey],
        tables: Mapping[dg.AssetKey, list[dg.AssetKey]],
        now: Mapping[dg.AssetKey, tuple[Any, ...]],
    ) -> str:
        """The same for the same change, and never for another one: it holds when the cursor was last written."""
        change = {_name(asset): {_name(table): _texts(now[table]) for table in tables[asset]} for asset in assets}
        digest = hashlib.sha256(json.dumps(change, sort_keys=True).encode()).hexdigest()[:16]
        names = sorted({_name(table) for asset in assets for table in tables[asset]})
        return f"{', '.join(names)} since {self.before.at or 'the beginning'} ({digest})"

    def _failed(self, key: dg.AssetKey, error: SyncError) -> None:
        self.failures.append(f"{_name(key)} could not be asked for changes: {error}")
        self.context.log.error(self.failures[-1])

    def _why_nothing(self) -> str:
        if not self.before.at:
            said = "This is the first look: what is there now counts as known."
        elif self.cursor.held:
            said = f"Waiting for the run of what is upstream: {', '.join(sorted(self.cursor.held))}."
        else:
            said = "No table has changed since the last look."
        return " ".join([said, *self.failures])


def _by_key(given: Mapping[Any, Any]) -> dict[dg.AssetKey, Any]:
    return {dg.AssetKey.from_coercible_or_definition(key): value for key, value in given.items()}


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()


def _texts(watermark: tuple[Any, ...]) -> list[str]:
    return [value.isoformat() if isinstance(value, date) else str(value) for value in watermark]


def _as(text: str, like: Any) -> Any:
    """A watermark's text as the value that it was, which is of the type that the table's watermark has now."""
    if text == "None" or like is None:
        return None
    try:
        return type(like).fromisoformat(text) if isinstance(like, date) else type(like)(text)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise SpecError(
            f"The watermark was {text!r}, and is of type {type(like).__name__} now. If its query is another one, reset the sensor's cursor."
        ) from error


def _partition_key(definition: Any, value: Any) -> str:
    """The key of the partition that a value stands for: itself, or the time window that a time or date is in."""
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition) or not isinstance(value, date):
        return str(value)
    if not isinstance(value, datetime):
        value = datetime.combine(value, time.min, ZoneInfo(definition.timezone))
    elif value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return str(definition.get_partition_key_for_timestamp(value.timestamp()))
