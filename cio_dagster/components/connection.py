"""The components of the resources that syncs need: a warehouse, and a Customer.io workspace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from cio_dagster.asset import IO_MANAGER_KEY
from cio_dagster.components.resolve import error_at, invalid_at, resolve_templates
from cio_dagster.components.scaffold import CustomerIOConnectionScaffolder, WarehouseConnectionScaffolder
from cio_dagster.components.schema import Schema, described, model_schema, with_schema
from cio_dagster.io_manager import CustomerIOIOManager
from cio_dagster.resource import CustomerIO
from cio_dagster.warehouse import Warehouse

WAREHOUSE_KEY = "warehouse"

VARIABLE = re.compile(r"""\{\{\s*env(?:\.(\w+)|\(\s*['"](\w+)['"]\s*\))\s*\}\}""")
"""A template that is one variable of the environment, and nothing else."""


Resource = TypeVar("Resource", bound=BaseModel)


class _Settings(BaseModel):
    """Settings as they are in the YAML: the resources judge them, once their templates are resolved."""

    model_config = ConfigDict(extra="allow")


@dg.scaffold_with(WarehouseConnectionScaffolder)
@dataclass
class WarehouseConnection(dg.Component):
    """A warehouse that syncs read from. Its settings are those of the resource `Warehouse`."""

    warehouse: Warehouse
    warehouse_key: str = WAREHOUSE_KEY

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The settings of `Warehouse`, and `warehouse_key`."""
        return with_schema(_Settings, lambda: _schema(Warehouse, key="warehouse_key", default=WAREHOUSE_KEY))

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component of a YAML file. Raises ResolutionException for settings that `Warehouse` does not take."""
        at = context.resolution_context.at_path("attributes")
        settings = _resolved(at, attributes, Warehouse)
        key = settings.pop("warehouse_key", WAREHOUSE_KEY)
        return cls(_made(at, Warehouse, settings), key)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The resource."""
        return dg.Definitions(resources={self.warehouse_key: self.warehouse})


@dg.scaffold_with(CustomerIOConnectionScaffolder)
@dataclass
class CustomerIOConnection(dg.Component):
    """A Customer.io workspace that syncs write to. Its settings are those of the resource `CustomerIO` and of `CustomerIOIOManager`."""

    io_manager: CustomerIOIOManager
    io_manager_key: str = IO_MANAGER_KEY

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The settings of `CustomerIO` and `CustomerIOIOManager`, and `io_manager_key`."""
        return with_schema(
            _Settings, lambda: _schema(CustomerIO, CustomerIOIOManager, key="io_manager_key", default=IO_MANAGER_KEY)
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """The component of a YAML file. Raises ResolutionException for settings that the resources do not take."""
        at = context.resolution_context.at_path("attributes")
        settings = _resolved(at, attributes, CustomerIO, CustomerIOIOManager)
        key = settings.pop("io_manager_key", IO_MANAGER_KEY)
        of_manager = {name: settings.pop(name) for name in list(settings) if name in CustomerIOIOManager.model_fields}
        customerio = _made(at, CustomerIO, settings)
        return cls(_made(at, CustomerIOIOManager, {"customerio": customerio, **of_manager}), key)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The IO manager, with the workspace in it."""
        return dg.Definitions(resources={self.io_manager_key: self.io_manager})


def _schema(*resources: type[BaseModel], key: str, default: str) -> Schema:
    schemas = [described(model_schema(resource), resource) for resource in resources]
    properties = {name: setting for schema in schemas for name, setting in schema["properties"].items() if name != "customerio"}
    properties[key] = {
        "type": "string",
        "default": default,
        "description": "The resource key, which syncs name under the same setting.",
    }
    required = [name for schema in schemas for name in schema.get("required", []) if name != "customerio"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _resolved(at: dg.ResolutionContext, attributes: BaseModel | None, *resources: type[BaseModel]) -> dict[str, Any]:
    """The settings, with templates replaced; one that is a variable of the environment becomes an EnvVar, so that Dagster's UI shows its name."""
    secret = {name for resource in resources for name, field in resource.model_fields.items() if not field.repr}
    settings = attributes.model_dump() if attributes else {}
    for name, value in settings.items():
        here = at.at_path(name)
        variable = VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
        if variable and _takes_text(name, resources):
            settings[name] = dg.EnvVar(variable[1] or variable[2])
        elif name in secret and isinstance(value, str) and "{{" in value:
            raise error_at(
                here,
                f"it is a secret, which Dagster's UI would show: let it be one variable, as in {name}: '{{{{ env.NAME }}}}'",
            )
        else:
            settings[name] = resolve_templates(here, value)
    return settings


def _takes_text(name: str, resources: tuple[type[BaseModel], ...]) -> bool:
    return any(
        resource.model_fields[name].annotation in (str, str | None) for resource in resources if name in resource.model_fields
    )


def _made(at: dg.ResolutionContext, resource: type[Resource], settings: dict[str, Any]) -> Resource:
    # Dagster's resources let names pass that they do not know, and take a missing setting for None.
    for name in settings:
        if name not in resource.model_fields:
            raise error_at(at.at_path(name), f"there is no such setting; there are: {', '.join(resource.model_fields)}")
    for name, field in resource.model_fields.items():
        if field.is_required() and name not in settings:
            raise error_at(at, f"{name} is missing: {field.description or resource.__name__ + ' needs it'}")
    try:
        return resource(**settings)
    except ValidationError as error:
        raise invalid_at(at, error, settings) from None
