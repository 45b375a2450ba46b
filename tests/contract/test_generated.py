"""Generated operations: what the contract allows is accepted, what it refuses is refused, alone and in a batch."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster.sandbox.process import RunningSandbox

from . import payloads
from .judge import Court
from .wire import Call

# The sandbox is not emptied between the examples of one test: accepting depends on nothing that it holds. Examples
# are the same in every run, so that a red build can be repeated.
SEARCH = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ENTITY, BATCH = "/api/v2/entity", "/api/v2/batch"


@pytest.mark.parametrize("kind", payloads.ALL)
@SEARCH
@given(data=st.data())
def test_allowed_operations_are_accepted(kind: str, data: st.DataObject, track: Court) -> None:
    track.send_valid(Call("POST", ENTITY, data.draw(payloads.ALL[kind])))


@pytest.mark.parametrize("way", payloads.BREAKS)
@SEARCH
@given(data=st.data())
def test_broken_operations_are_refused_and_change_nothing(
    way: str, data: st.DataObject, track: Court, sandbox: RunningSandbox
) -> None:
    broken = data.draw(payloads.broken(way))
    [error] = track.send_invalid(Call("POST", ENTITY, broken)).json["errors"]
    assert error["message"]
    [in_batch] = track.send_invalid(Call("POST", BATCH, {"batch": [broken]}), 207).json["errors"]
    assert in_batch == {"batch_index": 0, **error}
    counts = sandbox.get("counts")
    assert not any(counts[name] for name in ("people", "devices", "events", "objects", "relationships"))


@settings(SEARCH, max_examples=60)
@given(mixed=st.lists(st.tuples(st.booleans(), payloads.ANY, payloads.BROKEN), min_size=1, max_size=12))
def test_a_batch_names_exactly_its_broken_operations(
    mixed: list[tuple[bool, payloads.Operation, payloads.Operation]], track: Court
) -> None:
    batch = [broken if is_broken else allowed for is_broken, allowed, broken in mixed]
    expected = [index for index, (is_broken, _, _) in enumerate(mixed) if is_broken]
    answer = track.send(Call("POST", BATCH, {"batch": batch}), 207 if expected else 200)
    assert [error["batch_index"] for error in answer.json.get("errors", [])] == expected


@SEARCH
@given(
    identifier=payloads.PEOPLE.filter(lambda given: "phone" not in given),
    attributes=st.dictionaries(st.sampled_from(["plan", "Größe", "a.b", "x y"]), st.text(max_size=30), max_size=4),
)
def test_v1_paths_take_any_identifier(identifier: dict[str, str], attributes: dict[str, Any], track: Court) -> None:
    [(kind, value)] = identifier.items()
    # A segment of dots alone is dropped or climbed by URL rules, on the way to any server.
    if value in (".", ".."):
        return
    path = f"/api/v1/customers/{quote(('cio_' if kind == 'cio_id' else '') + value, safe='')}"
    track.send_valid(Call("PUT", path, attributes))
    track.send_valid(Call("POST", f"{path}/events", {"name": "seen", "data": attributes}))
    track.send_valid(Call("PUT", f"{path}/devices", {"device": {"id": value, "platform": "ios"}}))
    track.send_valid(Call("DELETE", f"{path}/devices/{quote(value, safe='')}"))
    track.send_valid(Call("DELETE", path))


@SEARCH
@given(
    ids=st.lists(st.text(max_size=20), min_size=1, max_size=8),
    id_type=st.sampled_from(["id", "email", "cio_id", None]),
    action=st.sampled_from(["add_customers", "remove_customers"]),
)
def test_segments_take_any_ids(ids: list[str], id_type: str | None, action: str, track: Court, sandbox: RunningSandbox) -> None:
    segment = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"]
    query = f"?id_type={id_type}" if id_type else ""
    track.send_valid(Call("POST", f"/api/v1/segments/{segment}/{action}{query}", {"ids": ids}))
    # Nobody is known, so whatever the ids are, they are ignored.
    assert sandbox.get("segments")[-1]["members"] == []
