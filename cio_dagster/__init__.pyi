from .alerts import Alert, AlertError, Webhook, build_customerio_alerts
from .asset import SyncConfig, customerio_asset
from .checks import Freshness, Look, build_customerio_checks
from .components import CustomerIOConnection, CustomerIOSync, WarehouseConnection
from .errors import (
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
    StateUnavailable,
    SyncError,
    TooManyRejected,
    Unavailable,
)
from .incremental import Incremental, incremental_parameters
from .io_manager import CustomerIOIOManager
from .jobs import build_customerio_plan_jobs
from .key_partitions import hash_partitions, range_partitions
from .partitions import partition_parameters, partition_predicate
from .resource import CustomerIO
from .sensor import build_warehouse_sensor
from .specs import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from .state import outcomes
from .translator import CustomerIOTranslator, CustomerIOTranslatorData
from .warehouse import Warehouse, WarehouseError

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
    "StateUnavailable",
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
    "hash_partitions",
    "incremental_parameters",
    "outcomes",
    "partition_parameters",
    "partition_predicate",
    "range_partitions",
]
