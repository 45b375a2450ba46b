"""The JSON schema, by which editors and `dg check yaml` judge: made from the specs, and as strict as they are."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from dagster.components.list.list import list_all_components_schema
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from cio_dagster import CustomerIO, CustomerIOConnection, CustomerIOIOManager, CustomerIOSync, Warehouse, WarehouseConnection
from cio_dagster.components.schema import spec_schema
from cio_dagster.specs import AnySpec, read_spec

SPEC = Draft202012Validator(spec_schema())

VALID: list[dict[str, Any]] = [
    {"object": "person", "attributes": None, "max_new_people": 5, "max_changed": 0.5},
    {"object": "person", "dates": {"born": "iso"}, "nulls": "clear", "identity_checks": {"shared_email": "send"}},
    {"object": "event", "row_id": "a", "name": "b", "start": "now"},
    {"object": "event", "row_id": "a", "name": "b", "timestamp": "c", "start": "2026-01-01T00:00:00Z"},
    {"object": "segment", "id": 3},
    {"object": "object", "object_type_id": 1, "attributes": {"a": "b", "c": {"value": 1.5}}},
]
WRONG: list[dict[str, Any]] = [
    {},
    {"object": "people"},
    {"object": "person", "key": "name"},
    {"object": "person", "token": "a"},
    {"object": "person", "dates": "short"},
    {"object": "person", "dates": {"born": "short"}},
    {"object": "person", "max_changed": -1},
    {"object": "person", "attributes": {"a": 1}},
    {"object": "person", "delete_people": "maybe"},
    {"object": "event", "name": "b"},
    {"object": "object", "object_type_id": 0},
    {"object": "segment", "name": "a", "attributes": {"b": "c"}},
]


@pytest.mark.parametrize("written", VALID, ids=str)
def test_it_takes_what_the_specs_take(written: dict[str, Any]) -> None:
    read_spec(written)
    assert [error.message for error in SPEC.iter_errors(written)] == []


@pytest.mark.parametrize("written", WRONG, ids=str)
def test_it_refuses_what_the_specs_refuse_and_never_says_only_that_nothing_matched(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read_spec(written)
    messages = [error.message for error in SPEC.iter_errors(written)]
    assert messages
    assert not [message for message in messages if "under any of the given schemas" in message]


def test_a_number_may_be_a_template() -> None:
    assert SPEC.is_valid({"object": "object", "object_type_id": "{{ env.ACCOUNTS_TYPE }}"})
    assert not SPEC.is_valid({"object": "object", "object_type_id": "accounts"})


def test_it_has_every_setting_with_the_words_of_its_docstring() -> None:
    by_object = {each["if"]["properties"]["object"]["const"]: each["then"] for each in spec_schema()["allOf"]}
    for spec in typing.get_args(AnySpec):
        settings = by_object[spec.model_fields["object"].default]["properties"]
        assert list(settings) == list(spec.model_fields)
        described = [name for name, setting in settings.items() if setting.get("description")]
        assert set(settings) - set(described) <= {"object", "behavior", "delete_people"}, spec


def test_connections_have_the_settings_of_their_resources() -> None:
    schema = CustomerIOConnection.get_model_cls().model_json_schema()
    assert set(schema["properties"]) == {*CustomerIO.model_fields, *CustomerIOIOManager.model_fields, "io_manager_key"} - {
        "customerio"
    }
    assert all(setting.get("description") for setting in schema["properties"].values())
    assert schema["required"] == ["site_id", "track_api_key", "state"]
    schema = WarehouseConnection.get_model_cls().model_json_schema()
    assert set(schema["properties"]) == {*Warehouse.model_fields, "warehouse_key"}


def test_no_schema_has_unions_or_references() -> None:
    for component in (CustomerIOSync, CustomerIOConnection, WarehouseConnection):
        schema = component.get_model_cls().model_json_schema()
        Draft202012Validator.check_schema(schema)
        assert not {"anyOf", "oneOf", "$ref"} & _keywords(schema)
        assert all(setting.get("description") for setting in schema["properties"].values())


def test_editors_judge_whole_files_by_it() -> None:
    editors = Draft202012Validator(list_all_components_schema(entry_points=True, extra_modules=()))
    file = {"type": "cio_dagster.CustomerIOSync", "attributes": {"sql": "people.sql", "spec": {"object": "person"}}}
    assert editors.is_valid(file)
    assert not editors.is_valid(file | {"attributes": {"sql": "people.sql", "spec": {"object": "people"}}})
    assert not editors.is_valid({"type": "cio_dagster.WarehouseConnection", "attributes": {"uri": "duckdb://"}})


def _keywords(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return {*schema, *(word for each in schema.values() for word in _keywords(each))}
    return {word for each in schema for word in _keywords(each)} if isinstance(schema, list) else set()
