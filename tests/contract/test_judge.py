"""The judge itself: answers that break the contract do not pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .judge import Judge
from .wire import Answer, Call, basic

ENTITY = Call("POST", "/api/v2/entity", {"type": "person", "action": "delete", "identifiers": {"id": "1"}})
BATCH = Call("POST", "/api/v2/batch", {"batch": [ENTITY.body]})
MERGE = Call("POST", "/api/v1/merge_customers", {"primary": {"id": "1"}, "secondary": {"id": "2"}})
REGION = Call("GET", "/api/v1/accounts/region")
SEGMENTS = Call("GET", "/v1/segments")
CHALLENGE = {"WWW-Authenticate": 'Basic realm="x"'}
ERROR = {"reason": "invalid", "field": "identifiers", "message": "no"}
REGION_BODY = {"url": "https://track.customer.io", "region": "us", "environment_id": 1}
SEGMENT = {
    "id": 1,
    "deduplicate_id": "1:1",
    "name": "vip",
    "description": "",
    "state": "finished",
    "progress": None,
    "type": "manual",
    "tags": None,
    "created_at": 1,
    "updated_at": 1,
}


def answer(status: int, body: Any, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": "application/json", **sent}, json.dumps(body).encode())


RIGHT: dict[str, tuple[Call, Answer]] = {
    "accepted": (ENTITY, answer(200, {})),
    "refused": (ENTITY, answer(400, {"errors": [ERROR]})),
    "partly refused": (BATCH, answer(207, {"errors": [{"batch_index": 0, **ERROR}]})),
    "merge refused": (MERGE, answer(400, {"meta": {"error": "no"}})),
    "unauthorized": (ENTITY, Answer(401, {"Content-Type": "application/json", **CHALLENGE}, b'{"meta":{"error":"no"}}')),
    "region": (REGION, answer(200, REGION_BODY)),
    "over the limit": (ENTITY, answer(429, {"anything": 1})),
    "failed": (ENTITY, Answer(502, {"Content-Type": "text/html"}, b"<html>")),
}
WRONG: dict[str, tuple[Call, Answer]] = {
    "a body in a success": (ENTITY, answer(200, {"ok": True})),
    "a success that is not declared": (ENTITY, answer(202, {})),
    "a 207 for one operation": (ENTITY, answer(207, {"errors": [ERROR]})),
    "no errors": (ENTITY, answer(400, {"errors": []})),
    "an error without a field": (ENTITY, answer(400, {"errors": [{"reason": "invalid", "message": "no"}]})),
    "v1's errors in v2": (ENTITY, answer(400, {"meta": {"errors": ["no"]}})),
    "an error without its index": (BATCH, answer(207, {"errors": [ERROR]})),
    "an index in text": (BATCH, answer(207, {"errors": [{"batch_index": "0", **ERROR}]})),
    "several errors for a merge": (MERGE, answer(400, {"meta": {"errors": ["no"]}})),
    "no challenge": (ENTITY, answer(401, {"meta": {"error": "no"}})),
    "a 404": (ENTITY, answer(404, {})),
    "text for JSON": (ENTITY, Answer(400, {"Content-Type": "text/plain"}, b"no")),
    "half a region": (REGION, answer(200, {"region": "us"})),
    "an unknown region": (REGION, answer(200, {**REGION_BODY, "region": "mars"})),
    "a workspace in text": (REGION, answer(200, {**REGION_BODY, "environment_id": "1"})),
}
APP_RIGHT: dict[str, tuple[Call, Answer]] = {
    "segments": (SEGMENTS, answer(200, {"segments": [SEGMENT]})),
    "over the limit": (SEGMENTS, answer(429, {"errors": [{"detail": "no", "status": "429"}]}, Retry_After="1")),
}
APP_WRONG: dict[str, tuple[Call, Answer]] = {
    "an unknown key": (SEGMENTS, answer(200, {"segments": [], "total": 0})),
    "half a segment": (SEGMENTS, answer(200, {"segments": [{"id": 1}]})),
    "an unknown state": (SEGMENTS, answer(200, {"segments": [{**SEGMENT, "state": "ready"}]})),
    "no Retry-After": (SEGMENTS, answer(429, {"errors": [{"detail": "no", "status": "429"}]})),
    "a status as a number": (SEGMENTS, answer(429, {"errors": [{"detail": "no", "status": 429}]}, Retry_After="1")),
    "a Track error": (SEGMENTS, answer(400, {"meta": {"error": "no"}})),
}


@pytest.mark.parametrize("pair", RIGHT.values(), ids=RIGHT)
def test_right_answers_pass(pair: tuple[Call, Answer], track_judge: Judge) -> None:
    assert track_judge.faults_of_answer(*pair) == []


@pytest.mark.parametrize("pair", WRONG.values(), ids=WRONG)
def test_wrong_answers_do_not(pair: tuple[Call, Answer], track_judge: Judge) -> None:
    assert track_judge.faults_of_answer(*pair)


@pytest.mark.parametrize("pair", APP_RIGHT.values(), ids=APP_RIGHT)
def test_right_app_answers_pass(pair: tuple[Call, Answer], app_judge: Judge) -> None:
    assert app_judge.faults_of_answer(*pair) == []


@pytest.mark.parametrize("pair", APP_WRONG.values(), ids=APP_WRONG)
def test_wrong_app_answers_do_not(pair: tuple[Call, Answer], app_judge: Judge) -> None:
    assert app_judge.faults_of_answer(*pair)


def test_requests_need_their_credentials_bodies_and_paths(track_judge: Judge) -> None:
    for call in (
        ENTITY.with_headers(Authorization=""),
        Call("POST", "/api/v2/entity"),
        Call("POST", "/api/v2/nothing", {}),
        Call("GET", "/api/v2/entity"),
        Call("PUT", "/api/v1/customers/", {}),
    ):
        assert track_judge.faults_of_request(call), call
    assert track_judge.faults_of_request(ENTITY.with_headers(Authorization=basic("any", "body"))) == []
