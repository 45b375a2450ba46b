"""The sandbox as a process: delayed applying, state that survives, the sink, and the helper that starts it."""

from __future__ import annotations

import gzip
import json
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox

from .client import BASIC, Client


def identify(id: str, /, **attributes: object) -> dict[str, object]:
    return {"type": "person", "action": "identify", "identifiers": {"id": id}, "attributes": attributes}


def wait_until_applied(sandbox: RunningSandbox) -> None:
    deadline = time.monotonic() + 10
    while sandbox.get("counts")["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_operations_apply_after_their_delay(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(apply_delay=0.3)
    assert client.batch(identify("1", n=1), identify("1", n=2)).json == {}
    assert sandbox.get("people") == []
    assert sandbox.get("counts")["waiting"] == 2
    wait_until_applied(sandbox)
    assert sandbox.get("people")[0]["attributes"] == {"n": 2}


def test_what_waits_applies_at_its_own_time(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(apply_delay=3600)
    client.identify({"id": "1"}, n=1, m=1)
    sandbox.settings(apply_delay=0)
    client.identify({"id": "1"}, m=2)
    assert sandbox.get("people")[0]["attributes"] == {"m": 2}
    sandbox.settings(clock_offset=3601)
    wait_until_applied(sandbox)
    assert sandbox.get("people")[0]["attributes"] == {"n": 1, "m": 1}


def test_jitter_reorders_but_timestamps_decide(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(apply_jitter=0.2, apply_seed=7)
    now = int(time.time()) - 100
    client.batch(*({"type": "person", "action": "event", "identifiers": {"id": "1"}, "name": str(i)} for i in range(9)))
    client.batch(*({**identify("2", n=i), "timestamp": now + i} for i in range(9)))
    wait_until_applied(sandbox)
    order = [each["name"] for each in sandbox.get("events")]
    assert sorted(order) == [str(i) for i in range(9)]
    assert order != sorted(order)
    assert [each["attributes"] for each in sandbox.get("people") if each["id"] == "2"] == [{"n": 8}]


def test_state_survives_kill_9(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.db"
    with run_sandbox(state=state) as sandbox:
        client = Client(sandbox.url)
        client.batch(identify("1", n=1), {"type": "person", "action": "event", "identifiers": {"id": "1"}, "name": "e"})
        segment = client.post("/v1/segments", {"segment": {"name": "s"}}).json["segment"]["id"]
        client.post(f"/api/v1/segments/{segment}/add_customers", {"ids": ["1"]})
        client.post("/v1/collections", {"name": "c", "data": [{"a": 1}]})
        sandbox.settings(apply_delay=60)
        client.identify({"id": "later"})
        client.event({"id": "1"}, "again", id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
        assert [each.stat().st_mode & 0o077 for each in tmp_path.iterdir()] == [0] * len(list(tmp_path.iterdir()))
        before = {name: sandbox.get(name) for name in ("people", "events", "segments", "collections", "activities")}
        sandbox.kill()
    with run_sandbox("--set", "clock_offset=60", state=state) as sandbox:
        wait_until_applied(sandbox)
        for name in ("segments", "collections"):
            assert sandbox.get(name) == before[name]
        assert [each["id"] for each in sandbox.get("people")] == ["1", "later"]
        assert sandbox.get("people")[0] == before["people"][0]
        assert [each["name"] for each in sandbox.get("events")] == ["e", "again"]
        Client(sandbox.url).event({"id": "1"}, "again", id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
        assert len(sandbox.get("events")) == 2


def test_every_answered_request_survives_kill_9(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.db"
    for round in range(3):
        with run_sandbox(state=state) as sandbox:
            client = Client(sandbox.url)
            for i in range(20):
                assert client.identify({"id": f"{round}-{i}"}).status == 200
            sandbox.kill()
    with run_sandbox(state=state) as sandbox:
        assert sandbox.get("counts")["people"] == 60


def test_a_state_file_has_one_sandbox(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.db"
    command = [sys.executable, "-m", "cio_dagster.sandbox", "--port", "0", "--state", str(state)]
    with run_sandbox(state=state):
        second = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "cannot open" in second.stderr


def test_a_state_file_of_another_format_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.db"
    connection = sqlite3.connect(state)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(RuntimeError, match="did not start"), run_sandbox(state=state):
        raise AssertionError("it started")


def test_reset_empties_everything_but_settings(client: Client, sandbox: RunningSandbox) -> None:
    sandbox.settings(person_unset="none")
    client.batch(identify("1"), {"type": "person", "action": "suppress", "identifiers": {"id": "2"}})
    client.event({"id": "1"}, id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    client.object("acme", cio_relationships=[{"identifiers": {"id": "1"}}])
    client.post("/v1/segments", {"segment": {"name": "s"}})
    client.post("/v1/collections", {"name": "c", "data": []})
    sandbox.faults([{"status": 500, "path": "/none"}])
    sandbox.reset()
    assert not any(sandbox.get("counts").values())
    for name in ("people", "events", "suppressed", "activities", "requests", "faults", "collections", "segments"):
        assert sandbox.get(name) == []
    assert sandbox.get("settings")["person_unset"] == "none"
    client.event({"id": "1"}, id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert len(sandbox.get("events")) == 1


def test_lists_are_shown_in_parts(client: Client, sandbox: RunningSandbox) -> None:
    client.batch(*(identify(str(i)) for i in range(5)))
    assert [each["id"] for each in sandbox.get("people?limit=2&offset=1")] == ["1", "2"]
    assert client.get("/_sandbox/people?limit=x").status == 400


def test_compressed_bodies_are_read(client: Client, sandbox: RunningSandbox) -> None:
    body = gzip.compress(json.dumps({"batch": [identify("1")]}).encode())
    assert client.post("/api/v2/batch", body, Content_Encoding="gzip").status == 200
    assert sandbox.get("people")[0]["id"] == "1"


def test_a_client_that_leaves_is_logged_and_changes_nothing(client: Client, sandbox: RunningSandbox) -> None:
    whole = json.dumps({"batch": [identify("1")]}).encode()
    head = f"POST /api/v2/batch HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\nContent-Length: {len(whole)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as half:
        half.sendall(head.encode() + whole[:-1])
    deadline = time.monotonic() + 5
    while not sandbox.get("requests"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sandbox.get("requests")[0]["status"] is None
    assert sandbox.get("people") == []


def test_a_body_that_does_not_unpack_is_refused(client: Client) -> None:
    assert client.post("/api/v2/batch", b"not gzip", Content_Encoding="gzip").status == 400
    assert client.post("/v1/segments", b"not gzip", Content_Encoding="gzip").status == 400


def test_the_sink_counts_and_answers() -> None:
    with run_sandbox("--sink", "--delay-ms", "50", "--region", "eu", "--environment-id", "9") as sandbox:
        client = Client(sandbox.url)
        assert client.get("/api/v1/accounts/region").json == {
            "url": "https://track-eu.customer.io",
            "region": "eu",
            "environment_id": 9,
        }
        began = time.perf_counter()
        answer = client.post("/api/v2/batch", b"this is not read" * 100_000)
        assert (answer.status, answer.json) == (200, {})
        assert time.perf_counter() - began >= 0.05
        assert client.put("/api/v1/customers/1", {}).json == {}
        counts = sandbox.get("counts")
        assert counts["requests"] == 3
        assert counts["bytes"] == 1_600_002
        assert client.get("/v1/segments").json == {"segments": []}
        made = client.post("/v1/segments", {"segment": {"name": "vip"}}).json["segment"]
        assert (made["id"], made["name"], made["type"]) == (1, "vip", "manual")
        assert client.get("/v1/segments").json["segments"] == [made]
        assert client.get("/v1/segments/1").json == {"segment": made}
        assert client.get("/v1/segments/1/membership").json == {"ids": [], "identifiers": [], "next": ""}
        collection = client.post("/v1/collections", {"name": "shops", "data": []}).json["collection"]
        assert (collection["id"], collection["name"]) == (1, "shops")
        assert client.put("/v1/collections/1", {"data": [{}]}).json["collection"]["name"] == "shops"
        assert client.get("/v1/object_types").json["types"][0]["id"] == "1"
        sandbox.reset()
        assert sandbox.get("counts") == {"requests": 0, "bytes": 0}
