"""Every example of the contract is sent for real; request and answer are held to the contract."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from . import openapi
from .examples import every_example, filled
from .judge import Court
from .wire import Call, Wire, basic

EXAMPLES = list(every_example(openapi.corrected()))
OPERATIONS = list(dict.fromkeys((method, path) for method, path, _ in EXAMPLES))
OPEN = ("/unsubscribe/{delivery_id}", "/api/v1/metrics", "/api/v1/push/events")
"""The operations whose ``security`` is empty."""


def _named(value: object) -> str:
    if isinstance(value, dict):
        [first] = value.get("batch", [value])[:1]
        return "-".join(str(first[key]) for key in ("type", "action") if key in first)
    return str(value).strip("/").replace("/", ".") if isinstance(value, str) else ""


def _call(sandbox: RunningSandbox, method: str, path: str, body: Any) -> Call:
    """An example as a call; a segment's call is about a segment that exists."""
    segment = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"] if "segment_id" in path else 1
    return Call(method.upper(), filled(path, segment), body)


@pytest.mark.parametrize(("method", "path", "body"), EXAMPLES, ids=_named)
def test_the_contracts_own_examples_are_taken(method: str, path: str, body: Any, sandbox: RunningSandbox, track: Court) -> None:
    track.send_valid(_call(sandbox, method, path, body), 204 if path.startswith("/api/v1/forms/") else 200)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=_named)
def test_operations_ask_for_credentials_as_declared(
    method: str, path: str, sandbox: RunningSandbox, track: Court, wire: Wire
) -> None:
    body = next(body for m, p, body in EXAMPLES if (m, p) == (method, path))
    call = _call(sandbox, method, path, body)
    for wrong in ("", basic(key="wrong"), basic(site_id="wrong"), "Bearer app-key-1", "Basic ???"):
        asked = call.with_headers(Authorization=wrong)
        if path in OPEN:
            track.send(asked, 200)
        else:
            assert track.send(asked, 401).json == {"meta": {"error": "Unauthorized request"}}
    held = sandbox.get("people") + sandbox.get("devices") + sandbox.get("events") + sandbox.get("objects")
    assert held == []


@pytest.mark.parametrize("region", ["us", "eu"])
def test_the_region_call_names_the_regions_host(region: str, sandbox: RunningSandbox, track: Court) -> None:
    sandbox.settings(region=region, environment_id=31)
    host = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}[region]
    answer = track.send_valid(Call("GET", "/api/v1/accounts/region"))
    assert answer.json == {"url": host, "region": region, "environment_id": 31}


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=_named)
def test_bodies_that_are_no_json_objects_are_refused(method: str, path: str, sandbox: RunningSandbox, track: Court) -> None:
    takes_a_body = "requestBody" in openapi.corrected()["paths"][path][method]
    bodies: list[Any] = [b'{"half": ', [], "text", None]
    for body in bodies:
        call = _call(sandbox, method, path, body)
        if takes_a_body:
            track.send_invalid(call, 400)
        else:
            # Clients send {} or nothing where no body is declared, so it is not even read.
            track.send(call, 200)


def test_paths_that_do_not_exist_answer_a_page(wire: Wire) -> None:
    for call in (
        Call("GET", "/api/v1/nothing"),
        Call("GET", "/api/v1/customers/42"),
        Call("DELETE", "/api/v2/batch"),
        Call("GET", "/api/v3/batch"),
        Call("GET", "/v1/nothing"),
        Call("PUT", "/v1/segments"),
    ):
        answer = wire.send(call)
        assert (answer.status, answer.content_type) == (404, "text/html"), call
        assert answer.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_scripted_failures_keep_the_contract(status: int, sandbox: RunningSandbox, track: Court) -> None:
    sandbox.faults([{"path": "/api/v2/batch", "status": status, "headers": {"Retry-After": "3"}, "times": 1}])
    call = Call("POST", "/api/v2/batch", {"batch": [{"type": "person", "action": "identify", "identifiers": {"id": "1"}}]})
    assert track.send_valid(call, status).headers["Retry-After"] == "3"
    assert sandbox.get("people") == []
    track.send_valid(call)
    assert [person["id"] for person in sandbox.get("people")] == ["1"]
