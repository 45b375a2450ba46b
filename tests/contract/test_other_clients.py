"""Habits of clients that cannot be installed here, sent as plain HTTP.

Sources: go-customerio 6eea3db (v3), customerio-ruby 0378a01 (6.x).
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox

from .judge import Court
from .official import Held
from .wire import APP_KEY, Call, Wire, basic

# Bytes whose base64 has characters that the two alphabets write differently.
GO_SITE_ID, GO_KEY = "site?>~1", "key?>~ÿ"


def go_basic(site_id: str, key: str) -> str:
    """Go: the URL-safe alphabet in the ``Authorization`` header."""
    return "Basic " + base64.urlsafe_b64encode(f"{site_id}:{key}".encode()).decode()


def test_go_writes_credentials_in_the_url_safe_alphabet() -> None:
    url_safe, standard = go_basic(GO_SITE_ID, GO_KEY), basic(GO_SITE_ID, GO_KEY)
    assert url_safe != standard
    call = Call("GET", "/api/v1/accounts/region")
    with run_sandbox("--site-id", GO_SITE_ID, "--track-key", GO_KEY, "--app-key", APP_KEY) as sandbox:
        wire = Wire(sandbox.url)
        for header in (url_safe, standard):
            assert wire.send(call.with_headers(Authorization=header)).status == 200
        assert wire.send(call.with_headers(Authorization=go_basic(GO_SITE_ID, "wrong"))).status == 401


def go(method: str, path: str, body: Any) -> Call:
    """Go: sends JSON's null for a nil body, with a content type."""
    return Call(method, path, body)


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("ada+x@example.com", "ada+x@example.com"),
        ("a&b=c:d$e", "a&b=c:d$e"),
        ("a%2Fb%20c%3Fd%23e%25f", "a/b c?d#e%f"),
        ("%C3%BC", "ü"),
        ("a;b,c", "a;b,c"),
        ("1%2B1", "1+1"),
    ],
)
def test_go_leaves_some_characters_of_a_path_as_they_are(raw: str, meant: str, track: Court, held: Held) -> None:
    """url.PathEscape leaves ``@ + & = : $`` alone, and a plus in a path is a plus."""
    track.send_valid(go("PUT", f"/api/v1/customers/{raw}", {"plan": "pro"}))
    track.send_valid(go("PUT", f"/api/v1/customers/{raw}/devices", {"device": {"id": meant, "platform": "ios"}}))
    assert list(held.people()) == [meant]
    assert list(held.devices()) == [meant]
    track.send_valid(go("DELETE", f"/api/v1/customers/{raw}/devices/{raw}", None))
    assert held.devices() == {}
    track.send_valid(go("DELETE", f"/api/v1/customers/{raw}", None))
    assert held.people() == {}


def test_go_sends_a_devices_time_as_text_and_null_attributes(track: Court, held: Held) -> None:
    device = {"id": "token-1", "platform": "ios", "last_used": "1713484800", "attributes": None}
    track.send(Call("PUT", "/api/v1/customers/1/devices", {"device": device}), 200)
    track.send(
        Call("PUT", "/api/v1/customers/1/devices", {"device": {"id": "token-2", "platform": "android", "attributes": None}}),
        200,
    )
    assert held.devices()["token-1"]["last_used"] == 1713484800
    assert [device["attributes"] for device in held.devices().values()] == [{}, {}]


def test_go_takes_exactly_200_for_success(track: Court, sandbox: RunningSandbox) -> None:
    """Every call of that client answers 200, none 201, 202 or 204."""
    segment = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"]
    for call in (
        go("PUT", "/api/v1/customers/1", {"plan": "pro"}),
        go("POST", "/api/v1/customers/1/events", {"name": "bought", "data": {"price": 1}}),
        go("POST", "/api/v1/customers/1/events", {"name": "bought", "data": None, "timestamp": 1713484800}),
        go("POST", "/api/v1/events", {"name": "looked", "data": {}, "anonymous_id": "v-1"}),
        go("PUT", "/api/v1/customers/1/devices", {"device": {"id": "t", "platform": "ios", "attributes": None}}),
        go("DELETE", "/api/v1/customers/1/devices/t", None),
        go("POST", "/api/v1/merge_customers", {"primary": {"id": "1"}, "secondary": {"id": "2"}}),
        go("POST", f"/api/v1/segments/{segment}/add_customers?id_type=id", {"ids": ["1"]}),
        go("POST", f"/api/v1/segments/{segment}/remove_customers", {"ids": ["1"]}),
        go("DELETE", "/api/v1/customers/1", None),
    ):
        track.send(call, 200)


def test_go_prefixes_cio_ids_in_segments(track: Court, sandbox: RunningSandbox, held: Held) -> None:
    segment = sandbox.post("segments", {"name": "vip", "type": "manual"})["id"]
    track.send_valid(Call("PUT", "/api/v1/customers/1", {}))
    track.send_valid(Call("PUT", "/api/v1/customers/2", {}))
    ids = [f"cio_{held.person('1')['cio_id']}", held.person("2")["cio_id"]]
    track.send_valid(Call("POST", f"/api/v1/segments/{segment}/add_customers?id_type=cio_id", {"ids": ids}))
    assert held.members(segment) == ["1", "2"]


def test_ruby_sends_no_body_with_delete_and_suppress(track: Court, held: Held) -> None:
    track.send_valid(Call("PUT", "/api/v1/customers/1", {"id": "1", "plan": "pro"}))
    track.send_valid(Call("DELETE", "/api/v1/customers/1"))
    assert held.people() == {}
    track.send_valid(Call("POST", "/api/v1/customers/1/suppress"))
    assert held.suppressed() == [("id", "1")]
    track.send_valid(Call("POST", "/api/v1/customers/1/unsuppress"))
    assert held.suppressed() == []


def test_ruby_repeats_the_id_in_the_body(track: Court, held: Held) -> None:
    track.send_valid(Call("PUT", "/api/v1/customers/ada%40example.com", {"id": "1", "email": "ada@example.com"}))
    assert list(held.people()) == ["1"]
    assert held.person("1")["email"] == "ada@example.com"


def test_ruby_puts_attributes_beside_a_devices_keys(track: Court, held: Held) -> None:
    device = {"id": "token-1", "platform": "android", "last_used": 1713484800, "build": 7, "shop": "north"}
    track.send_valid(Call("PUT", "/api/v1/customers/1/devices", {"device": device}))
    assert held.devices()["token-1"]["attributes"] == {"build": 7, "shop": "north"}


def test_ruby_copies_the_time_of_an_event_out_of_its_data(track: Court, held: Held) -> None:
    body = {"name": "bought", "data": {"price": 1, "timestamp": 1713484800}, "timestamp": 1713484800}
    track.send_valid(Call("POST", "/api/v1/customers/1/events", body))
    assert held.event()["timestamp"] == 1713484800
    assert held.event()["attributes"] == {"price": 1, "timestamp": 1713484800}


def test_an_unencoded_plus_in_a_query_is_a_space(wire: Wire, track: Court) -> None:
    """So a search for an address with a plus finds nobody, without an error, as Customer.io documents."""
    track.send_valid(Call("PUT", "/api/v1/customers/1", {"email": "ada+x@example.com"}))
    assert wire.send(Call("GET", "/v1/customers?email=ada+x@example.com")).json == {"results": []}
    [found] = wire.send(Call("GET", "/v1/customers?email=ada%2Bx%40example.com")).json["results"]
    assert found["id"] == "1"
