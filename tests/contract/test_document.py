"""The contract itself: it is the published one, and each patch does what it says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from . import openapi
from .examples import every_example, filled
from .judge import Judge
from .wire import Call

OPERATIONS = 18


def test_the_file_is_the_published_one() -> None:
    assert len(list(openapi.operations(openapi.published()))) == OPERATIONS


def test_a_changed_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        openapi.published()


def test_the_corrected_document_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(openapi.corrected()).iter_errors()] == []


@pytest.mark.parametrize("patch", openapi.PATCHES, ids=lambda patch: patch.__name__)
def test_every_patch_changes_something_and_gives_its_reason(patch: openapi.Patch) -> None:
    before = openapi.published()
    after = copy.deepcopy(before)
    patch(after)
    assert after != before
    assert patch.__doc__


def test_the_published_schemas_refuse_customer_ios_own_examples() -> None:
    """Why the corrections exist; if this fails, a newer document may need fewer of them."""
    document = openapi.published()
    openapi.one_server(document)
    judge = Judge(document)
    refused = [
        (method, path)
        for method, path, body in every_example(document)
        if judge.faults_of_request(Call(method.upper(), filled(path), body))
    ]
    assert set(refused) == {
        ("put", "/api/v1/customers/{identifier}"),
        ("delete", "/api/v1/customers/{identifier}"),
        ("put", "/api/v1/customers/{identifier}/devices"),
        ("delete", "/api/v1/customers/{identifier}/devices/{device_id}"),
        ("post", "/api/v1/customers/{identifier}/suppress"),
        ("post", "/api/v1/customers/{identifier}/unsuppress"),
        ("post", "/api/v1/customers/{identifier}/events"),
        ("post", "/api/v1/events"),
        ("post", "/api/v1/forms/{form_id}/submit"),
        ("post", "/api/v1/merge_customers"),
        ("post", "/api/v1/metrics"),
        ("post", "/api/v2/entity"),
        ("post", "/api/v2/batch"),
    }


def test_every_operation_has_an_example() -> None:
    document = openapi.corrected()
    with_one = {(method, path) for method, path, _ in every_example(document)}
    assert with_one == {(method, path) for method, path, _ in openapi.operations(document)}


PERSON = {"type": "person", "identifiers": {"id": "1"}}
OBJECT = {"type": "object", "identifiers": {"object_type_id": "1", "object_id": "acme"}}
WRONG: dict[str, dict[str, Any]] = {
    "two identifiers": {**PERSON, "action": "identify", "identifiers": {"id": "1", "email": "a@example.com"}},
    "no identifiers": {"type": "person", "action": "identify"},
    "unknown type": {**PERSON, "type": "people", "action": "identify"},
    "unknown action": {**PERSON, "action": "destroy"},
    "a person's action on an object": {**OBJECT, "action": "suppress"},
    "integer object_type_id": {**OBJECT, "action": "identify", "identifiers": {"object_type_id": 1, "object_id": "acme"}},
    "object_type_id that is no integer": {
        **OBJECT,
        "action": "identify",
        "identifiers": {"object_type_id": "one", "object_id": "acme"},
    },
    "an object without identifiers": {"type": "object", "action": "delete"},
    "a device attribute that is no string": {
        **PERSON,
        "action": "add_device",
        "device": {"token": "t", "platform": "ios", "attributes": {"build": 7}},
    },
    "a device of an unknown platform": {**PERSON, "action": "add_device", "device": {"token": "t", "platform": "web"}},
    "a device with an id": {**PERSON, "action": "add_device", "device": {"id": "t", "platform": "ios"}},
    "an event without a name": {**PERSON, "action": "event"},
    "a timestamp in text": {**PERSON, "action": "event", "name": "n", "timestamp": "2026-01-01T00:00:00Z"},
    "v1 relationships in v2": {
        **PERSON,
        "action": "add_relationships",
        "cio_relationships": {"action": "add_relationships", "relationships": []},
    },
    "a related person by phone": {
        **OBJECT,
        "action": "add_relationships",
        "cio_relationships": [{"identifiers": {"phone": "+14155552671"}}],
    },
    "a merge of two identifiers": {
        "type": "person",
        "action": "merge",
        "primary": {"id": "1", "email": "a@example.com"},
        "secondary": {"id": "2"},
    },
    "a delivery without a device": {
        "type": "delivery",
        "action": "event",
        "identifiers": {"id": "d"},
        "name": "opened",
        "attributes": {},
    },
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_the_corrected_schemas_still_refuse(wrong: dict[str, Any], track_judge: Judge) -> None:
    """The corrections open nothing that should be shut: alone and in a batch."""
    assert track_judge.faults_of_request(Call("POST", "/api/v2/entity", wrong))
    assert track_judge.faults_of_request(Call("POST", "/api/v2/batch", {"batch": [wrong]}))


@pytest.mark.parametrize("count", [0, 1001])
def test_segments_take_1_to_1000_ids(count: int, track_judge: Judge) -> None:
    for action in ("add_customers", "remove_customers"):
        call = Call("POST", f"/api/v1/segments/1/{action}", {"ids": [str(n) for n in range(count)]})
        assert track_judge.faults_of_request(call)
