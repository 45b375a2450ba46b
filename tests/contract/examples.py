"""One valid call or more for every operation of the Track contract: the document's own examples, and ours where it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .openapi import Document, operations, resolved
from .wire import NOTHING

PATH_VALUES = {
    "identifier": "42",
    "device_id": "a83b219c-e756-4c5b",
    "form_id": "signup",
    "delivery_id": "RPILAgUBcRhIBqSfeiIw",
}
"""What stands for each parameter of a path; a segment's id depends on the segment."""

OURS: dict[tuple[str, str], list[Any]] = {
    ("put", "/api/v1/customers/{identifier}/devices"): [
        {"device": {"id": "token-1", "platform": "ios"}},
        {
            "device": {
                "id": "token-1",
                "platform": "android",
                "last_used": 1713484800,
                "attributes": {"device_os": "14", "push_enabled": "true", "shop": "north"},
            }
        },
    ],
    ("post", "/unsubscribe/{delivery_id}"): [{"unsubscribe": True}],
    ("post", "/api/v1/metrics"): [
        {"delivery_id": "RPILAgUBcRhIBqSfeiIw", "metric": "delivered"},
        {"delivery_id": "RPILAgUBcRhIBqSfeiIw", "metric": "clicked", "href": "https://example.com", "timestamp": 1613063089},
        {"delivery_id": "RPILAgUBcRhIBqSfeiIw", "metric": "bounced", "reason": "unknown", "recipient": "ada@example.com"},
    ],
    ("post", "/api/v1/push/events"): [
        {"delivery_id": "RPILAgUBcRhIBqSfeiIw", "event": "opened", "device_id": "token-1", "timestamp": 1613063089}
    ],
}
"""Bodies for the operations whose schemas come without a whole example."""

_Wrap = Callable[[Any], Any]


def bodies(document: Document, method: str, path: str) -> list[Any]:
    """The bodies to send to an operation; one NOTHING, if it takes none."""
    operation = document["paths"][path][method]
    if "requestBody" not in operation:
        return [NOTHING]
    media = operation["requestBody"]["content"]["application/json"]
    found = [*_own(media), *_of_schema(document, media["schema"], lambda example: example, ())]
    return found + OURS.get((method, path), [])


def every_example(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Method, path and body of each example of each operation."""
    for method, path, _ in operations(document):
        for body in bodies(document, method, path):
            yield method, path, body


def filled(path: str, segment_id: int = 1) -> str:
    """A path with values for its parameters."""
    return path.format(**PATH_VALUES, segment_id=segment_id)


def _own(node: Document) -> Iterator[Any]:
    if "example" in node:
        yield node["example"]
    yield from (each["value"] for each in node.get("examples", {}).values())


def _of_schema(document: Document, schema: Document, wrap: _Wrap, seen: tuple[int, ...]) -> Iterator[Any]:
    """The examples of whole bodies in a schema.

    An alternative's example is a body, and so is the example of the only property there is: ``batch`` and ``data``
    are such. Examples of one property among several are parts of a body and not looked for.
    """
    schema = resolved(document, schema)
    if id(schema) in seen:
        return
    seen = (*seen, id(schema))
    properties = schema.get("properties", {})
    yield from (wrap(example) for example in _own(schema))
    for alternative in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from _of_schema(document, alternative, wrap, seen)
    if "items" in schema:
        yield from _of_schema(document, schema["items"], lambda example: wrap([example]), seen)
    if len(properties) == 1:
        [(name, inner)] = properties.items()
        if resolved(document, inner).get("type") in (None, "array"):
            yield from _of_schema(document, inner, lambda example: wrap({name: example}), seen)
