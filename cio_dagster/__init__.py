"""Warehouse tables as Customer.io people, devices, events, collections, segments, objects and relationships: Dagster assets."""

from cio_dagster.alerts import Alert, AlertError, Webhook, build_customerio_alerts
from cio_dagster.asset import SyncConfig, customerio_asset
from cio_dagster.checks import Freshness, Look, build_customerio_checks
from cio_dagster.components import CustomerIOConnection, CustomerIOSync, WarehouseConnection
from cio_dagster.errors import (
    CredentialsRefused,
    DeliveryError,
    DryRunOnly,
    GuardError,
    LockedError,
    PlanChanged,
    RegionMismatch,
    RequestRefused,
    SpecError,
    StateError,
    SyncError,
    TooManyRejected,
    Unavailable,
)
from cio_dagster.incremental import Incremental, incremental_parameters
from cio_dagster.io_manager import CustomerIOIOManager
from cio_dagster.jobs import build_customerio_plan_jobs
from cio_dagster.partitions import partition_parameters
from cio_dagster.resource import CustomerIO
from cio_dagster.sensor import build_warehouse_sensor
from cio_dagster.specs import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.state import outcomes
from cio_dagster.translator import CustomerIOTranslator, CustomerIOTranslatorData
from cio_dagster.warehouse import Warehouse, WarehouseError

__all__ = [
    "Alert",
    "AlertError",
    "Collection",
    "Constant",
    "CredentialsRefused",
    "CustomerIO",
    "CustomerIOConnection",
    "CustomerIOIOManager",
    "CustomerIOSync",
    "CustomerIOTranslator",
    "CustomerIOTranslatorData",
    "DeliveryError",
    "Device",
    "DryRunOnly",
    "Event",
    "Freshness",
    "GuardError",
    "Incremental",
    "LockedError",
    "Look",
    "ManualSegment",
    "Object",
    "Person",
    "PlanChanged",
    "RegionMismatch",
    "Relationship",
    "RequestRefused",
    "SpecError",
    "StateError",
    "SyncConfig",
    "SyncError",
    "TooManyRejected",
    "Unavailable",
    "Warehouse",
    "WarehouseConnection",
    "WarehouseError",
    "Webhook",
    "build_customerio_alerts",
    "build_customerio_checks",
    "build_customerio_plan_jobs",
    "build_warehouse_sensor",
    "customerio_asset",
    "incremental_parameters",
    "outcomes",
    "partition_parameters",
]
