"""Scripted failures: what each does to the client and to the workspace."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from .client import Client


def people(sandbox: RunningSandbox) -> list[str]:
    return [each["id"] for each in sandbox.get("people")]


def test_a_status_is_answered_in_the_shape_of_its_api(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 503}])
    assert client.identify({"id": "1"}).json == {"meta": {"error": "scripted 503"}}
    answer = client.get("/v1/segments")
    assert (answer.status, answer.json) == (503, {"errors": [{"detail": "scripted 503", "status": "503"}]})
    assert people(sandbox) == []
    assert [each["status"] for each in sandbox.get("requests")] == [503, 503]


def test_a_401_is_the_real_one(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 401}])
    answer = client.identify({"id": "1"})
    assert answer.json == {"meta": {"error": "Unauthorized request"}}
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert client.get("/v1/segments").json == {"meta": {"error": "Unauthorized request"}}


def test_a_status_with_headers_and_a_body(client: Client, sandbox: RunningSandbox) -> None:
    client.post("/_sandbox/faults", {"status": 429, "headers": {"Retry-After": "7"}, "body": {"x": 1}})
    answer = client.identify({"id": "1"})
    assert (answer.status, answer.headers["Retry-After"], answer.json) == (429, "7", {"x": 1})
    sandbox.faults([{"status": 502, "body": "<html>Bad Gateway</html>", "headers": {"Content-Type": "text/html"}}])
    answer = client.identify({"id": "1"})
    assert (answer.headers["Content-Type"], answer.body) == ("text/html", b"<html>Bad Gateway</html>")
    sandbox.faults([{"status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}])
    assert client.identify({"id": "1"}).headers["Location"] == "http://127.0.0.1:1/"


def test_an_error_after_applying(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 500, "apply": True}])
    assert client.identify({"id": "1"}).status == 500
    assert people(sandbox) == ["1"]


def test_a_reset_applies_nothing(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"reset": True}])
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.identify({"id": "1"})
    assert people(sandbox) == []
    assert sandbox.get("requests")[0]["status"] is None


def test_a_dropped_answer_was_applied(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"drop_answer": True}])
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        client.identify({"id": "1"})
    assert people(sandbox) == ["1"]
    assert sandbox.get("requests")[0]["status"] is None


def test_a_body_is_cut_after_applying(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"reset_mid_body": True}])
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        client.batch({"type": "person", "action": "identify", "identifiers": {"id": "1"}}, {})
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        client.get("/v1/segments")
    assert people(sandbox) == ["1"]


def test_garbage_is_a_200_that_is_no_json(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"garbage": True}])
    answer = client.identify({"id": "1"})
    assert answer.status == 200
    with pytest.raises(json.JSONDecodeError):
        _ = answer.json
    assert people(sandbox) == ["1"]


def test_a_delay_holds_the_answer(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"delay": 0.3}])
    began = time.perf_counter()
    assert client.identify({"id": "1"}).json == {}
    assert time.perf_counter() - began >= 0.3
    sandbox.faults([{"delay": 0.2, "status": 504}])
    began = time.perf_counter()
    assert client.identify({"id": "2"}).status == 504
    assert time.perf_counter() - began >= 0.2
    assert people(sandbox) == ["1"]


def test_which_requests_a_fault_takes(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults(
        [
            {"path": "/v1/", "method": "post", "status": 500},
            {"path": "*/devices", "status": 501},
            {"path": "/api/v2/batch", "status": 502},
        ]
    )
    assert client.post("/v1/segments", {"segment": {"name": "x"}}).status == 500
    assert client.get("/v1/segments").status == 200
    assert client.put("/api/v1/customers/1/devices", {}).status == 501
    assert client.batch().status == 502
    assert client.identify({"id": "1"}).status == 200
    assert [(each["matched"], each["fired"]) for each in sandbox.get("faults")] == [(1, 1), (1, 1), (1, 1)]


def test_a_fault_lasts_for_some_requests_after_some_others(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 401, "after": 2, "times": 3}, {"path": "/api/v2", "status": 418, "times": 1}])
    assert [client.identify({"id": str(i)}).status for i in range(8)] == [418, 200, 401, 401, 401, 200, 200, 200]
    assert [each["fired"] for each in sandbox.get("faults")] == [3, 1]


def test_a_seeded_probability_is_the_same_each_time(client: Client, sandbox: RunningSandbox) -> None:
    def statuses(seed: int) -> list[int]:
        sandbox.faults([{"status": 500, "probability": 0.5, "seed": seed}])
        return [client.identify({"id": str(i)}).status for i in range(40)]

    first = statuses(1)
    assert statuses(1) == first
    assert statuses(2) != first
    assert 5 < first.count(500) < 35


def test_faults_are_cleared_and_reset(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 500}])
    sandbox.faults([])
    assert sandbox.get("faults") == []
    assert client.identify({"id": "1"}).status == 200
    sandbox.faults([{"status": 500}])
    sandbox.reset()
    assert sandbox.get("faults") == []


def test_faults_come_before_credentials_and_spare_the_sandbox(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.faults([{"status": 500}])
    assert client.get("/api/v1/accounts/region", Authorization="").status == 500
    assert client.get("/_sandbox/counts").status == 200


WRONG: list[tuple[Any, str]] = [
    ([], "script"),
    ({"faults": {}}, "array"),
    ({"faults": [], "status": 500}, "alone"),
    ({"faults": [5]}, "faults[0]"),
    ({}, "needs"),
    ({"faults": [{"status": 500}, {"stauts": 500}]}, "faults[1]"),
    ({"status": "500"}, "status"),
    ({"status": 99}, "status"),
    ({"status": True}, "status"),
    ({"status": 500, "reset": True}, "one of"),
    ({"reset": "yes"}, "reset"),
    ({"delay": -1}, "delay"),
    ({"status": 500, "times": 1.5}, "times"),
    ({"status": 500, "times": -1}, "times"),
    ({"status": 500, "probability": 1.5}, "probability"),
    ({"status": 500, "path": 5}, "path"),
    ({"status": 500, "headers": {"x": 1}}, "headers"),
    ({"status": 500, "headers": []}, "headers"),
    ({"reset": True, "headers": {"x": "y"}}, "go with a status"),
    ({"reset": True, "apply": True}, "go with a status"),
    (b"{", "not JSON"),
]


@pytest.mark.parametrize(("script", "said"), WRONG)
def test_malformed_scripts_say_what_is_wrong(client: Client, sandbox: RunningSandbox, script: object, said: str) -> None:
    sandbox.faults([{"status": 500, "path": "/armed"}])
    answer = client.post("/_sandbox/faults", script)
    assert answer.status == 400
    assert said in answer.json["error"]
    assert sandbox.get("faults")[0]["path"] == "/armed"
