"""Segments, collections and objects as they stand in Customer.io: found or made by name, and read page by page (App API)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import polars as pl

from cio_dagster.deliver.client import Answer, Client, raise_for
from cio_dagster.errors import RequestRefused, Unavailable
from cio_dagster.specs import Collection, ManualSegment, Object

T = TypeVar("T")

MEMBERS_A_PAGE = 30_000
"""The most that GET /v1/segments/{id}/membership gives at a time (App API, segments)."""

OBJECTS_A_PAGE = 1_000


async def find_segment(client: Client, spec: ManualSegment) -> int | None:
    """The segment's id, or None where no segment has the name. Raises RequestRefused where it is not one manual segment."""
    answer = raise_for(await client.app("GET", "/v1/segments"), "Listing segments")
    wanted = [each for each in _list(answer, "segments") if _is_named(each, spec)]
    label = f"segment {spec.name!r}" if spec.id is None else f"segment {spec.id}"
    if len(wanted) > 1:
        raise RequestRefused(
            f"Several segments are named {spec.name!r} ({[each['id'] for each in wanted]}): say id=... in the spec."
        )
    if wanted and wanted[0].get("type") != "manual":
        raise RequestRefused(f"{label} is {wanted[0].get('type')!r}; only manual segments take members from outside.")
    if not wanted and spec.id is not None:
        raise RequestRefused(f"{label} does not exist: make it in Customer.io, or say name=... in the spec.")
    return int(wanted[0]["id"]) if wanted else None


async def segment_id(client: Client, spec: ManualSegment) -> int:
    """The segment's id; the segment is made where no segment has the name.

    A segment that the spec names by id is looked at first, to see that it takes members; without the App API it is not.
    """
    if spec.id is not None and not client.has_app_key:
        return spec.id

    async def make() -> int:
        content = {"segment": {"name": spec.name, "description": "Kept by cio_dagster from the warehouse."}}
        answer = raise_for(await client.app("POST", "/v1/segments", content, repeatable=False), f"Making segment {spec.name!r}")
        return int(answer.content["segment"]["id"])

    try:
        return await _find_or_make(client, lambda: find_segment(client, spec), make)
    except Unavailable:
        if spec.id is None:
            raise
        return spec.id


async def segment_members(client: Client, spec: ManualSegment) -> pl.DataFrame:
    """The members now: `_key`, `_person` (String). Members who lack the spec's kind of identifier are left out; empty if there is no segment."""
    found = await find_segment(client, spec)
    pages = [pl.Series(dtype=pl.String)]
    if found is not None:
        async for page in _pages(client, "GET", f"/v1/segments/{found}/membership", {"limit": str(MEMBERS_A_PAGE)}):
            pages.append(_column(page, spec.key))
    values = pl.concat(pages).alias("_person")
    if spec.key == "cio_id":
        values = values.str.strip_prefix("cio_")
    keys = values.str.to_lowercase() if spec.key == "email" else values
    return pl.DataFrame({"_key": keys, "_person": values}).unique("_key", keep="first", maintain_order=True)


async def objects(client: Client, spec: Object) -> pl.DataFrame:
    """The objects of the spec's type now: `_key`, `_object` (String)."""
    # The contract wants a filter and documents none for "all": having some attribute, or not having it, is true of every object.
    type_id = str(spec.object_type_id)
    named = {"object_attribute": {"field": "name", "operator": "exists", "type_id": type_id}}
    content = {"object_type_id": type_id, "filter": {"or": [named, {"not": named}]}}
    pages = [pl.Series(dtype=pl.String)]
    async for page in _pages(client, "POST", "/v1/objects", {"limit": str(OBJECTS_A_PAGE)}, content):
        pages.append(_column(page, "object_id"))
    # Pages may repeat entries (App API, objects).
    values = pl.concat(pages).unique(maintain_order=True)
    return pl.DataFrame({"_key": values, "_object": values})


async def replace_collection(client: Client, spec: Collection, rows: str) -> Answer:
    """Replace a collection's rows by a JSON array; the collection is made where none has the name. Errors are in the answer."""

    async def replace() -> Answer | None:
        answer = raise_for(await client.app("GET", "/v1/collections"), "Listing collections")
        wanted = [each for each in _list(answer, "collections") if _is_named(each, spec)]
        if len(wanted) > 1:
            raise RequestRefused(f"Several collections are named {spec.name!r}: say id=... in the spec.")
        if not wanted and spec.id is not None:
            raise RequestRefused(f"Collection {spec.id} does not exist: make it in Customer.io, or say name=... in the spec.")
        if not wanted:
            return None
        return await client.app("PUT", f"/v1/collections/{wanted[0]['id']}", body=f'{{"data":{rows}}}'.encode())

    async def make() -> Answer:
        body = f'{{"name":{json.dumps(spec.name)},"data":{rows}}}'.encode()
        return await client.app("POST", "/v1/collections", body=body, repeatable=False)

    return await _find_or_make(client, replace, make)


class _Unclear(Exception):
    """Something was to be made, and whether it was is not known."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(str(error))
        self.error = error


async def _find_or_make(client: Client, find: Callable[[], Awaitable[T | None]], make: Callable[[], Awaitable[T]]) -> T:
    """Make a thing that must not be made twice: after an unclear answer, look whether it is there before trying again."""
    try:
        async for attempt in client.attempts(lambda error: isinstance(error, _Unclear)):
            with attempt:
                if (found := await find()) is not None:
                    return found
                try:
                    return await make()
                except Unavailable as error:
                    raise _Unclear(error) from error
    except _Unclear as unclear:
        raise unclear.error from None
    raise AssertionError("the last attempt returns or raises")


async def _pages(
    client: Client, method: str, path: str, params: dict[str, str], content: Any = None
) -> AsyncIterator[dict[str, Any]]:
    """The pages of a listing. An absent, empty or null `next` ends it: which of them does is not documented."""
    start = ""
    while True:
        page = raise_for(
            await client.app(method, path, content, params=params | ({"start": start} if start else {})), f"Reading {path}"
        )
        yield page.content
        start = page.content.get("next") or ""
        if not start:
            return


def _list(answer: Answer, name: str) -> list[dict[str, Any]]:
    return answer.content.get(name) or [] if isinstance(answer.content, dict) else []


def _is_named(entry: dict[str, Any], spec: ManualSegment | Collection) -> bool:
    return str(entry.get("id")) == str(spec.id) if spec.id is not None else entry.get("name") == spec.name


def _column(page: dict[str, Any], name: str) -> pl.Series:
    """One identifier of a page's entries, of those that have it."""
    values = pl.DataFrame(page.get("identifiers") or [], schema={name: pl.String}, strict=False)[name]
    return values.filter(values.is_not_null() & (values != "")).alias("")
