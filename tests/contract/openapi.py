"""Customer.io's Track OpenAPI, read from the file beside this module and corrected in memory.

The file stays as it was published. Its schemas refuse traffic that its own text and examples allow, and accept some
that the text refuses; each correction is one function here, with the reason. Three kinds are kept apart:

* ``CORRECTIONS`` let through what Customer.io documents elsewhere in the same file;
* ``TIGHTENINGS`` say in schema what the file says in words only;
* ``ADDITIONS`` are answers that the file does not declare. They carry ``x-ours`` and their source.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Patch = Callable[[Document], None]

FILE = Path(__file__).with_name("customerio-track.json")
SHA256 = "69e9a74c06f63e7a16ffc663bb025ff7459b5bf42fcb5c3be1ff861868bf2a60"
METHODS = ("get", "put", "post", "delete", "patch")


def published() -> Document:
    """The document as Customer.io published it.

    Raises:
        ValueError: The file is not the published one.
    """
    raw = FILE.read_bytes()
    if (found := hashlib.sha256(raw).hexdigest()) != SHA256:
        raise ValueError(f"{FILE.name} has the sha256 {found}, and the published one has {SHA256}")
    document: Document = json.loads(raw)
    return document


def corrected() -> Document:
    """The document with every patch applied; the caller's own copy."""
    return copy.deepcopy(_corrected())


@cache
def _corrected() -> Document:
    document = published()
    for patch in PATCHES:
        patch(document)
    return document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Every operation: its method, its path and what the document says about it."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def resolved(document: Document, node: Document) -> Document:
    """What a ``$ref`` points at; anything else is itself."""
    while "$ref" in node:
        target: Any = document
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def _schemas(document: Document) -> Document:
    schemas: Document = document["components"]["schemas"]
    return schemas


def _body(document: Document, path: str, method: str = "post") -> Document:
    media: Document = document["paths"][path][method]["requestBody"]["content"]["application/json"]
    return media


# Corrections: the schema refuses what the same document allows.


def path_identifiers_are_strings(document: Document) -> None:
    """``{identifier}`` is one of three plain strings, and every value is all three of them."""
    for name in ("track_customer_id", "trackEvent_customer_id"):
        document["components"]["parameters"][name]["schema"] = {"type": "string", "minLength": 1}


def merged_people_have_one_identifier(document: Document) -> None:
    """The alternatives of ``primary`` and ``secondary`` require nothing, so one identifier fits all three of them."""
    sides = _body(document, "/api/v1/merge_customers")["schema"]["properties"]
    for side in ("primary", "secondary"):
        _require_the_only_property(sides[side]["oneOf"])


def related_people_have_one_identifier(document: Document) -> None:
    """The same for the people in an object's ``cio_relationships``."""
    _require_the_only_property(_schemas(document)["v2_cio_relationships"]["items"]["properties"]["identifiers"]["oneOf"])


def _require_the_only_property(alternatives: list[Document]) -> None:
    for alternative in alternatives:
        alternative["required"] = list(alternative["properties"])


def anonymous_pages_are_events_too(document: Document) -> None:
    """The form of a plain anonymous event allows ``page`` and ``screen``, so those two fit two alternatives."""
    schema = _schemas(document)["anonymousEventsRequest"]
    schema["anyOf"] = schema.pop("oneOf")


def screens_of_known_people(document: Document) -> None:
    """A known person's screen view requires an ``anonymous_id`` that its own example does not have."""
    schema = _schemas(document)["eventsRequest"]
    schema["oneOf"][2]["required"].remove("anonymous_id")
    schema["anyOf"] = schema.pop("oneOf")


def attributes_of_any_type(document: Document) -> None:
    """v1 attributes are strings, integers or booleans; v2 and the example of v1 (an object) know no such limit."""
    _body(document, "/api/v1/customers/{identifier}", "put")["schema"]["additionalProperties"] = True


def no_discriminators(document: Document) -> None:
    """``discriminator: action`` has no mapping, and the schemas are not named like the actions."""
    _drop(document, "discriminator")


def one_metric_of_many_channels(document: Document) -> None:
    """``delivered`` is a metric of four channels, and a metric must fit exactly one."""
    schema = _body(document, "/api/v1/metrics")["schema"]
    schema["anyOf"] = schema.pop("oneOf")


def one_server(document: Document) -> None:
    """Every operation names the US host only; the list at the top has both."""
    for item in document["paths"].values():
        item.pop("servers", None)
    for _, _, operation in operations(document):
        operation.pop("servers", None)


def whole_merge_example(document: Document) -> None:
    """The v2 merge example leaves out the ``type`` and ``action`` that its schema requires."""
    example = _schemas(document)["person_merge"]["example"]
    example.update(type="person", action="merge")


def form_example_with_a_text_id(document: Document) -> None:
    """The form example has a number as ``id``; form values must be strings, says the text beside it."""
    forms = _body(document, "/api/v1/forms/{form_id}/submit")["schema"]["properties"]["data"]["oneOf"]
    forms[1]["example"]["id"] = str(forms[1]["example"]["id"])


def _drop(node: Any, key: str) -> None:
    if isinstance(node, dict):
        node.pop(key, None)
        for value in node.values():
            _drop(value, key)
    elif isinstance(node, list):
        for value in node:
            _drop(value, key)


# Tightenings: the document says it in words, not in the schema.


def bodies_are_required(document: Document) -> None:
    """No operation says that its body is required, and a batch may lack its ``batch``."""
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            operation["requestBody"]["required"] = True
    _body(document, "/api/v2/batch")["schema"]["required"] = ["batch"]


def objects_need_identifiers(document: Document) -> None:
    """Objects, and the objects in a relationship, are described with identifiers that are nowhere required."""
    _schemas(document)["object_identifiers"]["required"] = ["identifiers"]
    _schemas(document)["v2_cio_relationships"]["items"]["required"] = ["identifiers"]


def relationships_of_v1_need_an_action(document: Document) -> None:
    """v1 relationships say with ``action`` whether they are added or deleted."""
    _schemas(document)["v1_cio_relationships"]["required"] = ["action", "relationships"]


def object_type_ids_are_integers_in_text(document: Document) -> None:
    """``object_type_id`` is "an integer formatted as a string"."""
    _schemas(document)["object_type_id"]["pattern"] = "^[0-9]+$"


def errors_say_something(document: Document) -> None:
    """The shapes of errors require none of their keys, so that ``{}`` would be an error message."""
    v1 = document["components"]["responses"]["400"]["content"]["application/json"]["schema"]
    _require_errors(v1, v1["properties"]["meta"]["properties"]["errors"])
    form = document["paths"]["/api/v1/forms/{form_id}/submit"]["post"]["responses"]["400"]
    form = form["content"]["application/json"]["schema"]
    _require_errors(form, form["properties"]["meta"]["properties"]["errors"])
    merge = document["paths"]["/api/v1/merge_customers"]["post"]["responses"]["400"]
    merge = merge["content"]["application/json"]["schema"]
    merge["required"] = ["meta"]
    merge["properties"]["meta"]["required"] = ["error"]
    described = _schemas(document)["errors"]
    described["minItems"] = 1
    described["items"]["required"] = ["reason", "field", "message"]
    for path in ("/api/v2/entity", "/api/v2/batch"):
        answers = document["paths"][path]["post"]["responses"]
        answers["400"]["content"]["application/json"]["schema"]["required"] = ["errors"]
    partly = document["paths"]["/api/v2/batch"]["post"]["responses"]["207"]["content"]["application/json"]["schema"]
    partly["required"] = ["errors"]
    partly["properties"]["errors"]["minItems"] = 1
    partly["properties"]["errors"]["items"]["required"] = ["batch_index", "reason", "field", "message"]


def _require_errors(schema: Document, errors: Document) -> None:
    schema["required"] = ["meta"]
    schema["properties"]["meta"]["required"] = ["errors"]
    errors["minItems"] = 1


def region_answers_whole(document: Document) -> None:
    """The region call's answer has three keys, none required."""
    answer = document["paths"]["/api/v1/accounts/region"]["get"]["responses"]["200"]
    answer["content"]["application/json"]["schema"]["required"] = ["url", "region", "environment_id"]


def success_is_an_empty_object(document: Document) -> None:
    """Success is described as "an empty object response", without a schema."""
    document["components"]["responses"]["200"]["content"] = {
        "application/json": {"schema": {"type": "object", "maxProperties": 0}}
    }


# Additions: answers that the document does not declare.

_MESSAGES = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_V1_ERROR = {
    "type": "object",
    "required": ["meta"],
    "properties": {"meta": {"type": "object", "required": ["errors"], "properties": {"errors": _MESSAGES}}},
}
_V1_SINGLE_ERROR = {
    "type": "object",
    "required": ["meta"],
    "properties": {"meta": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}},
}


def _ours(source: str, schema: Document | None = None, **rest: object) -> Document:
    answer: Document = {"description": "Not in Customer.io's document.", "x-ours": source, **rest}
    return {**answer, "content": {"application/json": {"schema": schema}}} if schema else answer


def unauthorized_body(document: Document) -> None:
    """The 401 has no body in the document; this is the one that others saw on 2026-09-01, with its challenge."""
    document["components"]["responses"]["401"] = _ours(
        "CauldronUp/cauldron, recipes/customerio/recipe.yaml",
        _V1_SINGLE_ERROR,
        headers={"WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Basic "}}},
    )
    answers = document["paths"]["/api/v1/forms/{form_id}/submit"]["post"]["responses"]
    answers["401"] = {"$ref": "#/components/responses/401"}


def invalid_v1_requests(document: Document) -> None:
    """Calls of v1 that declare no 400, or one without a body, answer their errors like the others."""
    for _, path, operation in operations(document):
        declared = operation["responses"].get("400")
        if path.startswith("/api/v2/") or path == "/api/v1/accounts/region" or (declared and _has_body(document, declared)):
            continue
        operation["responses"]["400"] = _ours("docs.customer.io/journeys/invalid-api-requests", _V1_ERROR)


def _has_body(document: Document, answer: Document) -> bool:
    return "content" in resolved(document, answer)


def too_large_requests(document: Document) -> None:
    """Over-large v2 requests: that they are refused is documented, the status is not. 413 is one of the sandbox's."""
    for path in ("/api/v2/entity", "/api/v2/batch"):
        operation = document["paths"][path]["post"]
        schema = operation["responses"]["400"]["content"]["application/json"]["schema"]
        operation["responses"]["413"] = _ours("a switch of the sandbox", schema)


def failures_of_the_service(document: Document) -> None:
    """No operation declares a 429 or a 5xx, which every client must expect; any body will do."""
    for _, _, operation in operations(document):
        for status in ("429", "5XX"):
            operation["responses"].setdefault(status, _ours("any HTTP service"))


CORRECTIONS: tuple[Patch, ...] = (
    path_identifiers_are_strings,
    merged_people_have_one_identifier,
    related_people_have_one_identifier,
    anonymous_pages_are_events_too,
    screens_of_known_people,
    attributes_of_any_type,
    no_discriminators,
    one_metric_of_many_channels,
    one_server,
    whole_merge_example,
    form_example_with_a_text_id,
)
TIGHTENINGS: tuple[Patch, ...] = (
    bodies_are_required,
    objects_need_identifiers,
    relationships_of_v1_need_an_action,
    object_type_ids_are_integers_in_text,
    errors_say_something,
    region_answers_whole,
    success_is_an_empty_object,
)
ADDITIONS: tuple[Patch, ...] = (unauthorized_body, invalid_v1_requests, too_large_requests, failures_of_the_service)
PATCHES = (*CORRECTIONS, *TIGHTENINGS, *ADDITIONS)
