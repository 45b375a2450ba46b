"""Credentials, regions, paths that do not exist, and the command itself."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys

import pytest

from cio_dagster.sandbox.__main__ import main
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox

from .client import Client


def basic(user: str, password: str, *, url_safe: bool = False, padded: bool = True) -> str:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(f"{user}:{password}".encode()).decode()
    return f"Basic {text if padded else text.rstrip('=')}"


def test_region_answers_url_region_and_environment(client: Client, sandbox: RunningSandbox) -> None:
    answer = client.get("/api/v1/accounts/region")
    assert answer.status == 200
    assert answer.json == {"url": "https://track.customer.io", "region": "us", "environment_id": 1}
    sandbox.settings(region="eu", environment_id=77)
    assert client.get("/api/v1/accounts/region").json == {
        "url": "https://track-eu.customer.io",
        "region": "eu",
        "environment_id": 77,
    }


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !!!", "Bearer abc", basic("", "key"), basic("site", ""), "Basic c2l0ZQ=="]
)
def test_track_refuses_credentials_that_are_none(client: Client, header: str) -> None:
    answer = client.get("/api/v1/accounts/region", Authorization=header)
    assert answer.status == 401
    assert answer.json == {"meta": {"error": "Unauthorized request"}}
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Customer.io edge event collection"'


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", basic("site", "key")])
def test_app_refuses_credentials_that_are_none(client: Client, header: str) -> None:
    answer = client.get("/v1/segments", Authorization=header)
    assert answer.status == 401
    assert answer.json == {"meta": {"error": "Unauthorized request"}}
    assert "WWW-Authenticate" not in answer.headers


def test_given_keys_are_asked_for_in_either_base64_alphabet() -> None:
    site_id, key = "si>>te", "k???y~~ü"
    with run_sandbox("--site-id", site_id, "--track-key", key, "--app-key", "secret", "--region", "eu") as sandbox:
        client, region = Client(sandbox.url), "/api/v1/accounts/region"
        for url_safe in (False, True):
            for padded in (False, True):
                header = basic(site_id, key, url_safe=url_safe, padded=padded)
                assert client.get(region, Authorization=header).json["region"] == "eu"
        assert "-" in basic(site_id, key, url_safe=True) or "_" in basic(site_id, key, url_safe=True)
        assert client.get(region, Authorization=basic(site_id, "other")).status == 401
        assert client.get(region, Authorization=basic("other", key)).status == 401
        assert client.get("/v1/segments", Authorization="Bearer secret").status == 200
        assert client.get("/v1/segments", Authorization="Bearer other").status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/nothing"),
        ("GET", "/api/v1/nothing"),
        ("POST", "/api/v1/accounts/region"),
        ("HEAD", "/api/v1/accounts/region"),
        ("GET", "/api/v2/batch"),
        ("GET", "/v1/nothing"),
        ("PATCH", "/v1/segments"),
        ("PUT", "/api/v1/customers/"),
        ("GET", "/_sandbox/nothing"),
    ],
)
def test_unknown_paths_and_methods_get_a_page(client: Client, method: str, path: str) -> None:
    answer = client.call(method, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_some_track_calls_ask_for_no_credentials(client: Client, sandbox: RunningSandbox) -> None:
    metric = {"delivery_id": "d1", "metric": "opened", "timestamp": 1700000000}
    assert client.post("/api/v1/metrics", metric, Authorization="").status == 200
    push = {"delivery_id": "d2", "event": "converted", "device_id": "t"}
    assert client.post("/api/v1/push/events", push, Authorization="").status == 200
    assert client.post("/unsubscribe/d3", {"unsubscribe": True}, Authorization="").status == 200
    assert [(each["delivery_id"], each["metric"]) for each in sandbox.get("deliveries")] == [
        ("d1", "opened"),
        ("d2", "converted"),
        ("d3", "unsubscribed"),
    ]
    assert client.post("/api/v1/metrics", {"metric": "opened"}).status == 400
    assert client.post("/api/v1/metrics", {"delivery_id": "d", "metric": "eaten"}).status == 400


def test_it_listens_on_loopback_and_stops_when_told() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with run_sandbox() as sandbox:
            assert sandbox.url.startswith("http://127.0.0.1:")
            sandbox.process.send_signal(number)
            assert sandbox.process.wait(60) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "nothing=1"],
        ["--set", "apply_delay"],
        ["--set", "apply_delay=soon"],
        ["--set", "person_unset=maybe"],
        ["--set", "app_requests_per_second=-1"],
        ["--set", "identifiers=id,shoe_size"],
        ["--object-types", "x:Accounts"],
    ],
)
def test_wrong_flags_are_refused_with_a_reason(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_taken_port_is_said(sandbox: RunningSandbox) -> None:
    port = sandbox.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "cio_dagster.sandbox", "--port", port], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert "cannot listen" in done.stderr


def test_settings_are_shown_changed_and_checked(client: Client, sandbox: RunningSandbox) -> None:
    assert sandbox.get("settings")["person_unset"] == "both"
    assert client.post("/_sandbox/settings", {"person_unset": "null", "apply_delay": 0.5}).status == 200
    assert sandbox.get("settings")["apply_delay"] == 0.5
    wrong = client.post("/_sandbox/settings", {"apply_delay": 9, "nothing": 1})
    assert wrong.status == 400
    assert "nothing" in wrong.json["error"]
    assert sandbox.get("settings")["apply_delay"] == 0.5
    assert client.post("/_sandbox/settings", b"{").status == 400
    assert client.post("/_sandbox/settings", []).status == 400
