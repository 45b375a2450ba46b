"""What Customer.io holds, read through the App API within a budget of requests.

Sources: the App API's customers, objects, segments, collections and activities (docs.customer.io/integrations/api/app). What an absent
entry means, how ids are prefixed and in which order activities come is documented in part only; where it is not, both ways are taken.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import polars as pl

from cio_dagster.deliver.client import Answer, Client, raise_for
from cio_dagster.deliver.targets import MEMBERS_A_PAGE, find_segment, segment_members
from cio_dagster.specs import AnySpec, Collection, Event, ManualSegment, Object, Person, Relationship

T = TypeVar("T")
Found: TypeAlias = "dict[str, dict[str, Any] | None]"
"""What was found under each value asked for, None where there is nothing. Values that were not asked for, for want of budget, are absent."""

PEOPLE_A_CALL = 100
"""The most ids in POST /v1/customers/attributes."""

ACTIVITIES_A_PAGE = 100
"""The most that GET /v1/activities gives at a time."""

KINDS = ("id", "email", "cio_id", "phone", "anonymous_id")
"""The identifiers by which an activity may name a person."""

FAILURE = pl.Schema(
    {"type": pl.String(), "time": pl.Int64(), "name": pl.String(), "object_id": pl.String(), "data": pl.String()}
    | {kind: pl.List(pl.String()) for kind in KINDS}
)
"""An activity that says something was not applied. `time` is in Unix seconds; under each kind are the identifiers it may be about."""


class BudgetSpent(Exception):
    """No more requests may be made."""


@dataclass
class Reader:
    """Reads through a client with no more than `most` requests. `cut` says what was left unread for want of them."""

    client: Client
    most: int

    def __post_init__(self) -> None:
        self._before = self.client.traffic.requests
        self.cut: set[str] = set()

    @property
    def requests(self) -> int:
        """Requests made, retries among them."""
        return self.client.traffic.requests - self._before

    @property
    def left(self) -> int:
        """Requests that may still be made."""
        return max(self.most - self.requests, 0)

    async def ask(self, method: str, path: str, content: Any = None, params: dict[str, str] | None = None) -> Answer:
        """One call of the App API. Raises BudgetSpent."""
        if not self.left:
            raise BudgetSpent
        return await self.client.app(method, path, content, params=params)

    async def pages(
        self, path: str, params: dict[str, str], limit: int = 0, *, missing_is_empty: bool = False
    ) -> AsyncIterator[dict[str, Any] | None]:
        """The pages of a listing; None, once, where `missing_is_empty` and there is no such thing (404)."""
        given = params | ({"limit": str(limit)} if limit else {})
        start = ""
        while True:
            answer = await self.ask("GET", path, params=given | ({"start": start} if start else {}))
            if missing_is_empty and answer.status == 404:
                yield None
                return
            page = raise_for(answer, f"Reading {path}").content
            yield page
            start = page.get("next") or ""
            if not start:
                return


async def people(reader: Reader, values: Sequence[str], kind: str) -> Found:
    """People by identifier, in hundreds: each as the App API describes them, with attributes (all strings) and devices."""
    # Whether this call wants a cio_id with its prefix is not documented. It leaves out what it does not know, so both are asked for.
    prefixes = ["cio_", ""] if kind == "cio_id" else [""]
    found: Found = {}
    for chunk in _chunks(values, PEOPLE_A_CALL // len(prefixes)):
        content = {"ids": [prefix + value for value in chunk for prefix in prefixes]}
        try:
            answer = await reader.ask("POST", "/v1/customers/attributes", content, {"id_type": kind})
        except BudgetSpent:
            reader.cut.add("people")
            break
        entries = raise_for(answer, "Reading people").content.get("customers") or []
        known = {_named(person, kind): person for person in (each.get("customer") or each for each in entries)}
        found |= {value: known.get(normal(value, kind)) for value in chunk}
    return found


async def objects(reader: Reader, values: Sequence[str], type_id: int) -> Found:
    """Objects of a type by id, one call each."""
    found: Found = {}
    for value in filter(_can_be_asked, values):
        path = f"/v1/objects/{type_id}/{quote(value, safe='')}/attributes"
        try:
            answer = await reader.ask("GET", path, params={"id_type": "object_id"})
        except BudgetSpent:
            reader.cut.add("objects")
            break
        gone = answer.status == 404
        found[value] = None if gone else raise_for(answer, "Reading an object").content.get("object") or {}
    return found


async def relationships(reader: Reader, values: Sequence[str], kind: str, type_id: int) -> dict[str, set[str] | None]:
    """The ids of the objects of a type that each person is related to, one call a page; None for a person who does not exist."""
    found: dict[str, set[str] | None] = {}
    for value in filter(_can_be_asked, values):
        path = f"/v1/customers/{quote('cio_' + value if kind == 'cio_id' else value, safe='')}/relationships"
        related: set[str] | None = set()
        try:
            async for page in reader.pages(path, {"id_type": kind}, missing_is_empty=True):
                if page is None:
                    related = None
                    break
                entries = page.get("cio_relationships") or []
                of_type = (each for each in entries if str(each.get("object_type_id")) == str(type_id))
                assert related is not None
                related.update(str((each.get("identifiers") or {}).get("object_id")) for each in of_type)
        except BudgetSpent:
            reader.cut.add("relationships")
            break
        found[value] = related
    return found


async def members(reader: Reader, spec: ManualSegment) -> tuple[pl.DataFrame | None, int | None]:
    """A segment's members by the spec's kind of identifier (`_key`) and their count. None and None: there is no such segment.

    Members of None with a count: they take more requests than are left.
    """
    if reader.left < 3:
        reader.cut.add("members")
        return None, 0
    found = await find_segment(reader.client, spec)
    if found is None:
        return None, None
    counted = raise_for(await reader.ask("GET", f"/v1/segments/{found}/customer_count"), "Counting members").content
    count = int(counted.get("count") or 0)
    if reader.left < 1 + -(-max(count, 1) // MEMBERS_A_PAGE):
        reader.cut.add("members")
        return None, count
    return (await segment_members(reader.client, spec)).select("_key"), count


async def collection(reader: Reader, spec: Collection) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """A collection's metadata (`rows`, `bytes`) and its rows; None where there is none."""
    listed = raise_for(await reader.ask("GET", "/v1/collections"), "Listing collections").content.get("collections") or []
    wanted = [each for each in listed if (each.get("name") == spec.name if spec.id is None else each.get("id") == spec.id)]
    if not wanted:
        return None
    content = raise_for(
        await reader.ask("GET", f"/v1/collections/{wanted[0]['id']}/content"), "Reading a collection's rows"
    ).content
    if isinstance(content, dict):
        # The document speaks of rows, but shows one object.
        content = (
            content["data"] if set(content) == {"data"} and isinstance(content["data"], list) else [content] * bool(content)
        )
    return wanted[0], content


def failure_types(spec: AnySpec) -> list[str]:
    """The activities that may say that something of this spec was not applied. Source: App API, listActivities."""
    match spec:
        case Person():
            return ["failed_attribute_change", "skipped_update", "failed_batch_update"]
        case Event():
            return ["failed_event"]
        case Object():
            return [f"_o:{spec.object_type_id}:failed_attribute_change"]
        case Relationship():
            return [f"_r:{spec.object_type_id}:failed_attribute_change"]
        case _:
            return []


async def failures(reader: Reader, types: Iterable[str], since: float) -> pl.DataFrame:
    """The activities of these types from a time on (Unix seconds), in the schema FAILURE."""
    rows: list[dict[str, Any]] = []
    for type in types:
        try:
            async for page in reader.pages("/v1/activities", {"type": type}, ACTIVITIES_A_PAGE):
                found = [_failure(each) for each in (page or {}).get("activities") or []]
                rows.extend(each for each in found if each["time"] >= since)
                # They come newest first, though that is not documented; a page of old ones alone ends it either way.
                if found and all(each["time"] < since for each in found):
                    break
        except BudgetSpent:
            reader.cut.add("activities")
            break
    return pl.DataFrame(rows, schema=FAILURE)


def normal(value: str, kind: str) -> str:
    """An identifier as Customer.io compares it: emails without case, `cio_id`s without prefix."""
    if kind == "email":
        return value.lower()
    return value.removeprefix("cio_") if kind == "cio_id" else value


def _named(person: dict[str, Any], kind: str) -> str:
    identifiers, attributes = person.get("identifiers") or {}, person.get("attributes") or {}
    value = identifiers.get(kind) or attributes.get(kind) or (person.get("id") if kind == "id" else None)
    return normal(str(value or ""), kind)


def _failure(activity: dict[str, Any]) -> dict[str, Any]:
    data = activity.get("data")
    data = data if isinstance(data, dict) else {}
    identifiers = activity.get("customer_identifiers") or {}

    def about(kind: str) -> list[str]:
        inside = data.get(kind)
        values = [identifiers.get(kind), inside.get("to") if isinstance(inside, dict) else inside]
        values += [activity.get("customer_id")] if kind == "id" else []
        return sorted({normal(value, kind) for value in values if isinstance(value, str) and value})

    object_id = (activity.get("object_identifiers") or {}).get("object_id") or data.get("object_id")
    name = activity.get("name") or data.get("name")
    return {
        "type": str(activity.get("type")),
        "time": int(activity.get("timestamp") or 0),
        "name": name if isinstance(name, str) else None,
        "object_id": object_id if isinstance(object_id, str) else None,
        "data": json.dumps(data, ensure_ascii=False),
        **{kind: about(kind) for kind in KINDS},
    }


def _can_be_asked(value: str) -> bool:
    """Whether a value can stand in a path: these two would lead elsewhere."""
    return value not in (".", "..")


def _chunks(values: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk
