"""Requests of other connectors and clients against ours for the same rows: what they say, and what the sandbox holds after them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import Object
from tests.contract.judge import Court, Judge
from tests.contract.test_payload_cases import CASES, as_call, known_ids
from tests.contract.wire import Call, Wire
from tests.plans import Planned, plan_of

from .counterparts import COUNTERPARTS, NO_COUNTERPART, Same, Sync
from .relay import Relay
from .same import ABSENT, differences, operations

HELD = ("people", "devices", "events", "segments", "objects", "relationships", "collections", "suppressed", "deliveries")
OF_THE_MOMENT = {"cio_id", "cio_object_id", "created_at", "updated_at", "received_at", "deduplicate_id"}
"""What the sandbox gives anew each time; it counts segments and collections, too."""

COMPARED = [case for case in CASES if case["name"] in COUNTERPARTS]


def test_every_case_is_compared_or_excused() -> None:
    names = {case["name"] for case in CASES}
    assert set(COUNTERPARTS) | set(NO_COUNTERPART) == names
    assert not set(COUNTERPARTS) & set(NO_COUNTERPART)
    assert all(NO_COUNTERPART.values())


def test_an_object_type_in_words_does_not_load() -> None:
    with pytest.raises(ValueError, match="object_type_id"):
        Object(object_type_id="company")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: case["name"])
def test_we_say_the_same(
    case: dict[str, Any], relay: Relay, sandbox: RunningSandbox, wire: Wire, track: Court, app: Court, tmp_path: Path
) -> None:
    counterpart = COUNTERPARTS[case["name"]]
    ids = prepare(case, sandbox, wire)
    theirs = as_call(case["request"], ids)
    answer = wire.send(theirs)
    they_hold = held(sandbox)

    sandbox.reset()
    # Ids may be others the second time.
    ids = prepare(case, sandbox, wire)
    theirs = as_call(case["request"], ids)
    rejected = [
        reason for number, sync in enumerate(counterpart.syncs) for reason in send(sync, ids, relay, tmp_path / str(number))
    ]
    assert rejected == list(counterpart.rejected)
    for call in relay.calls:
        check(call, case, track.judge, app.judge)

    ours = [each for call in relay.writes for each in operations(call)]
    found = differences(operations(theirs), ours)
    assert set(found) == set(counterpart.said), found
    assert bool(counterpart.refused) == (answer.status != 200 and not counterpart.rejected)
    if not counterpart.refused:
        found = differences(they_hold, held(sandbox))
        assert set(found) == set(counterpart.held), found


def prepare(case: dict[str, Any], sandbox: RunningSandbox, wire: Wire) -> dict[str, str]:
    """What is there before; return the ids in it."""
    sandbox.post("segments", {"name": "vip", "type": "manual"})
    ids = known_ids(sandbox)
    for request in case.get("setup", ()):
        assert wire.send(as_call(request, ids)).status == 200
        ids = known_ids(sandbox)
    return ids


def send(sync: Sync, ids: dict[str, str], relay: Relay, folder: Path) -> list[str]:
    """Plan and send a table of ours, of which everything that is planned must be accepted; return why rows are rejected."""
    snapshot = (
        Planned(plan_of(sync.frame_before, sync.spec, folder / "before")).snapshot(None, sync.spec) if sync.before else None
    )
    frame = sync.frame
    if "cio_id" in frame.columns:
        frame = frame.with_columns(cio_id=frame["cio_id"].str.replace("{cio_id}", ids["cio_id"], literal=True))
    plan = plan_of(frame, sync.spec, folder / "now", snapshot=snapshot, sequence=2 if sync.before else 1)
    outcomes = relay.deliver(plan, sync.spec)
    assert set(outcomes["_outcome"]) <= {"accepted"}
    return list(Planned(plan).reasons().values())


def check(call: Call, case: dict[str, Any], track: Judge, app: Judge) -> None:
    """Ours keep the contract, but for the one that says so."""
    faults = (app if call.path.startswith("/v1/") else track).faults_of_request(call)
    assert bool(faults) == (case["name"] == "rudderstack-anonymous-screen-v2"), faults


def held(sandbox: RunningSandbox) -> dict[str, Any]:
    """All that the sandbox holds, and the kinds of activities that failed."""
    failed = sorted(each["type"] for each in sandbox.get("activities") if each["type"].startswith("failed"))
    found = {name: lasting(sandbox.get(name)) for name in HELD} | {"failed": failed}
    for each in found["segments"] + found["collections"]:
        del each["id"]
    for lasting_event, whole in zip(found["events"], sandbox.get("events"), strict=True):
        if abs(whole["timestamp"] - whole["received_at"]) < 2:
            lasting_event["timestamp"] = "the time of receipt"
    return found


def lasting(value: Any) -> Any:
    """Without what is of the moment; attributes are looked at whole."""
    if isinstance(value, list):
        return [lasting(each) for each in value]
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if name not in OF_THE_MOMENT}
        return {name: each if name == "attributes" else lasting(each) for name, each in kept.items()}
    return value


def test_a_difference_that_nobody_states_is_found(
    relay: Relay, sandbox: RunningSandbox, wire: Wire, track: Court, app: Court, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [case] = [case for case in CASES if case["name"] == "posthog-person"]
    good: Same = COUNTERPARTS["posthog-person"]
    [sync] = good.syncs
    other = replace(good, syncs=[replace(sync, rows=[{**sync.rows[0], "lastname": "Byron"}])])
    monkeypatch.setitem(COUNTERPARTS, "posthog-person", other)
    with pytest.raises(AssertionError, match="0/attributes/lastname"):
        test_we_say_the_same(case, relay, sandbox, wire, track, app, tmp_path)


def test_what_differs_is_said_by_path() -> None:
    assert differences({"a": [1, {"b": 2}], "c": 1}, {"a": [1, {"b": 2.0}, 3], "d": None}) == {
        "a/1/b": (2, 2.0),
        "a/2": (ABSENT, 3),
        "c": (1, ABSENT),
        "d": (ABSENT, None),
    }
