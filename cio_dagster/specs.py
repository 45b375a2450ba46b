"""The sync specs: what becomes what in Customer.io, by which key, with which behaviour.

This is the one place that says which sync keys and behaviours an object has. A spec is checked when it is made, so a wrong
combination stops the code location from loading, with the allowed ones named.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator
from typing_extensions import Self

from cio_dagster.limits import EVENT_NAME_BYTES

METADATA_KEY = "customerio/sync"
"""The key under which an asset's definition metadata holds its spec."""

NullPolicy: TypeAlias = Literal["omit", "clear"]
DateFormat: TypeAlias = Literal["unix", "iso"]
Threshold: TypeAlias = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)] | None
"""A count of rows (int), a share of them (float between 0 and 1), or None."""

IdentityProblem: TypeAlias = Literal["shared_email", "shared_id", "changed_email", "changed_id", "similar_ids", "id_like_email"]
"""See `cio_dagster.prepare.identity`."""
IdentityRule: TypeAlias = Literal["warn", "reject", "send"]


OTHERS_ROWS = "baseline='customerio' mirrors all that is there, so that each partition would remove the rows of the others"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Constant(_Model):
    """A value that every row gets, in an `attributes` mapping."""

    value: str | bool | int | Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Identifier:
    """One part of what names a row: its `kind` in Customer.io's words, and the source `column` that holds it."""

    kind: str
    column: str


class Spec(_Model):
    """What all sync specs share.

    attributes
        What is sent beside the key. None (the default): every column that has no other role, under its own name as it is.
        A mapping `{"Customer.io name": "column"}`: these alone; a `Constant` gives every row the same value, and dotted
        names (`"address.city"`) build nested values.
    dates
        How dates and datetimes are written: `"unix"` (seconds, the default) or `"iso"` (ISO 8601 in UTC); one for all, or a
        mapping by source column.
    naive_timezone
        The zone that datetimes without one are taken to be in. IANA name; default UTC.
    keep_newest_by
        Among source rows with the same key, keep the one with the highest value of this column and reject the rest. None
        (the default): reject them all.
    max_rejected
        More rejected rows than this (a count, or a share of the source as a float) fail the run, after what was accepted is
        kept. None (the default): the run succeeds and its check is red.
    """

    object: str
    behavior: str
    attributes: Mapping[str, str | Constant] | None = None
    dates: DateFormat | Mapping[str, DateFormat] = "unix"
    naive_timezone: str = "UTC"
    keep_newest_by: str | None = None
    max_rejected: Threshold = None

    @field_validator("naive_timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("not an IANA time zone, such as 'UTC' or 'Europe/Berlin'") from error
        return zone

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """Role (`person`, `object`, `token`, `row_id`) to identifier: all that names a row."""
        raise NotImplementedError

    @property
    def sync_key(self) -> list[str]:
        """The roles that form the sync key, in order."""
        return list(self.identifiers)

    @property
    def fields(self) -> dict[str, str]:
        """Customer.io's own fields of the operation (`platform`, `name`, ...) to the source columns that fill them."""
        return {}

    @property
    def identity(self) -> dict[str, str]:
        """What must not change while a snapshot is kept: the object, its sync key, and where its rows live."""
        return {role: self.identifiers[role].kind for role in self.sync_key} | {"object": self.object}

    @property
    def removes(self) -> bool:
        """Whether a row that leaves the source is removed from Customer.io."""
        return self.behavior in ("mirror", "replace")

    @property
    def unpartitionable(self) -> str | None:
        """Why its rows cannot be split over partitions; None where they can."""
        return None

    def null_policy(self, column: str) -> NullPolicy:
        """What a null in this source column means: leave what Customer.io has (`omit`), or remove it (`clear`)."""
        return "omit"

    def date_format(self, column: str) -> DateFormat:
        """How dates of this source column are written."""
        return self.dates if isinstance(self.dates, str) else self.dates.get(column, "unix")

    def to_metadata(self) -> dict[str, Any]:
        """The spec as asset definition metadata, for assets that are not made by `customerio_asset`."""
        return {METADATA_KEY: self.model_dump(mode="json")}


class _Removing(Spec):
    """Specs that can remove rows.

    max_delete
        A mirror stops before sending if it would remove more rows than this (a collection: if it would have so many fewer rows): a
        count, or a share of the snapshot as a float. None (the default): more than 20 % of the snapshot and more than 10 rows.
        The run option `allow_deletes` lifts it once.
    """

    max_delete: Threshold = None


class _Updating(_Removing):
    """Specs whose rows have attributes that last.

    send
        `"changed"` (the default) sends only the attributes that changed; `"all"` sends a changed row whole.
    max_changed
        A run stops before sending if more of the known rows have changed than this: a count, or a share of the snapshot as a float. A
        changed mapping does that, and never removes a row nor makes it anew. The run option `allow_changes` lifts it once. None (the
        default): never stop; warn if more than half of them and more than 1,000 have changed. 1.0 neither stops nor warns.
    """

    send: Literal["changed", "all"] = "changed"
    max_changed: Threshold = None


class _Clearing(_Updating):
    """Specs whose attributes can be removed.

    nulls
        What a null means: `"omit"` (the default) leaves what Customer.io has, `"clear"` sends null; one for all, or a mapping
        by source column. For objects and relationships null is documented to remove the attribute (Track API,
        object_attributes). For people it is not documented: try it on your workspace before relying on it.
    """

    nulls: NullPolicy | Mapping[str, NullPolicy] = "omit"

    def null_policy(self, column: str) -> NullPolicy:
        """As the `nulls` setting says."""
        return self.nulls if isinstance(self.nulls, str) else self.nulls.get(column, "omit")


class Person(_Clearing):
    """People, by Track v2 identify and delete operations.

    key, column
        What names the person, and the source column that holds it (default: named as the key).
    behavior
        `update_or_create`; `update_only` (sends `_update`, so that unknown people are not created); or `mirror`, which also
        deletes the people who leave the source, and only with `delete_people=True`.
    max_new_people
        A run stops before sending if it would create more people than this: a count, or a share of the snapshot as a float (which a
        first run, that has none, cannot exceed; a count it can). The run option `allow_changes` lifts it once. None (the default): no
        limit.
    identity_checks
        What becomes of rows whose id or email clashes with another row's, or with what Customer.io accepted before (the kinds and
        what Customer.io does with each: `cio_dagster.prepare.identity`): `"warn"` (the default) sends them and says so; `"reject"`
        does not send them; `"send"` sends them and says nothing, such as for changed emails where the workspace's setting "Allow
        updates to email using ID" is on. One for all, or a mapping by kind; kinds that it leaves out are warned about.
    """

    object: Literal["person"] = "person"
    key: Literal["id", "email", "cio_id", "phone"] = "id"
    column: str | None = None
    behavior: Literal["update_or_create", "update_only", "mirror"] = "update_or_create"
    delete_people: bool = False
    max_new_people: Threshold = None
    identity_checks: IdentityRule | Mapping[IdentityProblem, IdentityRule] = "warn"

    @model_validator(mode="after")
    def _deletes_on_purpose(self) -> Self:
        if self.behavior == "mirror" and not self.delete_people:
            raise ValueError(
                "behavior='mirror' deletes people, with their history, when they leave the source; say delete_people=True "
                "if that is meant, or use behavior='update_or_create' or 'update_only'"
            )
        return self

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The person."""
        return {"person": _person(self.key, self.column)}

    def identity_rule(self, problem: IdentityProblem) -> IdentityRule:
        """What becomes of rows with this problem."""
        rules = self.identity_checks
        return rules if isinstance(rules, str) else rules.get(problem, "warn")


class Device(_Updating):
    """Devices for push, by Track v2 add_device and delete_device operations.

    token, platform, last_used
        Source columns: the device's token, its platform (`ios` or `android`) and, optionally, when it was last used.
    key, column
        What names the owner, and the source column that holds it (default: named as the key).
    behavior
        `update_or_create`, or `mirror`, which also deletes the devices that leave the source.

    Attribute values are sent as strings, the only kind that the Track API declares for devices.
    """

    object: Literal["device"] = "device"
    key: Literal["id", "email", "cio_id"] = "id"
    column: str | None = None
    token: str = "token"
    platform: str = "platform"
    last_used: str | None = None
    behavior: Literal["update_or_create", "mirror"] = "update_or_create"

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The device's token, and its owner."""
        return {
            "token": Identifier("token", self.token),
            "person": _person(self.key, self.column),
        }

    @property
    def fields(self) -> dict[str, str]:
        """`platform` and `last_used`."""
        return {"platform": self.platform} | ({"last_used": self.last_used} if self.last_used else {})


class Event(Spec):
    """Events: each source row is sent once, ever.

    row_id
        Source column with an id that is unique over all rows, ever. It becomes the event's ULID, by which Customer.io ignores
        repeats.
    key, column
        What names the person, and the source column that holds it (default: named as the key). With `anonymous_id` the
        events are anonymous.
    name, name_column
        The events' name, or the source column that holds it. Just one of the two.
    timestamp
        Source column with the event's time. Without it, Customer.io takes the time of receipt.
    kind
        `event`, `page` or `screen`.
    start
        Which rows a first run may send, so that years of history do not set off campaigns: `"now"` (rows from the first run
        on; the default of an asset without partitions), a datetime (rows from then on), or `"all"` (the default of a
        partitioned asset). Rows left out are recorded, and never sent later.
    anonymous_endpoint
        Where anonymous events go: `"v1"` (the default), the documented call, one request for each event; or `"v2"`, in
        batches with `identifiers.anonymous_id`, which Customer.io's contract does not list but other connectors use.
    """

    object: Literal["event"] = "event"
    row_id: str
    key: Literal["id", "email", "cio_id", "phone", "anonymous_id"] = "id"
    column: str | None = None
    name: str | None = None
    name_column: str | None = None
    timestamp: str | None = None
    kind: Literal["event", "page", "screen"] = "event"
    start: Literal["now", "all"] | Annotated[datetime, Field(strict=False)] | None = None
    anonymous_endpoint: Literal["v1", "v2"] = "v1"
    behavior: Literal["send"] = "send"

    @model_validator(mode="after")
    def _named_and_timed(self) -> Self:
        if (self.name is None) == (self.name_column is None):
            raise ValueError("say either name='...' for all rows or name_column='...', just one of the two")
        if self.name is not None and not self.name.strip():
            raise ValueError("name must not be blank")
        if self.name is not None and len(self.name.encode()) > EVENT_NAME_BYTES:
            raise ValueError(f"name is {len(self.name.encode())} bytes; the limit is {EVENT_NAME_BYTES}")
        if isinstance(self.start, datetime) and self.timestamp is None:
            raise ValueError("start at a time needs timestamp='...', the column that holds each row's time")
        return self

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The row, and the person."""
        return {
            "row_id": Identifier("row_id", self.row_id),
            "person": _person(self.key, self.column),
        }

    @property
    def fields(self) -> dict[str, str]:
        """`name` (where a column holds it) and `timestamp`."""
        named = {"name": self.name_column} if self.name_column else {}
        return named | ({"timestamp": self.timestamp} if self.timestamp else {})

    @property
    def sync_key(self) -> list[str]:
        """The row id alone: whoever the event is about, it is sent once."""
        return ["row_id"]

    @property
    def single(self) -> bool:
        """Whether each event is a request of its own."""
        return self.key == "anonymous_id" and self.anonymous_endpoint == "v1"


class Collection(_Removing):
    """A collection, replaced whole by the App API whenever its rows differ from what Customer.io has.

    Rows are sent in the source's order; another order of the same rows is no difference.

    name, id
        The collection, by just one of the two. By name it is made where there is none; an id must exist.
    """

    object: Literal["collection"] = "collection"
    name: str | None = None
    id: int | None = None
    behavior: Literal["replace"] = "replace"

    @model_validator(mode="after")
    def _named(self) -> Self:
        _check_name_or_id(self.name, self.id)
        return self

    @property
    def unpartitionable(self) -> str | None:
        """A partition would replace what the others put there."""
        return "a collection is replaced whole, so that each partition would overwrite the others"

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """None: a collection's rows have no key."""
        return {}

    @property
    def identity(self) -> dict[str, str]:
        """The collection."""
        return {"object": self.object, "collection": self.name or f"id {self.id}"}


class ManualSegment(_Removing):
    """The members of a manual segment, by the Track v1 segment calls.

    name, id
        The segment, by just one of the two. By name it is made where there is none; an id must exist and be manual.
    key, column
        What names the members, and the source column that holds it (default: named as the key).
    behavior
        `update_or_create` adds members; `mirror` also removes those who leave the source.
    baseline
        What a mirror compares with: `"snapshot"` (the default), the members that this asset and partition put there; or
        `"customerio"`, all members there now, so that the segment equals the source even where others wrote to it.
    cio_id_prefix
        Whether `cio_id` values are sent with their `cio_` prefix. Not documented for segments; Customer.io's Go client's
        tests send it.
    """

    object: Literal["segment"] = "segment"
    name: str | None = None
    id: int | None = None
    key: Literal["id", "email", "cio_id"] = "id"
    column: str | None = None
    behavior: Literal["update_or_create", "mirror"] = "update_or_create"
    baseline: Literal["snapshot", "customerio"] = "snapshot"
    cio_id_prefix: bool = True
    attributes: Mapping[str, str | Constant] = Field(default={}, max_length=0, description="Members have no attributes.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        _check_name_or_id(self.name, self.id)
        _check_baseline(self.baseline, self.behavior)
        return self

    @property
    def unpartitionable(self) -> str | None:
        """A partition that mirrors all that is there would remove what the others put there."""
        return OTHERS_ROWS if self.baseline == "customerio" else None

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The member."""
        return {"person": _person(self.key, self.column)}

    @property
    def identity(self) -> dict[str, str]:
        """The sync key and the segment."""
        return super().identity | {"segment": self.name or f"id {self.id}"}


class Object(_Clearing):
    """Objects of one type, by Track v2 object operations.

    object_type_id
        The object type's id, an integer. The type must exist: Customer.io documents no call that makes one.
    column
        Source column with the object's id.
    behavior
        `update_or_create`, or `mirror`, which also deletes the objects that leave the source.
    baseline
        What a mirror compares with: `"snapshot"` (the default), the objects that this asset and partition put there; or
        `"customerio"`, all objects of the type there now.
    """

    object: Literal["object"] = "object"
    object_type_id: int = Field(ge=1, strict=False)
    column: str = "object_id"
    behavior: Literal["update_or_create", "mirror"] = "update_or_create"
    baseline: Literal["snapshot", "customerio"] = "snapshot"

    @model_validator(mode="after")
    def _baseline_is_mirrors(self) -> Self:
        _check_baseline(self.baseline, self.behavior)
        return self

    @property
    def unpartitionable(self) -> str | None:
        """A partition that mirrors all that is there would remove what the others put there."""
        return OTHERS_ROWS if self.baseline == "customerio" else None

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The object."""
        return {"object": Identifier("object_id", self.column)}

    @property
    def identity(self) -> dict[str, str]:
        """The sync key and the object type."""
        return super().identity | {"object_type_id": str(self.object_type_id)}


class Relationship(_Clearing):
    """Relationships between objects and people, by Track v2 add_relationships and delete_relationships.

    object_type_id, object_column
        The object type's id, an integer, and the source column with the object's id.
    key, column
        What names the person, and the source column that holds it (default: named as the key).
    behavior
        `update_or_create`, or `mirror`, which also deletes the relationships that leave the source.
    """

    object: Literal["relationship"] = "relationship"
    object_type_id: int = Field(ge=1, strict=False)
    object_column: str = "object_id"
    key: Literal["id", "email", "cio_id"] = "id"
    column: str | None = None
    behavior: Literal["update_or_create", "mirror"] = "update_or_create"

    @property
    def identifiers(self) -> dict[str, Identifier]:
        """The object, and the person."""
        return {
            "object": Identifier("object_id", self.object_column),
            "person": _person(self.key, self.column),
        }

    @property
    def identity(self) -> dict[str, str]:
        """The sync key and the object type."""
        return super().identity | {"object_type_id": str(self.object_type_id)}


AnySpec: TypeAlias = Person | Device | Event | Collection | ManualSegment | Object | Relationship
_ANY_SPEC: TypeAdapter[AnySpec] = TypeAdapter(Annotated[AnySpec, Field(discriminator="object")])


def find_spec(metadata: Mapping[str, Any]) -> AnySpec | None:
    """The spec in an asset's definition metadata: under `METADATA_KEY` as JSON, or a spec itself under any key. None if there is none."""
    for key, value in metadata.items():
        if isinstance(value, AnySpec):
            return value
        if key == METADATA_KEY:
            return read_spec(getattr(value, "value", value))
    return None


def read_spec(data: Mapping[str, Any]) -> AnySpec:
    """The spec that `model_dump(mode="json")` wrote."""
    return _ANY_SPEC.validate_python(data, strict=False)


def _person(key: str, column: str | None) -> Identifier:
    return Identifier(key, key if column is None else column)


def _check_name_or_id(name: str | None, id: int | None) -> None:
    if (name is None) == (id is None):
        raise ValueError("say either name='...' or id=..., just one of the two")
    if name is not None and not name.strip():
        raise ValueError("name must not be blank")


def _check_baseline(baseline: str, behavior: str) -> None:
    if baseline == "customerio" and behavior != "mirror":
        raise ValueError("baseline='customerio' compares all that is there with the source; it needs behavior='mirror'")
