"""Customer.io's own Node client, ``customerio-node``, against the sandbox: Track v1 and v2, and the App API."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from cio_dagster.sandbox.process import RunningSandbox

from . import node as node_module
from .files import file_server
from .node import NodeClient, NodeError
from .official import Held

ULID = "01J9Z3Y6Q5W4V3T2S1R0PNMKJH"
SECONDS = 1767323045
DATE = {"$date": SECONDS}
ACME = {"object_type_id": "1", "object_id": "acme"}


class World:
    """The client, and what the sandbox holds."""

    def __init__(self, node: NodeClient, sandbox: RunningSandbox) -> None:
        self.track = node.track
        self.app = node.app
        self.node = node
        self.sandbox = sandbox
        self.held = Held(sandbox)

    def manual_segment(self, name: str = "vip") -> int:
        """The id of a new manual segment."""
        id: int = self.sandbox.post("segments", {"name": name, "type": "manual"})["id"]
        return id

    def two_people(self) -> None:
        """Two people: 1 has an email and is on the pro plan, 2 is on the free one."""
        self.track("identify", "1", {"email": "ada+x@example.com", "plan": "pro", "seats": 3, "nested": {"a": [1]}})
        self.track("identify", "2", {"plan": "free"})

    def related(self) -> None:
        """Person 1 and the object acme, related."""
        person = {"identifiers": {"id": "1"}, "relationship_attributes": {"role": "owner"}}
        operation = {"type": "object", "action": "identify", "identifiers": ACME, "attributes": {"name": "Acme", "seats": 50}}
        self.track("entity", {**operation, "cio_relationships": [person]})


@pytest.fixture
def world(node: NodeClient, sandbox: RunningSandbox) -> World:
    return World(node, sandbox)


# The Track API


def identify(world: World) -> None:
    world.track("identify", "a/b c@+&=:ü", {"email": "ada@example.com", "plan": "pro", "score": 1.5, "vip": True})
    world.track("identify", 7, {"tags": ["x"], "at": DATE, "gone": None})
    # A Date becomes ISO text in JSON; Customer.io wants seconds, and takes the text for what it is.
    assert world.held.people() == {
        "a/b c@+&=:ü": {"plan": "pro", "score": 1.5, "vip": True},
        "7": {"tags": ["x"], "at": "2026-01-02T03:04:05.000Z"},
    }
    world.track("identify", f"cio_{world.held.person('7')['cio_id']}", {"id": "8", "email": "bo@example.com"})
    assert world.held.person("8")["email"] == "bo@example.com"


def destroy(world: World) -> None:
    world.two_people()
    world.track("destroy", "1")
    assert list(world.held.people()) == ["2"]


def suppress(world: World) -> None:
    world.track("suppress", "1")
    world.track("identify", "1")
    assert (world.held.people(), world.held.suppressed()) == ({}, [("id", "1")])


def unsuppress(world: World) -> None:
    world.track("suppress", "1")
    world.track("unsuppress", "1")
    world.track("identify", "1")
    assert list(world.held.people()) == ["1"]


def track(world: World) -> None:
    world.track("identify", "1")
    for _ in range(2):
        world.track("track", "1", {"name": "bought", "id": ULID, "timestamp": SECONDS, "data": {"price": 9.5}})
    event = world.held.event()
    assert (event["name"], event["id"], event["timestamp"]) == ("bought", ULID, SECONDS)
    assert event["attributes"] == {"price": 9.5}


def trackAnonymous(world: World) -> None:
    world.track("trackAnonymous", "visitor-1", {"name": "looked", "type": "screen", "data": {"tab": 1}})
    world.track("trackAnonymous", "", {"name": "invited", "data": {"recipient": "bo@example.com"}})
    assert world.held.events() == [("screen", "looked", {"tab": 1}), ("event", "invited", {"recipient": "bo@example.com"})]
    world.track("identify", "1", {"anonymous_id": "visitor-1"})
    assert [event["person"] and event["person"]["id"] for event in world.sandbox.get("events")] == ["1", None]


def trackPageView(world: World) -> None:
    world.track("trackPageView", "ada@example.com", "https://example.com/pricing")
    assert world.held.events() == [("page", "https://example.com/pricing", {})]


def trackPush(world: World) -> None:
    world.track("trackPush", {"delivery_id": "d-1", "event": "opened", "device_id": "t", "timestamp": SECONDS})
    assert world.held.deliveries() == [("d-1", "opened")]


def addDevice(world: World) -> None:
    world.track("addDevice", "1", "token/1", "ios", {"last_used": SECONDS, "device_os": "17"})
    world.track("addDevice", "1", "token-2", "android")
    device = world.held.devices()["token/1"]
    assert (device["last_used"], device["attributes"], device["person"]["id"]) == (SECONDS, {"device_os": "17"}, "1")


def deleteDevice(world: World) -> None:
    world.track("addDevice", "1", "token/1", "ios")
    world.track("deleteDevice", "1", "token/1")
    assert world.held.devices() == {}


def batch(world: World) -> None:
    person = {"type": "person", "identifiers": {"id": "1"}}
    good = {**person, "action": "identify", "attributes": {"plan": "pro"}}
    assert world.track("batch", [good, {**person, "action": "event", "name": "bought"}]) == {}
    answer = world.track("batch", [{**good, "identifiers": {"id": 1}}, good, {"type": "person"}])
    assert [error["batch_index"] for error in answer["errors"]] == [0, 2]
    assert world.held.people() == {"1": {"plan": "pro"}}


def entity(world: World) -> None:
    world.related()
    assert world.held.objects() == {("1", "acme"): {"name": "Acme", "seats": 50}}
    assert world.held.relationships() == [("1", "acme", {"role": "owner"})]
    with pytest.raises(NodeError) as raised:
        world.track("entity", {"type": "object", "action": "identify", "identifiers": {"object_type_id": 1}})
    assert raised.value.status == 400


def mergeCustomers(world: World) -> None:
    world.two_people()
    world.track("mergeCustomers", "id", "2", "email", "ada+x@example.com")
    assert world.held.people() == {"2": {"plan": "free", "seats": 3, "nested": {"a": [1]}}}


def getAccountRegion(world: World) -> None:
    answer = world.track("getAccountRegion")
    assert answer == {"url": "https://track.customer.io", "region": "us", "environment_id": 1}


def addCustomersToSegment(world: World) -> None:
    segment = world.manual_segment()
    world.two_people()
    world.track("addCustomersToSegment", segment, ["1", "nobody"])
    world.track("addCustomersToSegment", segment, [world.held.person("2")["cio_id"]], "cio_id")
    assert world.held.members(segment) == ["1", "2"]


def removeCustomersFromSegment(world: World) -> None:
    segment = world.manual_segment()
    world.two_people()
    world.track("addCustomersToSegment", segment, ["1", "2"])
    world.track("removeCustomersFromSegment", segment, ["ada+x@example.com", "2"], "email")
    assert world.held.members(segment) == ["2"]


def submitForm(world: World) -> None:
    assert world.track("submitForm", "signup", {"email": "ada@example.com", "city": "Oslo"}) == {}
    assert world.held.people() == {"ada@example.com": {"city": "Oslo"}}


def reportMetric(world: World) -> None:
    world.track("reportMetric", {"delivery_id": "d-1", "metric": "bounced", "reason": "unknown", "timestamp": SECONDS})
    assert world.held.deliveries() == [("d-1", "bounced")]


def unsubscribe(world: World) -> None:
    world.track("unsubscribe", "d/1")
    assert world.held.deliveries() == [("d/1", "unsubscribed")]


TRACK = [
    identify,
    destroy,
    suppress,
    unsuppress,
    track,
    trackAnonymous,
    trackPageView,
    trackPush,
    addDevice,
    deleteDevice,
    batch,
    entity,
    mergeCustomers,
    getAccountRegion,
    addCustomersToSegment,
    removeCustomersFromSegment,
    submitForm,
    reportMetric,
    unsubscribe,
]


# The App API: people


def getCustomersByEmail(world: World) -> None:
    world.two_people()
    [found] = world.app("getCustomersByEmail", "ADA+x@example.com")["results"]
    assert found == {"email": "ada+x@example.com", "id": "1", "cio_id": world.held.person("1")["cio_id"]}


def searchCustomers(world: World) -> None:
    world.two_people()
    everybody = {"or": [{"attribute": {"field": "plan", "operator": "eq", "value": each}} for each in ("pro", "free")]}
    first = world.app("searchCustomers", everybody, {"limit": 1})
    second = world.app("searchCustomers", everybody, {"limit": 1, "start": first["next"]})
    assert (first["ids"], second["ids"], second["next"]) == (["1"], ["2"], "")
    assert first["identifiers"][0]["email"] == "ada+x@example.com"


def getAttributes(world: World) -> None:
    world.two_people()
    customer = world.app("getAttributes", "ada+x@example.com", "email")["customer"]
    assert (customer["id"], customer["attributes"]["seats"]) == ("1", "3")
    assert world.app("getAttributes", "1")["customer"] == customer


def getCustomersAttributes(world: World) -> None:
    world.two_people()
    found = world.app("getCustomersAttributes", ["2", "nobody", "1"])["customers"]
    assert [each["customer"]["attributes"]["plan"] for each in found] == ["free", "pro"]


def getCustomerActivities(world: World) -> None:
    world.two_people()
    world.track("track", "1", {"name": "bought"})
    options = {"type": "event", "name": "bought", "idType": "email", "limit": 5}
    [activity] = world.app("getCustomerActivities", "ada+x@example.com", options)["activities"]
    assert (activity["type"], activity["name"], activity["customer_id"]) == ("event", "bought", "1")


def listActivities(world: World) -> None:
    world.two_people()
    world.track("destroy", "2")
    found = world.app("listActivities", {"type": "attribute_change", "customerId": "1"})["activities"]
    assert found[0]["data"]["plan"] == {"from": "", "to": "pro"}
    deleted = world.app("listActivities", {"type": "profile_delete", "deleted": True})["activities"]
    assert [each["customer_identifiers"]["id"] for each in deleted] == ["2"]
    first = world.app("listActivities", {"limit": 1})
    second = world.app("listActivities", {"limit": 1, "start": first["next"]})
    assert first["activities"][0]["timestamp"] >= second["activities"][0]["timestamp"]
    assert first["activities"] != second["activities"]


def getCustomerMessages(world: World) -> None:
    world.two_people()
    assert world.app("getCustomerMessages", "1", {"limit": 2})["messages"] == []


def getCustomerRelationships(world: World) -> None:
    world.related()
    [related] = world.app("getCustomerRelationships", "1", {"limit": 2})["cio_relationships"]
    assert related["identifiers"]["object_id"] == "acme"


def getCustomerSegments(world: World) -> None:
    segment = world.manual_segment()
    world.two_people()
    world.track("addCustomersToSegment", segment, ["1"])
    found = world.app("getCustomerSegments", "ada+x@example.com", "email")["segments"]
    assert [each["name"] for each in found] == ["vip"]


def getCustomerSubscriptionPreferences(world: World) -> None:
    world.track("identify", "1", {"cio_subscription_preferences": {"topics": {"topic_3": True}}, "unsubscribed": "TRUE"})
    customer = world.app("getCustomerSubscriptionPreferences", "1", {"language": "en"})["customer"]
    assert [(topic["id"], topic["subscribed"]) for topic in customer["topics"]] == [(3, True)]
    assert customer["unsubscribed"] is True


# The App API: objects


def listObjectTypes(world: World) -> None:
    assert [(each["id"], each["name"]) for each in world.app("listObjectTypes")["types"]] == [
        ("1", "Accounts"),
        ("2", "Courses"),
    ]


def findObjects(world: World) -> None:
    world.related()
    named = {"object_attribute": {"field": "name", "operator": "eq", "value": "Acme", "type_id": "1"}}
    assert world.app("findObjects", "1", named, {"limit": 10})["ids"] == ["acme"]
    assert world.app("findObjects", "1", {"not": named})["ids"] == []


def getObjectAttributes(world: World) -> None:
    world.related()
    found = world.app("getObjectAttributes", 1, "acme")["object"]
    assert (found["attributes"]["name"], found["attributes"]["seats"]) == ("Acme", "50")
    same = world.app("getObjectAttributes", 1, found["identifiers"]["cio_object_id"], "cio_object_id")["object"]
    assert same == found


def getObjectRelationships(world: World) -> None:
    world.related()
    [related] = world.app("getObjectRelationships", "1", "acme", {"limit": 10, "idType": "object_id"})["cio_relationships"]
    assert related["identifiers"]["id"] == "1"


# The App API: segments


def createSegment(world: World) -> None:
    segment = world.app("createSegment", {"name": "vip", "description": "Very"})["segment"]
    assert (segment["type"], segment["name"], segment["description"]) == ("manual", "vip", "Very")


def listSegments(world: World) -> None:
    world.manual_segment()
    assert [each["name"] for each in world.app("listSegments")["segments"]] == ["vip"]


def getSegment(world: World) -> None:
    segment = world.manual_segment()
    assert world.app("getSegment", segment)["segment"]["id"] == segment


def deleteSegment(world: World) -> None:
    assert world.app("deleteSegment", world.manual_segment()) == {}
    assert world.sandbox.get("segments") == []


def getSegmentCustomerCount(world: World) -> None:
    assert world.app("getSegmentCustomerCount", world.manual_segment())["count"] == 0


def getSegmentMembership(world: World) -> None:
    segment = world.manual_segment()
    world.two_people()
    world.track("addCustomersToSegment", segment, ["1", "2"])
    first = world.app("getSegmentMembership", segment, {"limit": 1})
    second = world.app("getSegmentMembership", segment, {"limit": 1, "start": first["next"]})
    assert (first["ids"], second["ids"]) == (["1"], ["2"])


def getSegmentUsedBy(world: World) -> None:
    segment = world.manual_segment()
    assert world.app("getSegmentUsedBy", segment)["segment_id"] == segment


# The App API: collections


def createCollection(world: World) -> None:
    rows = [{"sku": "a", "price": 1.5}, {"sku": "b"}]
    made = world.app("createCollection", {"name": "plans", "data": rows})["collection"]
    assert (made["name"], made["rows"], sorted(made["schema"])) == ("plans", 2, ["price", "sku"])
    assert world.sandbox.get("collections")[0]["data"] == rows


def listCollections(world: World) -> None:
    world.app("createCollection", {"name": "plans", "data": []})
    assert [each["name"] for each in world.app("listCollections")["collections"]] == ["plans"]


def getCollection(world: World) -> None:
    made = world.app("createCollection", {"name": "plans", "data": [{"a": 1}]})
    assert world.app("getCollection", made["collection"]["id"]) == made


def updateCollection(world: World) -> None:
    id = world.app("createCollection", {"name": "plans", "data": [{"a": 1}]})["collection"]["id"]
    assert world.app("updateCollection", id, {"name": "tariffs"})["collection"]["rows"] == 1
    assert world.app("updateCollection", id, {"data": [{"b": 1}, {"b": 2}]})["collection"]["schema"] == ["b"]
    [held] = world.sandbox.get("collections")
    assert (held["name"], held["data"]) == ("tariffs", [{"b": 1}, {"b": 2}])


def deleteCollection(world: World) -> None:
    id = world.app("createCollection", {"name": "plans", "data": []})["collection"]["id"]
    assert world.app("deleteCollection", id) == {}
    assert world.sandbox.get("collections") == []


def getCollectionContent(world: World) -> None:
    id = world.app("createCollection", {"name": "plans", "data": [{"a": 1}]})["collection"]["id"]
    assert world.app("getCollectionContent", id) == [{"a": 1}]


def updateCollectionContent(world: World) -> None:
    id = world.app("createCollection", {"name": "plans", "data": [{"a": 1}]})["collection"]["id"]
    assert world.app("updateCollectionContent", id, [{"b": 2}])["collection"]["rows"] == 1
    assert world.sandbox.get("collections")[0]["data"] == [{"b": 2}]


# The App API: exports, imports, workspaces


def createCustomersExport(world: World) -> None:
    world.two_people()
    pro = {"and": [{"attribute": {"field": "plan", "operator": "eq", "value": "pro"}}]}
    export = world.app("createCustomersExport", pro)["export"]
    assert (export["type"], export["status"], export["total"]) == ("customers", "done", 1)


def listExports(world: World) -> None:
    createCustomersExport(world)
    assert len(world.app("listExports")["exports"]) == 1


def getExport(world: World) -> None:
    world.sandbox.settings(export_delay=60)
    everybody = {"attribute": {"field": "cio_id", "operator": "exists"}}
    id = world.app("createCustomersExport", everybody)["export"]["id"]
    assert world.app("getExport", id)["export"]["status"] == "pending"
    world.sandbox.settings(clock_offset=61)
    assert world.app("getExport", id)["export"]["status"] == "done"


def downloadExport(world: World) -> None:
    world.two_people()
    everybody = {"attribute": {"field": "cio_id", "operator": "exists"}}
    id = world.app("createCustomersExport", everybody)["export"]["id"]
    with urllib.request.urlopen(world.app("downloadExport", id)["url"], timeout=20) as file:
        lines = file.read().decode().splitlines()
    assert lines[0].startswith("id,email,cio_id")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]


def createImport(world: World) -> None:
    with file_server("id,plan\n1,pro\n2,\n", "text/csv") as url:
        given = {"name": "people", "type": "people", "identifier": "id", "data_file_url": url, "data_to_process": "all"}
        made = world.app("createImport", given)["import"]
    assert (made["type"], made["state"], made["rows_imported"]) == ("people", "imported", 2)
    assert world.held.people() == {"1": {"plan": "pro"}, "2": {}}
    assert world.app("getImport", made["id"])["import"]["state"] == "imported"


def listWorkspaces(world: World) -> None:
    world.two_people()
    assert [each["people"] for each in world.app("listWorkspaces")["workspaces"]] == [2]


APP = [
    getCustomersByEmail,
    searchCustomers,
    getAttributes,
    getCustomersAttributes,
    getCustomerActivities,
    listActivities,
    getCustomerMessages,
    getCustomerRelationships,
    getCustomerSegments,
    getCustomerSubscriptionPreferences,
    listObjectTypes,
    findObjects,
    getObjectAttributes,
    getObjectRelationships,
    createSegment,
    listSegments,
    getSegment,
    deleteSegment,
    getSegmentCustomerCount,
    getSegmentMembership,
    getSegmentUsedBy,
    createCollection,
    listCollections,
    getCollection,
    updateCollection,
    deleteCollection,
    getCollectionContent,
    updateCollectionContent,
    createCustomersExport,
    listExports,
    getExport,
    downloadExport,
    createImport,
    listWorkspaces,
]
ELSEWHERE = ("getImport",)
"""Tried inside another case."""
NOT_IN_THE_SANDBOX = (
    *("send", "trigger", "createDeliveriesExport", "listSubscription", "getSubscriptionCenter"),
    *("listTransactional", "getTransactional", "updateTransactional", "resourceBase", "listCampaigns", "getCampaign"),
    *("updateCampaign", "getBroadcast", "listBroadcasts", "updateBroadcast", "Newsletter", "listNewsletters"),
    *("DesignStudio", "Asset", "Suppression", "ReportingWebhook", "Snippet", "SenderIdent", "getMessage"),
    *("getArchivedMessage", "batchUpdate", "getIpAddresses", "scheduleNewsletter"),
)
"""What the client also does: messages and what they are made of, and lists of an address's mail suppressions."""


@pytest.mark.parametrize("case", [*TRACK, *APP], ids=lambda case: case.__name__)
def test_the_sandbox_takes(case: Callable[[World], None], world: World) -> None:
    case(world)


def test_every_method_of_the_client_is_tried_or_left_out_knowingly(node: NodeClient) -> None:
    methods = node.methods()
    assert set(methods["track"]) == {case.__name__ for case in TRACK}
    tried = {case.__name__ for case in APP} | set(ELSEWHERE)
    left = {name for name in methods["app"] if name not in tried}
    assert {name for name in left if not any(part in name for part in NOT_IN_THE_SANDBOX)} == set()


@pytest.mark.parametrize(("client", "method", "args"), [("track", "identify", ["1", {}]), ("app", "listSegments", [])])
def test_wrong_credentials(client: str, method: str, args: list[Any], world: World) -> None:
    with pytest.raises(NodeError, match="Unauthorized request") as raised:
        world.node.as_somebody_else(client, method, *args)
    assert (raised.value.name, raised.value.status) == ("CustomerIORequestError", 401)
    assert world.held.statuses() == [401]


QUICK = {"retry": {"minTimeoutMs": 1, "maxTimeoutMs": 5}}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522, 524])
def test_passing_failures_are_retried(status: int, world: World) -> None:
    world.sandbox.faults([{"status": status, "times": 3}])
    world.track("identify", "1", {"plan": "pro"}, **QUICK)
    assert world.held.statuses() == [status, status, status, 200]
    assert world.held.people() == {"1": {"plan": "pro"}}


def test_retries_give_up_after_three(world: World) -> None:
    world.sandbox.faults([{"status": 503}])
    with pytest.raises(NodeError) as raised:
        world.track("identify", "1", **QUICK)
    assert (raised.value.status, world.held.statuses()) == (503, [503] * 4)


@pytest.mark.parametrize("status", [400, 404, 501])
def test_lasting_failures_are_not(status: int, world: World) -> None:
    world.sandbox.faults([{"status": status, "times": 1}])
    with pytest.raises(NodeError) as raised:
        world.track("identify", "1", **QUICK)
    assert (raised.value.status, world.held.statuses()) == (status, [status])


def test_the_default_retry_waits_and_then_succeeds(world: World) -> None:
    world.sandbox.faults([{"status": 503, "times": 1}])
    began = time.monotonic()
    world.track("identify", "1")
    assert time.monotonic() - began >= 0.2
    assert world.held.statuses() == [503, 200]


def test_retry_after_is_honoured(world: World) -> None:
    world.sandbox.faults([{"status": 429, "headers": {"Retry-After": "1"}, "times": 1}])
    began = time.monotonic()
    world.track("identify", "1", **QUICK)
    assert time.monotonic() - began >= 0.95


def test_the_app_apis_own_rate_limit_is_waited_out(world: World) -> None:
    world.sandbox.settings(app_requests_per_second=1)
    for _ in range(2):
        world.app("listSegments", **QUICK)
    assert world.held.statuses() == [200, 429, 200]


@pytest.mark.parametrize("fault", [{"reset": True}, {"drop_answer": True}])
def test_lost_connections_are_retried(fault: dict[str, Any], world: World) -> None:
    world.sandbox.faults([{**fault, "times": 1}])
    world.track("track", "1", {"name": "bought", "id": ULID}, **QUICK)
    assert world.held.statuses() == [None, 200]
    assert world.held.events() == [("event", "bought", {})]


def test_timeouts_are_retried(world: World) -> None:
    world.sandbox.faults([{"delay": 5, "times": 1}])
    world.track("identify", "1", timeout=200, **QUICK)
    assert list(world.held.people()) == ["1"]


def test_redirects_to_the_other_region_are_followed(world: World) -> None:
    """The status of that redirect is not documented; the client replays method and body on these four."""
    for status in (301, 302, 307, 308):
        location = f"{world.sandbox.url}/api/v1/metrics"
        world.sandbox.faults([{"status": status, "headers": {"Location": location}, "times": 1}])
        world.track("reportMetric", {"delivery_id": f"d-{status}", "metric": "opened"})
    assert [delivery for delivery, _ in world.held.deliveries()] == ["d-301", "d-302", "d-307", "d-308"]


def test_both_shapes_of_error_are_understood(world: World) -> None:
    with pytest.raises(NodeError, match="event name cannot be longer than 100 bytes"):
        world.track("track", "1", {"name": "x" * 101})
    with pytest.raises(NodeError, match="id attribute cannot be longer than 150 bytes"):
        world.track("mergeCustomers", "id", "1", "id", "x" * 151)


def test_pages_instead_of_json_are_no_answer(world: World) -> None:
    with pytest.raises(NodeError, match="Unable to parse JSON"):
        world.app("getIpAddresses", **QUICK)
    assert world.held.statuses() == [404]


def test_a_missing_node_is_a_failure_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="install it with"):
        node_module.install()
