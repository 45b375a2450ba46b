"""Requests as other connectors make them, in ``payload_cases.json``: sent to the sandbox, which must take them or not as said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .judge import Court
from .wire import NOTHING, Call, Wire

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("payload_cases.json").read_text())["cases"]
OBJECTS = {"person", "device", "event", "object", "relationship", "segment", "collection", "delivery"}


def test_names_are_unique_and_objects_known() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert {case["object"] for case in CASES} == OBJECTS
    assert all(case.get("deviation") for case in CASES if not case["keeps_contract"])


def as_call(request: dict[str, Any], ids: dict[str, str]) -> Call:
    """A request of a case with the ids that the sandbox gave."""
    text = json.dumps(request)
    for name, value in ids.items():
        text = text.replace("{" + name + "}", value)
    filled = json.loads(text)
    return Call(filled["method"], filled["path"], filled.get("body", NOTHING))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_sandbox_treats_it_as_said(
    case: dict[str, Any], sandbox: RunningSandbox, track: Court, app: Court, wire: Wire
) -> None:
    sandbox.post("segments", {"name": "vip", "type": "manual"})
    ids = known_ids(sandbox)
    for request in case.get("setup", ()):
        assert wire.send(as_call(request, ids)).status == 200, request
        ids = known_ids(sandbox)
    call = as_call(case["request"], ids)
    court = app if call.path.startswith("/v1/") else track
    faults = court.judge.faults_of_request(call)
    assert bool(faults) != case["keeps_contract"], faults
    answer = court.send(call, case["answer"]["status"])
    indexes = case["answer"].get("batch_indexes")
    assert indexes is None or [error["batch_index"] for error in answer.json["errors"]] == indexes
    for name, expected in case["held"].items():
        held = sandbox.get(name)
        assert matches(held, expected), held


def known_ids(sandbox: RunningSandbox) -> dict[str, str]:
    """What stands for the names in braces, of what the sandbox holds so far."""
    ids = {"segment": str(sandbox.get("segments")[0]["id"])}
    for person in sandbox.get("people"):
        if person["id"] == "42":
            ids["cio_id"] = person["cio_id"]
    for collection in sandbox.get("collections"):
        ids["collection"] = str(collection["id"])
    return ids


def matches(held: Any, expected: Any) -> bool:
    """Whether all that is expected is there; keys that are not named may be too."""
    if isinstance(expected, dict):
        return isinstance(held, dict) and all(name in held and matches(held[name], each) for name, each in expected.items())
    if isinstance(expected, list):
        return isinstance(held, list) and len(held) == len(expected) and all(map(matches, held, expected))
    return type(held) is type(expected) and bool(held == expected)
