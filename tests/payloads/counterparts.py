"""Our counterpart to each request of `tests/contract/payload_cases.json`: the tables and specs that say the same, and what differs.

A difference is a path in the operations (see `same.py`) or in what the sandbox holds, with the reason. Nothing else may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

import polars as pl

from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship

Row = Mapping[str, Any]

# Reasons.
NO_TIMESTAMP = (
    "an identify of ours carries no time: a row has none of its own, and an update older than the person's last edit is dropped "
    "without a word (reported by PostHog, issue 55330); its order in a run is the plan's"
)
OWN_ULID = "each event of ours has a ULID made from the row's id, so that a repeated one is ignored"
TEXT_IN_DEVICES = "the contract declares a device's attributes as strings, so ours are; v2 refuses numbers"
ISO_IN_SECONDS = "the contract declares Unix seconds, so ours are; the text is refused"
KEY_IS_NO_ATTRIBUTE = "the identifier is not sent once more as an attribute: it says nothing new"
NOT_IN_CONTRACT = "what the contract does not know is not sent"
OUR_DESCRIPTION = "the segment that is made tells who keeps it"
WITH_MEMBERS = "a segment is made when it gets its first members, who follow at once"


@dataclass(frozen=True)
class Sync:
    """One table of ours: the spec, the rows, and the rows of the run before, if that is what the request is about."""

    spec: AnySpec
    rows: Sequence[Row]
    before: Sequence[Row] = ()

    @property
    def frame(self) -> pl.DataFrame:
        """The table."""
        return _frame(self.rows) if self.rows else self.frame_before.clear()

    @property
    def frame_before(self) -> pl.DataFrame:
        """The table of the run before."""
        return _frame(self.before)


@dataclass(frozen=True)
class Same:
    """A counterpart: syncs that say the same, but for differences in the operations (`said`) and in the sandbox (`held`).

    rejected
        Why rows of ours are rejected, where the request is one that Customer.io refuses.
    refused
        Why the request is refused while ours is accepted: what is held is not compared then.
    """

    syncs: Sequence[Sync]
    said: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[str] = ()
    refused: str = ""


def same(spec: AnySpec, *rows: Row, before: Sequence[Row] = (), **rest: Any) -> Same:
    """A counterpart of one sync."""
    return Same([Sync(spec, rows, before)], **rest)


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame([dict(row) for row in rows], infer_schema_length=None)


NOON = datetime(2024, 4, 19, tzinfo=timezone.utc)
ADA = "ada@example.com"
PERSON, BY_EMAIL, BY_CIO_ID = Person(), Person(key="email"), Person(key="cio_id")
DEVICE = Device(column="owner", last_used="seen")
DEVICE_TIMELESS = Device(column="owner")
SEEN = {"owner": "42", "token": "token-1", "platform": "ios", "seen": NOON}
SENT = {"n": 1, "who": "42", "at": NOON}
ACCOUNT = {"object_id": "acme", "name": "Sales"}


def event(name: str, **given: Any) -> Event:
    """Events of one name, by a person's id unless told."""
    return Event(**{"row_id": "n", "column": "who", "timestamp": "at", "name": name} | given)


MEMBER = Relationship(object_type_id=1, column="who")
ACCOUNTS = Object(object_type_id=1)
MIRRORED_ACCOUNTS = Object(object_type_id=1, behavior="mirror")

COUNTERPARTS: dict[str, Same] = {
    "segment-person-by-id": same(
        PERSON,
        {
            "id": "42",
            "full_name": "Ada Lovelace",
            "email": ADA,
            "created_at": NOON,
            "anonymous_id": "visitor-1",
            "person": {"over18": True, "birthdate": date(1815, 12, 18)},
        },
        said={"0/timestamp": NO_TIMESTAMP},
    ),
    "segment-person-by-email": same(
        BY_EMAIL,
        {"email": ADA, "full_name": "Ada Lovelace", "anonymous_id": "visitor-1"},
        said={"0/timestamp": NO_TIMESTAMP},
    ),
    "segment-person-by-cio-id": same(BY_CIO_ID, {"cio_id": "{cio_id}", "plan": "pro"}),
    "segment-person-with-object": Same(
        [
            Sync(PERSON, [{"id": "42", "email": ADA, "objectId": "acme"}]),
            Sync(MEMBER, [{"who": "42", "object_id": "acme", "role": "admin", "prefix": "Ms."}]),
        ],
        said={"0/timestamp": NO_TIMESTAMP},
    ),
    "segment-person-untouched-dates": same(
        PERSON, {"id": "42", "created_at": "1713484800", "born": "25 Mar 1985"}, said={"0/timestamp": NO_TIMESTAMP}
    ),
    "segment-person-unreadable-time": same(
        PERSON,
        {"id": "42", "full_name": "Ada"},
        said={"0/timestamp": NO_TIMESTAMP},
        refused="their time is no integer",
    ),
    "segment-delete-person": same(Person(behavior="mirror", delete_people=True), before=[{"id": "42"}]),
    "rudderstack-person-v1": same(
        PERSON,
        {
            "id": "42",
            "anonymous_id": "visitor-1",
            "city": "Oslo",
            "street": "",
            "postalCode": 150,
            "email": ADA,
            "dot.name": "Ada",
        },
        said={"0/timestamp": NO_TIMESTAMP},
    ),
    "rudderstack-person-v1-email-in-path": same(
        BY_EMAIL,
        {"email": ADA, "first_name": "Ada"},
        said={"0/timestamp": NO_TIMESTAMP, "0/attributes/email": KEY_IS_NO_ATTRIBUTE},
    ),
    "rudderstack-person-v1-change-identifiers": same(BY_CIO_ID, {"cio_id": "{cio_id}", "email": "new@example.com", "id": "43"}),
    "rudderstack-person-v2": same(
        PERSON,
        {"id": "42", "city": "Oslo", "email": ADA, "dot.name": "Ada", "anonymous_id": "visitor-1"},
        said={"0/attributes/_timestamp": NOT_IN_CONTRACT},
    ),
    "posthog-person": same(BY_EMAIL, {"email": ADA, "name": "Ada", "lastname": "Lovelace"}),
    "n8n-person": same(PERSON, {"id": "42", "data": {"plan": "pro"}, "email": ADA, "created_at": 1713484800.5}),
    "n8n-delete-person": same(Person(behavior="mirror", delete_people=True), before=[{"id": "42"}]),
    "node-person-update-only": same(
        Person(behavior="update_only"),
        {"id": "nobody", "plan": "pro"},
        held={"failed/0": "the contract's text for v1 says that a failed change is logged, that for v2 that nothing happens"},
    ),
    "segment-device-v1": same(DEVICE, SEEN),
    "segment-device-iso-time": same(
        DEVICE, SEEN, said={"0/device/last_used": ISO_IN_SECONDS}, refused="their last_used is text"
    ),
    "rudderstack-device-v1": same(
        DEVICE,
        {**SEEN, "review_id": "r-1", "rating": 2},
        said={"0/device/attributes/rating": TEXT_IN_DEVICES},
        held={"devices/0/attributes/rating": TEXT_IN_DEVICES},
    ),
    "rudderstack-device-v1-no-platform": same(
        Device(key="email", column="owner", last_used="seen"),
        {**SEEN, "owner": ADA, "platform": None, "role": "admin"},
        said={"0": "a device without a platform is a rejected row, and nothing is sent"},
        rejected=["unknown_platform"],
    ),
    "rudderstack-device-v2": same(
        DEVICE,
        {
            **SEEN,
            "platform": "Android",
            "device_os": "Android",
            "device_model": "Pixel 9",
            "app_version": "1.0",
            "device_locale": "en-US",
        },
    ),
    "rudderstack-device-v2-number": same(
        DEVICE_TIMELESS,
        {"owner": "42", "token": "token-1", "platform": "android", "rating": 2},
        said={"0/device/attributes/rating": TEXT_IN_DEVICES},
        refused="their attribute is a number",
    ),
    "rudderstack-delete-device-v2": same(
        Device(column="owner", behavior="mirror"), before=[{"owner": "42", "token": "token-1", "platform": "ios"}]
    ),
    "rudderstack-delete-device-v1": same(
        Device(column="owner", behavior="mirror"), before=[{"owner": "42", "token": "token-1", "platform": "ios"}]
    ),
    "segment-event-v1": same(
        event("bought"),
        {**SENT, "price": 9.5, "person": {"over18": True}},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "segment-anonymous-event-v1": same(
        event("looked", key="anonymous_id"),
        {**SENT, "who": "visitor-1", "page": "/"},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "segment-screen-v1": same(
        event("Page One", kind="screen"),
        {**SENT, "screen": "Page One"},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "segment-event-iso-time": same(
        event("bought"), SENT, said={"0/id": OWN_ULID, "0/timestamp": ISO_IN_SECONDS}, refused="their timestamp is text"
    ),
    "segment-event-batch": same(
        Event(row_id="n", column="who", name_column="what"),
        {"n": 1, "who": "42", "what": "First"},
        {"n": 2, "who": "43", "what": None},
        said={"0/id": OWN_ULID, "1": "an event without a name is a rejected row, and not sent"},
        held={"events/0/id": OWN_ULID},
        rejected=["missing_name"],
    ),
    "rudderstack-event-v1": same(
        event("bought", key="email"),
        {**SENT, "who": ADA, "price": 9},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "rudderstack-page-v2": same(
        event("Pricing", kind="page"),
        {**SENT, "path": "/pricing", "referrer": "x", "search": "q", "title": "Pricing", "url": "example.com/pricing"},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "rudderstack-anonymous-screen-v2": same(
        event("Viewed Home Screen", key="anonymous_id", kind="screen", anonymous_endpoint="v2"),
        {**SENT, "who": "visitor-1", "plan": "pro"},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "rudderstack-event-slashes-v2": same(
        event("bought", timestamp=None),
        {"n": 1, "who": "user/with/slashes", "value": 123},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "n8n-event": same(
        event("bought", timestamp=None),
        {"n": 1, "who": "42", "price": "9", "type": "page"},
        said={"0/id": OWN_ULID},
        held={"events/0/id": OWN_ULID},
    ),
    "node-event-with-id": same(
        event("bought"),
        SENT,
        said={"0/id": "the ULID is made from the row's id; one of the source's own cannot be given"},
        held={"events/0/id": "the ULID is made from the row's id; one of the source's own cannot be given"},
    ),
    "segment-object": Same(
        [
            Sync(ACCOUNTS, [{**ACCOUNT, "industry": "Technology", "created_at": NOON, "anonymous_id": "visitor-1"}]),
            Sync(MEMBER, [{"object_id": "acme", "who": "42"}]),
        ],
        said={"0/created_at": NOT_IN_CONTRACT},
    ),
    "segment-object-relationship-attributes": Same(
        [
            Sync(ACCOUNTS, [ACCOUNT]),
            Sync(
                Relationship(object_type_id=1, key="email", column="who"),
                [{"object_id": "acme", "who": ADA, "role": "admin", "createdAt": NOON}],
            ),
        ]
    ),
    "segment-delete-relationship": same(
        Relationship(object_type_id=1, column="who", behavior="mirror"),
        before=[{"object_id": "acme", "who": "42"}],
        said={"0/attributes": NOT_IN_CONTRACT},
    ),
    "segment-delete-object": same(MIRRORED_ACCOUNTS, before=[{"object_id": "acme"}]),
    "rudderstack-object-v2": Same(
        [
            Sync(
                ACCOUNTS,
                [{"object_id": "acme", "domainNames": "example.com", "email": "help@example.com", "name": "Acme"}],
            ),
            Sync(MEMBER, [{"object_id": "acme", "who": "42"}]),
        ]
    ),
    "rudderstack-delete-object-v2": same(
        MIRRORED_ACCOUNTS,
        before=[{"object_id": "acme"}],
        said={"0/attributes": NOT_IN_CONTRACT, "0/cio_relationships": NOT_IN_CONTRACT},
    ),
    "rudderstack-object-without-batch": Same(
        [
            Sync(ACCOUNTS, [{"object_id": "acme", "name": "Acme"}]),
            Sync(Relationship(object_type_id=1, key="email", column="who"), [{"object_id": "acme", "who": ADA}]),
        ],
        refused="their operation is sent to the batch call without a batch around it",
    ),
    "person-side-relationship": same(MEMBER, {"object_id": "acme", "who": "42", "role": "admin"}),
    "person-side-relationship-v1": same(MEMBER, {"object_id": "acme", "who": "42", "role": "admin"}),
    "rudderstack-segment-add": same(ManualSegment(name="vip"), {"id": "42"}, {"id": "43"}, {"id": "nobody"}),
    "rudderstack-segment-remove": same(
        ManualSegment(name="vip", behavior="mirror"), {"id": "43"}, before=[{"id": "42"}, {"id": "43"}]
    ),
    "n8n-segment-add": same(ManualSegment(name="vip"), {"id": 42}, {"id": 43}),
    "node-segment-create": same(
        ManualSegment(name="trial"),
        {"id": "nobody"},
        said={"0/description": OUR_DESCRIPTION, "1": WITH_MEMBERS},
        held={"segments/1/description": OUR_DESCRIPTION},
    ),
    "node-collection-create": same(Collection(name="plans"), {"sku": "a", "price": 1.5}, {"sku": "b", "price": None}),
    "node-collection-content": same(Collection(name="plans"), {"sku": "b"}, {"sku": "c"}, before=[{"sku": "a"}]),
    "node-collection-update": same(Collection(name="plans"), {"sku": "z"}, before=[{"sku": "a"}]),
}

NO_COUNTERPART = {
    "segment-person-by-anonymous-id": "people have no such key: an anonymous_id identifies nobody, and Customer.io refuses it",
    "segment-merge": "a merge cannot be undone and is no state of a table; people are merged by hand or by id in the warehouse",
    "rudderstack-merge-v2": "a merge, as above",
    "segment-suppress": "suppressing cannot be undone and is no state of a table",
    "segment-unsuppress": "as suppressing",
    "segment-object-anonymous": "relationships name people by id, email or cio_id; a visitor who is nobody yet is in no warehouse table",
    "segment-object-type-in-words": "an object type that is no integer stops the code from loading; Customer.io refuses it",
    "segment-metric": "reports of deliveries come from the app that got the message, not from a warehouse",
}
