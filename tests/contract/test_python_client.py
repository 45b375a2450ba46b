"""Customer.io's own Python client, ``customerio``, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from customerio import APIClient, CustomerIO, CustomerIOException

from cio_dagster.sandbox.process import RunningSandbox

from .official import Held, public_methods
from .tls import Front
from .wire import APP_KEY, SITE_ID, TRACK_KEY

ULID = "01J9Z3Y6Q5W4V3T2S1R0PNMKJH"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECONDS = 1767323045


@pytest.fixture
def client(front: Front) -> Iterator[CustomerIO]:
    with CustomerIO(SITE_ID, TRACK_KEY, host=front.host, port=front.port) as client:
        yield client


def identify(client: CustomerIO, held: Held) -> None:
    client.identify("a/b c@+&=:ü", email="Ada@example.com", plan="pro", seats=3, vip=True, score=1.5, since=WHEN)
    client.identify("a/b c@+&=:ü", plan="team", tags=["x"], nested={"k": None}, nothing=float("nan"))
    person = held.person("a/b c@+&=:ü")
    assert person["email"] == "Ada@example.com"
    assert person["attributes"] == {
        "plan": "team",
        "seats": 3,
        "vip": True,
        "score": 1.5,
        "since": SECONDS,
        "tags": ["x"],
        "nested": {"k": None},
    }


def identify_with_relationships(client: CustomerIO, held: Held) -> None:
    to_acme = {"identifiers": {"object_type_id": "1", "object_id": "acme"}, "relationship_attributes": {"role": "admin"}}
    client.identify("1", cio_relationships={"action": "add_relationships", "relationships": [to_acme]})
    assert held.relationships() == [("1", "acme", {"role": "admin"})]
    assert held.objects() == {("1", "acme"): {}}
    client.identify("1", cio_relationships={"action": "delete_relationships", "relationships": [to_acme]})
    assert held.relationships() == []


def identify_by_cio_id(client: CustomerIO, held: Held) -> None:
    client.identify("1", email="ada@example.com")
    cio_id = held.person("1")["cio_id"]
    client.identify("1", email="ada.l@example.com")
    assert held.person("1")["email"] == "ada@example.com", "an identifier that is set is changed by cio_id only"
    client.identify(f"cio_{cio_id}", email="ada.l@example.com")
    assert held.person("1")["email"] == "ada.l@example.com"
    assert held.person("1")["cio_id"] == cio_id


def track(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    for _ in range(2):
        client.track("1", "bought", {"price": 9.5, "at": WHEN}, id=ULID, timestamp=WHEN)
    event = held.event()
    assert (event["type"], event["name"], event["attributes"]) == ("event", "bought", {"price": 9.5, "at": SECONDS})
    assert (event["id"], event["timestamp"], event["person"]["id"]) == (ULID, SECONDS, "1")


def track_anonymous(client: CustomerIO, held: Held) -> None:
    client.track_anonymous("visitor-1", "looked", {"page": "/"})
    client.track_anonymous("", "invited", {"recipient": "bo@example.com"})
    assert held.events() == [("event", "looked", {"page": "/"}), ("event", "invited", {"recipient": "bo@example.com"})]
    client.identify("1", anonymous_id="visitor-1")
    assert held.person("1")["anonymous_id"] == "visitor-1"


def track_anonymous_then_identify(client: CustomerIO, held: Held) -> None:
    client.track_anonymous("visitor-1", "looked")
    client.identify("1", anonymous_id="visitor-1")
    assert held.event()["person"]["id"] == "1"


def pageview(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    client.pageview("1", "https://example.com/pricing", referrer="https://example.com")
    assert held.events() == [("page", "https://example.com/pricing", {"referrer": "https://example.com"})]


def backfill(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    client.backfill("1", "signed up", WHEN, source="web")
    assert held.event()["timestamp"] == SECONDS
    assert held.events() == [("event", "signed up", {"source": "web"})]


def delete(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    client.identify("2")
    client.delete("1")
    client.delete("nobody")
    assert list(held.people()) == ["2"]
    client.identify("1", back=True)
    assert held.people()["1"] == {"back": True}


def add_device(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    # This client puts whatever it is given beside the known keys of the device.
    client.add_device("1", "token/1", "ios", last_used=SECONDS, attributes={"device_os": "17"}, shop="north")
    client.add_device("1", "token-2", "android")
    one = held.devices()["token/1"]
    assert (one["platform"], one["last_used"], one["person"]["id"]) == ("ios", SECONDS, "1")
    assert one["attributes"] == {"device_os": "17", "shop": "north"}


def delete_device(client: CustomerIO, held: Held) -> None:
    client.identify("1")
    client.add_device("1", "token/1", "ios")
    client.add_device("1", "token-2", "android")
    client.delete_device("1", "token/1")
    assert list(held.devices()) == ["token-2"]


def suppress(client: CustomerIO, held: Held) -> None:
    client.identify("1", email="ada@example.com")
    client.suppress("1")
    client.identify("1")
    client.identify("ada@example.com")
    assert held.people() == {}
    assert held.suppressed() == [("email", "ada@example.com"), ("id", "1")]


def unsuppress(client: CustomerIO, held: Held) -> None:
    client.identify("1", plan="pro")
    client.suppress("1")
    client.unsuppress("1")
    assert held.people() == {}
    client.identify("1", back=True)
    assert held.people() == {"1": {"back": True}}


def merge_customers(client: CustomerIO, held: Held) -> None:
    client.identify("1", plan="pro")
    client.identify("bo@example.com", plan="free", city="Oslo")
    client.track("bo@example.com", "bought")
    client.merge_customers("id", "1", "email", "bo@example.com")
    assert held.people() == {"1": {"plan": "pro", "city": "Oslo"}}
    assert held.event()["person"]["id"] == "1"
    client.identify("2")
    client.merge_customers("cio_id", held.person("1")["cio_id"], "id", "2")
    assert list(held.people()) == ["1"]


def batch(client: CustomerIO, held: Held) -> None:
    person = {"type": "person", "identifiers": {"id": "1"}}
    answer = client.batch(
        [
            {**person, "action": "identify", "attributes": {"plan": "pro"}},
            {**person, "action": "event", "name": "bought", "attributes": {"at": WHEN}},
            {**person, "action": "add_device", "device": {"token": "t", "platform": "ios"}},
            {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "acme"}},
        ]
    )
    assert (answer.status_code, answer.json()) == (200, {})
    assert held.people() == {"1": {"plan": "pro"}}
    assert held.events() == [("event", "bought", {"at": SECONDS})]
    assert list(held.devices()) == ["t"]
    assert list(held.objects()) == [("1", "acme")]


def batch_with_errors(client: CustomerIO, held: Held) -> None:
    good = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
    answer = client.batch([{**good, "identifiers": {}}, good, {**good, "action": "upsert"}])
    assert answer.status_code == 207
    assert [error["batch_index"] for error in answer.json()["errors"]] == [0, 2]
    assert list(held.people()) == ["1"]


CASES: list[Callable[[CustomerIO, Held], None]] = [
    identify,
    identify_with_relationships,
    identify_by_cio_id,
    track,
    track_anonymous,
    track_anonymous_then_identify,
    pageview,
    backfill,
    delete,
    add_device,
    delete_device,
    suppress,
    unsuppress,
    merge_customers,
    batch,
    batch_with_errors,
]
HELPERS = {
    "close",
    "send_request",
    "setup_base_url",
    "is_valid_id_type",
    "get_customer_query_string",
    "get_device_query_string",
    "get_event_query_string",
    "get_events_query_string",
}
"""Methods that send nothing, or that the others send with."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_sandbox_takes(case: Callable[[CustomerIO, Held], None], client: CustomerIO, held: Held) -> None:
    case(client, held)
    assert all(status in (200, 207) for status in held.statuses())


def test_every_method_of_the_client_is_tried() -> None:
    assert public_methods(CustomerIO) - HELPERS <= {case.__name__ for case in CASES}


# The App API of this client sends messages only, which the sandbox does not do; its transport is the same.


def test_the_app_client_gets_a_page_for_what_the_sandbox_has_not(front: Front) -> None:
    with APIClient(APP_KEY, url=front.url) as client, pytest.raises(CustomerIOException, match="404"):
        client.send_email({"to": "ada@example.com"})


def test_the_app_clients_transport_reads_segments(front: Front, sandbox: RunningSandbox) -> None:
    sandbox.post("segments", {"name": "vip", "type": "manual"})
    with APIClient(APP_KEY, url=front.url) as client:
        answer = client.http.get(f"{front.url}/v1/segments", timeout=10).json()
    assert [segment["name"] for segment in answer["segments"]] == ["vip"]


@pytest.mark.parametrize(("site_id", "key"), [(SITE_ID, "wrong"), ("wrong", TRACK_KEY), ("", "")])
def test_wrong_credentials(site_id: str, key: str, front: Front, held: Held) -> None:
    with (
        CustomerIO(site_id, key, host=front.host, port=front.port) as client,
        pytest.raises(CustomerIOException, match=r"^401.*Unauthorized request"),
    ):
        client.identify("1")
    assert held.statuses() == [401]
    assert held.people() == {}


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_is_retried_whatever_the_method(status: int, client: CustomerIO, sandbox: RunningSandbox, held: Held) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.identify("1"),
        lambda: client.track("1", "bought"),
        lambda: client.delete("1"),
    ]
    for call in calls:
        sandbox.faults([{"status": status, "times": 2}])
        call()
    assert held.statuses() == [status, status, 200] * 3


def test_retries_give_up_after_three(client: CustomerIO, sandbox: RunningSandbox, held: Held) -> None:
    sandbox.faults([{"status": 503}])
    with pytest.raises(CustomerIOException, match="3 retries"):
        client.identify("1")
    assert held.statuses() == [503] * 4


@pytest.mark.parametrize("status", [400, 404, 429])
def test_4xx_and_429_are_not_retried(status: int, client: CustomerIO, sandbox: RunningSandbox, held: Held) -> None:
    sandbox.faults([{"status": status, "times": 1}])
    with pytest.raises(CustomerIOException, match=f"^{status}"):
        client.identify("1")
    assert held.statuses() == [status]


def test_429_with_retry_after_is(client: CustomerIO, sandbox: RunningSandbox, held: Held) -> None:
    """Not this client's own doing: its HTTP library obeys Retry-After on 413, 429 and 503."""
    sandbox.faults([{"status": 429, "headers": {"Retry-After": "0"}, "times": 1}])
    client.identify("1")
    assert held.statuses() == [429, 200]


@pytest.mark.parametrize("fault", [{"reset": True}, {"drop_answer": True}])
def test_lost_connections_are_retried(fault: dict[str, Any], client: CustomerIO, sandbox: RunningSandbox, held: Held) -> None:
    client.identify("1")
    sandbox.faults([{**fault, "times": 1}])
    client.track("1", "bought", id=ULID)
    assert held.statuses() == [200, None, 200]
    # Applied twice where the answer was lost, and yet one event: the id says that they are one.
    assert held.events() == [("event", "bought", {})]


def test_bad_requests_raise_with_the_servers_words(client: CustomerIO) -> None:
    with pytest.raises(CustomerIOException, match="event name cannot be longer than 100 bytes"):
        client.track("1", "x" * 101)


def test_pooling_can_be_off(front: Front, held: Held) -> None:
    with CustomerIO(SITE_ID, TRACK_KEY, host=front.host, port=front.port, use_connection_pooling=False) as client:
        client.identify("1")
        client.identify("2")
    assert list(held.people()) == ["1", "2"]
