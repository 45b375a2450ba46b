"""The ``async-customerio`` client of PyPI against the sandbox: Track v1 and v2, and the App API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from async_customerio import AsyncAPIClient, AsyncCustomerIO, AsyncCustomerIOError, AsyncCustomerIORetryableError
from async_customerio.api.customers import Customers
from async_customerio.api.segments import Segments
from async_customerio.track.v2 import Actions, TrackAPIV2

from cio_dagster.sandbox.process import RunningSandbox

from .official import Held, public_methods
from .tls import Front
from .wire import APP_KEY, SITE_ID, TRACK_KEY

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECONDS = 1767323045
ACME = {"object_type_id": "1", "object_id": "acme"}
TO_ACME = {"identifiers": ACME, "relationship_attributes": {"role": "admin"}}
TO_ADA = {"identifiers": {"id": "1"}, "relationship_attributes": {"role": "owner"}}


class World:
    """Both clients, and what the sandbox holds."""

    def __init__(self, front: Front, sandbox: RunningSandbox, **options: Any) -> None:
        self.track = AsyncCustomerIO(SITE_ID, TRACK_KEY, host=front.host, port=front.port, **options)
        self.app = AsyncAPIClient(APP_KEY, url=front.url, **options)
        self.sandbox = sandbox
        self.held = Held(sandbox)

    def run(self, case: Callable[[World], Awaitable[None]]) -> None:
        """Run a case, and close the clients."""

        async def whole() -> None:
            async with self.track, self.app:
                await case(self)

        asyncio.run(whole())

    def manual_segment(self, name: str = "vip") -> int:
        """The id of a new manual segment."""
        id: int = self.sandbox.post("segments", {"name": name, "type": "manual"})["id"]
        return id


@pytest.fixture
def world(front: Front, sandbox: RunningSandbox) -> World:
    return World(front, sandbox)


# Track v1


async def identify(world: World) -> None:
    await world.track.identify("a b@+&=:ü", email="ada@example.com", plan="pro", since=WHEN, nothing=float("nan"))
    await world.track.identify(7, tags=["x"])
    assert world.held.people() == {"a b@+&=:ü": {"plan": "pro", "since": SECONDS}, "7": {"tags": ["x"]}}
    assert world.held.person("a b@+&=:ü")["email"] == "ada@example.com"


async def track(world: World) -> None:
    await world.track.identify("1")
    await world.track.track("1", "bought", price=9.5, at=WHEN)
    assert world.held.events() == [("event", "bought", {"price": 9.5, "at": SECONDS})]


async def track_anonymous(world: World) -> None:
    await world.track.track_anonymous("visitor-1", "looked", page="/")
    assert world.held.event()["anonymous_id"] == "visitor-1"
    await world.track.identify("1", anonymous_id="visitor-1")
    assert world.held.event()["person"]["id"] == "1"


async def pageview(world: World) -> None:
    await world.track.pageview("ada@example.com", "https://example.com", referrer="x")
    assert world.held.events() == [("page", "https://example.com", {"referrer": "x"})]


async def backfill(world: World) -> None:
    await world.track.backfill("1", "signed up", WHEN, source="web")
    assert world.held.event()["timestamp"] == SECONDS


async def delete(world: World) -> None:
    await world.track.identify("1")
    await world.track.delete("1")
    assert world.held.people() == {}


async def add_device(world: World) -> None:
    await world.track.identify("1")
    await world.track.add_device("1", "token-1", "android", last_used=WHEN, shop="north")
    device = world.held.devices()["token-1"]
    assert (device["platform"], device["last_used"], device["attributes"]) == ("android", SECONDS, {"shop": "north"})


async def delete_device(world: World) -> None:
    await world.track.add_device("1", "token-1", "ios")
    await world.track.add_device("1", "token:2", "ios")
    await world.track.delete_device("1", "token-1")
    # A token with a colon is encoded twice by this client, so it names a device that there is not.
    await world.track.delete_device("1", "token:2")
    assert world.held.requests()[-1] == ("DELETE", "/api/v1/customers/1/devices/token%253A2", 200)
    assert list(world.held.devices()) == ["token:2"]


async def suppress(world: World) -> None:
    await world.track.identify("1")
    await world.track.suppress("1")
    await world.track.identify("1")
    assert (world.held.people(), world.held.suppressed()) == ({}, [("id", "1")])


async def unsuppress(world: World) -> None:
    await world.track.suppress("1")
    await world.track.unsuppress("1")
    await world.track.identify("1")
    assert list(world.held.people()) == ["1"]


async def merge_customers(world: World) -> None:
    await world.track.identify("1", plan="pro")
    await world.track.identify("2", city="Oslo")
    await world.track.merge_customers("id", "1", "id", "2")
    assert world.held.people() == {"1": {"plan": "pro", "city": "Oslo"}}


async def unsubscribe(world: World) -> None:
    await world.track.unsubscribe("delivery-1")
    assert world.held.deliveries() == [("delivery-1", "unsubscribed")]


async def report_metric(world: World) -> None:
    await world.track.report_metric("delivery-1", "clicked", href="https://example.com", timestamp=WHEN)
    assert world.held.deliveries() == [("delivery-1", "clicked")]


async def report_push_metric(world: World) -> None:
    await world.track.report_push_metric("delivery-1", "token-1", "opened", timestamp=WHEN)
    assert world.held.deliveries() == [("delivery-1", "opened")]


async def add_to_segment(world: World) -> None:
    segment = world.manual_segment()
    await world.track.identify("1", email="ada@example.com")
    await world.track.identify("2")
    await world.track.add_to_segment(segment, [1, "nobody"])
    await world.track.add_to_segment(segment, ["ADA@example.com", "2"], id_type="email")
    assert world.held.members(segment) == ["1"]
    await world.track.add_to_segment(segment, [f"cio_{world.held.person('2')['cio_id']}"], id_type="cio_id")
    assert world.held.members(segment) == ["1", "2"]


async def remove_from_segment(world: World) -> None:
    segment = world.manual_segment()
    await world.track.identify("1")
    await world.track.identify("2")
    await world.track.add_to_segment(segment, ["1", "2"])
    await world.track.remove_from_segment(segment, ["1", "nobody"], id_type="id")
    assert world.held.members(segment) == ["2"]


async def get_region(world: World) -> None:
    assert await world.track.get_region() == {"url": "https://track.customer.io", "region": "us", "environment_id": 1}


async def submit_form(world: World) -> None:
    await world.track.submit_form("signup", email="ada@example.com", city="Oslo", form_name="ignored")
    assert world.held.people() == {"ada@example.com": {"city": "Oslo"}}
    with pytest.raises(AsyncCustomerIOError, match=r"HTTP 400.*id or email"):
        await world.track.submit_form("signup", id="1", email="ada@example.com")


async def send_entity(world: World) -> None:
    await world.track.send_entity({"id": "1"}, "person", Actions.identify, plan="pro")
    assert world.held.people() == {"1": {"plan": "pro"}}


async def send_batch(world: World) -> None:
    good: Any = {"type": "person", "action": "identify", "identifiers": {"id": "1"}}
    assert await world.track.send_batch([good]) == {}
    answer = await world.track.send_batch([{**good, "identifiers": {"id": 1}}, good])
    assert [error["batch_index"] for error in answer["errors"]] == [0]


V1 = [
    identify,
    track,
    track_anonymous,
    pageview,
    backfill,
    delete,
    add_device,
    delete_device,
    suppress,
    unsuppress,
    merge_customers,
    unsubscribe,
    report_metric,
    report_push_metric,
    add_to_segment,
    remove_from_segment,
    get_region,
    submit_form,
    send_entity,
    send_batch,
]


# Track v2


async def identify_person(world: World) -> None:
    await world.track.v2.identify_person({"email": "ada@example.com"}, plan="pro", since=WHEN)
    await world.track.v2.identify_person({"phone": "+14155552671"})
    assert world.held.people() == {"ada@example.com": {"plan": "pro", "since": SECONDS}, None: {}}


async def delete_person(world: World) -> None:
    await world.track.v2.identify_person({"id": "1"})
    await world.track.v2.delete_person({"id": "1"})
    assert world.held.people() == {}


async def track_person_event(world: World) -> None:
    await world.track.v2.track_person_event({"id": "1"}, "bought", price=9.5)
    assert world.held.events() == [("event", "bought", {"price": 9.5})]


async def person_pageview(world: World) -> None:
    await world.track.v2.person_pageview({"id": "1"}, "/pricing", referrer="/")
    assert world.held.events() == [("page", "/pricing", {"referrer": "/"})]


async def person_screen(world: World) -> None:
    await world.track.v2.person_screen({"id": "1"}, "Home", tab=1)
    assert world.held.events() == [("screen", "Home", {"tab": 1})]


async def add_person_device(world: World) -> None:
    await world.track.v2.add_person_device({"id": "1"}, "token-1", "ios", last_used=SECONDS)
    assert world.held.devices()["token-1"]["last_used"] == SECONDS


async def delete_person_device(world: World) -> None:
    await world.track.v2.add_person_device({"id": "1"}, "token/1", "ios")
    await world.track.v2.delete_person_device({"id": "1"}, "token/1")
    assert world.held.devices() == {}


async def suppress_person(world: World) -> None:
    await world.track.v2.suppress_person({"email": "ada@example.com"})
    assert world.held.suppressed() == [("email", "ada@example.com")]


async def unsuppress_person(world: World) -> None:
    await world.track.v2.suppress_person({"id": "1"})
    await world.track.v2.unsuppress_person({"id": "1"})
    assert world.held.suppressed() == []


async def merge_persons(world: World) -> None:
    await world.track.v2.identify_person({"id": "1"}, plan="pro")
    await world.track.v2.identify_person({"id": "2"}, city="Oslo")
    await world.track.v2.merge_persons({"id": "1"}, {"id": "2"})
    assert world.held.people() == {"1": {"plan": "pro", "city": "Oslo"}}


async def add_person_relationships(world: World) -> None:
    await world.track.v2.add_person_relationships({"id": "1"}, [TO_ACME])
    assert world.held.relationships() == [("1", "acme", {"role": "admin"})]


async def delete_person_relationships(world: World) -> None:
    await world.track.v2.add_person_relationships({"id": "1"}, [TO_ACME])
    await world.track.v2.delete_person_relationships({"id": "1"}, [TO_ACME])
    assert world.held.relationships() == []


async def identify_object(world: World) -> None:
    await world.track.v2.identify_object(ACME, name="Acme", seats=50, gone="x")
    await world.track.v2.identify_object(ACME, gone=None, since=WHEN)
    assert world.held.objects() == {("1", "acme"): {"name": "Acme", "seats": 50, "since": SECONDS}}


async def delete_object(world: World) -> None:
    await world.track.v2.add_object_relationships(ACME, [TO_ADA])
    await world.track.v2.delete_object(ACME)
    assert (world.held.objects(), world.held.relationships()) == ({}, [])


async def track_object_event(world: World) -> None:
    """Objects have no events in Customer.io's contract, though this client has a call for them."""
    with pytest.raises(AsyncCustomerIOError, match=r"HTTP 400.*action"):
        await world.track.v2.track_object_event(ACME, "renewed")


async def add_object_relationships(world: World) -> None:
    await world.track.v2.add_object_relationships(ACME, [TO_ADA])
    assert world.held.relationships() == [("1", "acme", {"role": "owner"})]


async def delete_object_relationships(world: World) -> None:
    await world.track.v2.add_object_relationships(ACME, [TO_ADA])
    await world.track.v2.delete_object_relationships(ACME, [TO_ADA])
    assert (list(world.held.objects()), world.held.relationships()) == ([("1", "acme")], [])


async def v2_send_entity(world: World) -> None:
    await world.track.v2.send_entity({"type": "person", "action": "identify", "identifiers": {"id": "1"}})
    assert list(world.held.people()) == ["1"]


V2 = [
    identify_person,
    delete_person,
    track_person_event,
    person_pageview,
    person_screen,
    add_person_device,
    delete_person_device,
    suppress_person,
    unsuppress_person,
    merge_persons,
    add_person_relationships,
    delete_person_relationships,
    identify_object,
    delete_object,
    track_object_event,
    add_object_relationships,
    delete_object_relationships,
    v2_send_entity,
]


# The App API's customers


async def _two_people(world: World) -> None:
    await world.track.identify("1", email="ada+x@example.com", plan="pro", seats=3, nested={"a": [1]})
    await world.track.identify("2", plan="free")


async def get_by_email(world: World) -> None:
    await _two_people(world)
    found = await world.app.customers.get_by_email("ADA+x@example.com")
    person = world.held.person("1")
    assert found == {"results": [{"email": "ada+x@example.com", "id": "1", "cio_id": person["cio_id"]}]}


async def search(world: World) -> None:
    await _two_people(world)
    segment = world.manual_segment()
    await world.track.add_to_segment(segment, ["2"])
    pro = {"attribute": {"field": "plan", "operator": "eq", "value": "pro"}}
    assert (await world.app.customers.search(pro))["ids"] == ["1"]
    assert (await world.app.customers.search({"not": pro}))["ids"] == ["2"]
    assert (await world.app.customers.search({"segment": {"id": segment}}))["ids"] == ["2"]
    everybody = {"attribute": {"field": "plan", "operator": "exists"}}
    first = await world.app.customers.search(everybody, limit=1)
    second = await world.app.customers.search(everybody, limit=1, start=first["next"])
    assert (first["ids"], second["ids"], second["next"]) == (["1"], ["2"], "")


async def get_by_ids(world: World) -> None:
    await _two_people(world)
    found = await world.app.customers.get_by_ids(["2", "nobody", 1])
    assert [each["customer"]["id"] for each in found["customers"]] == ["2", "1"]


async def get_attributes(world: World) -> None:
    await _two_people(world)
    customer = (await world.app.customers.get_attributes("ada+x@example.com", id_type="email"))["customer"]
    assert customer["attributes"]["seats"] == "3"
    assert customer["attributes"]["nested"] == '{"a":[1]}'
    assert customer["identifiers"]["id"] == "1"
    with pytest.raises(AsyncCustomerIOError, match="404"):
        await world.app.customers.get_attributes("nobody")


async def get_segments(world: World) -> None:
    await _two_people(world)
    segment = world.manual_segment()
    await world.track.add_to_segment(segment, ["1"])
    found = await world.app.customers.get_segments("1", id_type="id")
    assert [each["id"] for each in found["segments"]] == [segment]


async def get_messages(world: World) -> None:
    await _two_people(world)
    assert (await world.app.customers.get_messages("1", limit=5, start_ts=0))["messages"] == []


async def get_activities(world: World) -> None:
    await _two_people(world)
    await world.track.track("1", "bought", price=9.5)
    await world.track.track("1", "looked")
    found = await world.app.customers.get_activities("1", type="event", name="bought", limit=10)
    [activity] = found["activities"]
    assert (activity["type"], activity["name"], activity["data"]) == ("event", "bought", {"price": 9.5})


async def get_relationships(world: World) -> None:
    await world.track.v2.add_person_relationships({"id": "1"}, [TO_ACME])
    [related] = (await world.app.customers.get_relationships("1"))["cio_relationships"]
    assert (str(related["object_type_id"]), related["identifiers"]["object_id"]) == ("1", "acme")


async def get_subscription_preferences(world: World) -> None:
    await world.track.identify("1", cio_subscription_preferences={"topics": {"topic_1": True, "topic_2": False}})
    answer = await world.app.customers.get_subscription_preferences("1", language="en")
    assert [topic["subscribed"] for topic in answer["customer"]["topics"]] == [True, False]


CUSTOMERS = [
    get_by_email,
    search,
    get_by_ids,
    get_attributes,
    get_segments,
    get_messages,
    get_activities,
    get_relationships,
    get_subscription_preferences,
]


# The App API's segments


async def create(world: World) -> None:
    segment = (await world.app.segments.create("vip", description="Very"))["segment"]
    assert (segment["name"], segment["description"], segment["type"]) == ("vip", "Very", "manual")
    assert world.held.members(segment["id"]) == []


async def list_(world: World) -> None:
    world.manual_segment("a")
    world.manual_segment("b")
    assert [segment["name"] for segment in (await world.app.segments.list())["segments"]] == ["a", "b"]


async def get(world: World) -> None:
    segment = world.manual_segment()
    assert (await world.app.segments.get(segment))["segment"]["id"] == segment
    with pytest.raises(AsyncCustomerIOError, match="404"):
        await world.app.segments.get(999_999)


async def delete_segment(world: World) -> None:
    assert await world.app.segments.delete(world.manual_segment()) == {}
    assert world.sandbox.get("segments") == []


async def get_customer_count(world: World) -> None:
    segment = world.manual_segment()
    await world.track.identify("1")
    await world.track.add_to_segment(segment, ["1"])
    assert await world.app.segments.get_customer_count(segment) == {"segment_id": segment, "count": 1}


async def get_membership(world: World) -> None:
    segment = world.manual_segment()
    await world.track.identify("1")
    await world.track.identify("ada@example.com")
    await world.track.add_to_segment(segment, ["1"])
    await world.track.add_to_segment(segment, ["ada@example.com"], id_type="email")
    first = await world.app.segments.get_membership(segment, limit=1)
    second = await world.app.segments.get_membership(segment, limit=1, start=first["next"])
    assert (first["ids"], second["ids"]) == (["1"], [""]), "members without an id have an empty one here"
    assert second["identifiers"][0]["email"] == "ada@example.com"


async def get_used_by(world: World) -> None:
    segment = world.manual_segment()
    assert (await world.app.segments.get_used_by(segment))["used_by"]["campaigns"] == []


SEGMENTS = [create, list_, get, delete_segment, get_customer_count, get_membership, get_used_by]


@pytest.mark.parametrize("case", [*V1, *V2, *CUSTOMERS, *SEGMENTS], ids=lambda case: case.__name__)
def test_the_sandbox_takes(case: Callable[[World], Awaitable[None]], world: World) -> None:
    world.run(case)


def _named(cases: list[Any]) -> set[str]:
    return {case.__name__.rstrip("_") for case in cases}


def test_every_method_of_the_client_is_tried() -> None:
    helpers = {"close", "send_request", "setup_base_url", "v2"}
    assert public_methods(AsyncCustomerIO) - helpers <= _named(V1)
    assert public_methods(TrackAPIV2) <= _named([*V1, *V2])
    assert public_methods(Customers) <= _named(CUSTOMERS)
    assert public_methods(Segments) - {"delete"} | {"delete_segment"} <= _named(SEGMENTS)


def test_wrong_credentials(front: Front, sandbox: RunningSandbox) -> None:
    async def both(world: World) -> None:
        world.track.api_key = world.app.key = "wrong"
        with pytest.raises(AsyncCustomerIOError, match=r"HTTP 401.*Unauthorized request"):
            await world.track.identify("1")
        with pytest.raises(AsyncCustomerIOError, match=r"HTTP 401.*Unauthorized request"):
            await world.app.segments.list()

    world = World(front, sandbox)
    world.run(both)
    assert world.held.statuses() == [401, 401]
    assert world.held.people() == {}


class RetryTwice:
    """A strategy as the client's documentation describes them."""

    async def execute(self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        for _ in range(2):
            try:
                return await func(*args, **kwargs)
            except AsyncCustomerIORetryableError:
                await asyncio.sleep(0)
        return await func(*args, **kwargs)


@pytest.mark.parametrize(
    "fault", [{"status": 429}, {"status": 502}, {"status": 503}, {"status": 504}, {"reset": True}, {"drop_answer": True}]
)
def test_what_may_be_retried_says_so(fault: dict[str, Any], front: Front, sandbox: RunningSandbox) -> None:
    async def identify_anyway(world: World) -> None:
        world.sandbox.faults([{**fault, "times": 2}])
        await world.track.identify("1", plan="pro")

    with pytest.raises(AsyncCustomerIORetryableError):
        World(front, sandbox).run(identify_anyway)
    world = World(front, sandbox, retry_strategy=RetryTwice())
    world.run(identify_anyway)
    assert world.held.people() == {"1": {"plan": "pro"}}
    status = fault.get("status")
    assert world.held.statuses() == [status, status, status, 200]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_the_rest_may_not(status: int, front: Front, sandbox: RunningSandbox) -> None:
    async def identify_once(world: World) -> None:
        world.sandbox.faults([{"status": status, "times": 1}])
        await world.track.identify("1")

    world = World(front, sandbox, retry_strategy=RetryTwice())
    with pytest.raises(AsyncCustomerIOError, match=f"HTTP {status}") as raised:
        world.run(identify_once)
    assert not isinstance(raised.value, AsyncCustomerIORetryableError)
    assert world.held.statuses() == [status]


def test_the_app_apis_rate_limit(front: Front, sandbox: RunningSandbox) -> None:
    async def all_at_once(world: World) -> None:
        answers = await asyncio.gather(*(world.app.segments.list() for _ in range(6)), return_exceptions=True)
        limited = [answer for answer in answers if isinstance(answer, AsyncCustomerIORetryableError)]
        assert limited
        assert {"segments": []} in answers

    sandbox.settings(app_requests_per_second=1)
    World(front, sandbox).run(all_at_once)


def test_garbage_with_a_200_is_passed_on_as_text(world: World) -> None:
    async def region(world: World) -> None:
        world.sandbox.faults([{"garbage": True, "times": 1}])
        assert isinstance(await world.track.get_region(), str)

    world.run(region)
