"""A contract of the App API calls that the sandbox has. It is OURS: Customer.io's App document could not be had whole.

Each operation names its source:

* ``app/TAG``: the per-tag parts of Customer.io's App OpenAPI (api-evangelist/customer-io, commit 80725353);
* ``track``: schemas of App answers that Customer.io's Track OpenAPI carries along, used here as they are published,
  with the corrections of :func:`_published_schemas`;
* ``docs/NAME``: a page of docs.customer.io, App API;
* ``node``: the answers that customerio-node 5.2.0 names in its own documentation;
* ``errors``: components.schemas.appApiError and responses.429 of the later capture in
  distilled-mirror/spec-mirror-customerio; the 401 as CauldronUp/cauldron saw it;
* ``choice``: documented nowhere.

Objects are closed: an answer with a key that no source names is a fault.
"""

from __future__ import annotations

from typing import Any

from . import openapi
from .openapi import Document

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
NUMBER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
NEXT: Schema = {"type": "string"}
"""Opaque; what ends the pages is not documented, and the sandbox gives an empty one."""


def ref(name: str) -> Schema:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, **rest: Any) -> Schema:
    """An array of one kind of item."""
    return {"type": "array", "items": items, **rest}


def closed(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object with these keys and no others, all required but the ``optional`` ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def one_of_these(values: list[str]) -> Schema:
    """One of several strings."""
    return {"type": "string", "enum": values}


IDENTIFIERS = ref("customer_identifiers")
OBJECT_IDENTIFIERS = closed(cio_object_id=TEXT, object_id=TEXT)
ROW: Schema = {"type": "object"}
SEGMENT = ref("segmentResponseObject")
COLLECTION = ref("collectionResponse")
EXPORT = ref("exportObject")
PERSON = ref("customerAttributesObject")
PREFERENCES = closed(
    id=TEXT,
    identifiers=IDENTIFIERS,
    topics=array(closed(id=NUMBER, name=TEXT, description=TEXT, subscribed=FLAG)),
    unsubscribed=FLAG,
)
WRITE_STATES = ["pending", "done", "failed"]

ERROR = closed(
    errors=array(closed(("code", "meta", "source"), detail=TEXT, status=TEXT, code=TEXT, meta={}, source={}), minItems=1)
)
UNAUTHORIZED = closed(meta=closed(error=TEXT))

# Request bodies.

SEGMENT_BODY = closed(segment=closed(("description",), name={"type": "string", "minLength": 1}, description=TEXT))
_DATA_OR_URL = [{"required": ["data"]}, {"required": ["url"]}]
COLLECTION_BODY: Schema = {**closed(("data", "url"), name=TEXT, data=array(ROW), url=TEXT), "oneOf": _DATA_OR_URL}
COLLECTION_CHANGES: Schema = {
    **closed(("name", "data", "url"), name=TEXT, data=array(ROW), url=TEXT),
    "not": {"required": ["data", "url"]},
}
# Source node: a top-level array. The document says object; the sandbox takes both.
CONTENT_BODY: Schema = {"oneOf": [array(ROW), ROW]}
WRITE_BODY = closed(
    ("key_field", "data", "url"),
    mode=one_of_these(["replace", "add", "upsert", "update", "delete"]),
    key_field=TEXT,
    data=array(ROW),
    url=TEXT,
)
IDS_BODY = closed(ids=array(TEXT, minItems=1, maxItems=100))
FILTER_BODY = closed(filter=ref("our_people_filter"))
EXPORT_BODY = closed(filters=ref("our_people_filter"))
OBJECTS_BODY = closed(object_type_id=TEXT, filter=ref("our_object_filter"))
IMPORT_BODY = closed(**{"import": ref("import_request")})


def _filter(own: str, leaves: dict[str, Schema]) -> Schema:
    """``and``, ``or``, ``not`` or a leaf: one key. Source track: audienceFilter, objectFilter."""
    properties = {"and": array(ref(own)), "or": array(ref(own)), "not": ref(own), **leaves}
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


_CONDITION = {"field": TEXT, "operator": one_of_these(["eq", "exists"]), "value": {"type": ["string", "boolean", "number"]}}
OUR_SCHEMAS = {
    "our_people_filter": _filter(
        "our_people_filter", {"segment": closed(id=NUMBER), "attribute": closed(("value",), **_CONDITION)}
    ),
    "our_object_filter": _filter("our_object_filter", {"object_attribute": closed(("value",), **_CONDITION, type_id=TEXT)}),
}

# The operations: source, answers by status, and the body that is asked for. Every one of them may answer 401 and 429.

SEGMENT_PATH, COLLECTION_PATH = "/v1/segments/{segment_id}", "/v1/collections/{collection_id}"
PERSON_PATH, OBJECT_PATH = "/v1/customers/{customer_id}", "/v1/objects/{object_type_id}/{object_id}"
NO_BODY: Schema = {}
Operation = tuple[str, dict[int, Schema], Schema]

OPERATIONS: dict[tuple[str, str], Operation] = {
    # Section "manual segments"
    ("get", "/v1/segments"): ("app/segments", {200: closed(segments=array(SEGMENT))}, NO_BODY),
    ("post", "/v1/segments"): ("app/segments", {200: closed(segment=SEGMENT), 400: ERROR}, SEGMENT_BODY),
    ("get", SEGMENT_PATH): ("app/segments", {200: closed(segment=SEGMENT), 404: ERROR}, NO_BODY),
    # The 400 for a segment that is not manual is a choice.
    ("delete", SEGMENT_PATH): ("app/segments", {204: {}, 400: ERROR, 404: ERROR}, NO_BODY),
    ("get", f"{SEGMENT_PATH}/used_by"): (
        "app/segments",
        {
            200: closed(
                segment_id=NUMBER,
                used_by=closed(campaigns=array(NUMBER), sent_newsletters=array(NUMBER), draft_newsletters=array(NUMBER)),
            ),
            404: ERROR,
        },
        NO_BODY,
    ),
    ("get", f"{SEGMENT_PATH}/customer_count"): (
        "app/segments",
        {200: closed(segment_id=NUMBER, count=NUMBER), 404: ERROR},
        NO_BODY,
    ),
    ("get", f"{SEGMENT_PATH}/membership"): (
        "app/segments",
        {200: closed(ids=array(TEXT), identifiers=array(IDENTIFIERS), next=NEXT), 400: ERROR, 404: ERROR},
        NO_BODY,
    ),
    # Section "objects and relationships"
    ("get", "/v1/object_types"): (
        "app/objects",
        {
            200: closed(
                types=array(
                    closed(
                        id=TEXT,
                        name=TEXT,
                        singular_name=TEXT,
                        slug=TEXT,
                        singular_slug=TEXT,
                        enabled=FLAG,
                        icon=TEXT,
                    )
                )
            )
        },
        NO_BODY,
    ),
    ("post", "/v1/objects"): (
        "app/objects",
        {200: closed(identifiers=array(OBJECT_IDENTIFIERS), ids=array(TEXT), next=NEXT), 400: ERROR},
        OBJECTS_BODY,
    ),
    ("get", f"{OBJECT_PATH}/attributes"): (
        "app/objects",
        {
            200: closed(
                object=closed(
                    object_type_id=TEXT,
                    identifiers=OBJECT_IDENTIFIERS,
                    attributes={"type": "object", "additionalProperties": TEXT},
                    timestamps={"type": "object", "additionalProperties": NUMBER},
                )
            ),
            400: ERROR,
            404: ERROR,
        },
        NO_BODY,
    ),
    # An object's type is text in the answers, as rudder-transformer's live tests of Customer.io saw it.
    ("get", f"{OBJECT_PATH}/relationships"): (
        "app/objects",
        {
            200: closed(
                cio_relationships=array(closed(object_type_id=TEXT, identifiers=IDENTIFIERS, object_type_disabled=FLAG)),
                next=NEXT,
            ),
            400: ERROR,
            404: ERROR,
        },
        NO_BODY,
    ),
    # Section "collections"
    ("get", "/v1/collections"): ("app/collections", {200: closed(collections=array(COLLECTION))}, NO_BODY),
    ("post", "/v1/collections"): ("app/collections", {200: closed(collection=COLLECTION), 400: ERROR}, COLLECTION_BODY),
    ("get", COLLECTION_PATH): ("app/collections", {200: closed(collection=COLLECTION), 404: ERROR}, NO_BODY),
    ("put", COLLECTION_PATH): (
        "app/collections",
        {200: closed(collection=COLLECTION), 400: ERROR, 404: ERROR},
        COLLECTION_CHANGES,
    ),
    ("delete", COLLECTION_PATH): ("app/collections", {204: {}, 404: ERROR}, NO_BODY),
    ("get", f"{COLLECTION_PATH}/content"): ("app/collections, node", {200: array(ROW), 404: ERROR}, NO_BODY),
    ("put", f"{COLLECTION_PATH}/content"): (
        "app/collections, node",
        {200: closed(collection=COLLECTION), 400: ERROR, 404: ERROR},
        CONTENT_BODY,
    ),
    # The status 202 and the state "pending" are choices.
    ("post", f"{COLLECTION_PATH}/writes"): (
        "docs/submitCollectionWrite",
        {202: closed(write=closed(id=TEXT, state=one_of_these(WRITE_STATES))), 400: ERROR, 404: ERROR},
        WRITE_BODY,
    ),
    ("get", f"{COLLECTION_PATH}/writes/{{write_id}}"): (
        "docs/getCollectionWrite",
        {
            200: closed(
                write=closed(
                    ("code", "items", "message"),
                    id=TEXT,
                    state=one_of_these(WRITE_STATES),
                    code=TEXT,
                    items=array(closed(index=NUMBER, key={}, code=TEXT), minItems=1),
                    message=TEXT,
                )
            ),
            404: ERROR,
        },
        NO_BODY,
    ),
    # Section "reads for reconciliation"
    ("get", "/v1/customers"): ("app/customers", {200: closed(results=array(IDENTIFIERS)), 400: ERROR}, NO_BODY),
    ("post", "/v1/customers"): (
        "app/customers",
        {200: closed(identifiers=array(IDENTIFIERS), ids=array(TEXT), next=NEXT), 400: ERROR},
        FILTER_BODY,
    ),
    ("post", "/v1/customers/attributes"): (
        "docs/getPeopleById",
        {200: closed(customers=array(PERSON)), 400: ERROR},
        IDS_BODY,
    ),
    ("get", f"{PERSON_PATH}/attributes"): ("docs/getPersonAttributes, track", {200: PERSON, 400: ERROR, 404: ERROR}, NO_BODY),
    ("get", f"{PERSON_PATH}/activities"): (
        "app/customers, track",
        {200: closed(activities=array(ref("activityObject")), next=NEXT), 400: ERROR, 404: ERROR},
        NO_BODY,
    ),
    ("get", f"{PERSON_PATH}/segments"): (
        "node; the keys of a segment are a choice",
        {200: closed(segments=array(closed(id=NUMBER, name=TEXT, description=TEXT))), 400: ERROR, 404: ERROR},
        NO_BODY,
    ),
    ("get", f"{PERSON_PATH}/relationships"): (
        "app/customers, and rudder-transformer's live tests",
        {
            200: closed(
                cio_relationships=array(closed(object_type_id=TEXT, identifiers=OBJECT_IDENTIFIERS, object_type_disabled=FLAG)),
                next=NEXT,
            ),
            400: ERROR,
            404: ERROR,
        },
        NO_BODY,
    ),
    ("get", f"{PERSON_PATH}/messages"): (
        "app/customers",
        {200: closed(messages=array({}), next=NEXT), 400: ERROR, 404: ERROR},
        NO_BODY,
    ),
    ("get", f"{PERSON_PATH}/subscription_preferences"): (
        "app/customers",
        {200: closed(customer=PREFERENCES), 400: ERROR, 404: ERROR},
        NO_BODY,
    ),
    ("get", "/v1/activities"): (
        "app/activities, track",
        {200: closed(activities=array(ref("activityObject")), next=NEXT), 400: ERROR},
        NO_BODY,
    ),
    ("get", "/v1/exports"): ("app/exports", {200: closed(exports=array(EXPORT))}, NO_BODY),
    ("post", "/v1/exports/customers"): ("node, app/exports", {200: closed(export=EXPORT), 400: ERROR}, EXPORT_BODY),
    ("get", "/v1/exports/{export_id}"): ("app/exports", {200: closed(export=EXPORT), 404: ERROR}, NO_BODY),
    # An earlier version of the Node client called the key "link"; the document and 5.2.0 call it "url".
    ("get", "/v1/exports/{export_id}/download"): ("app/exports, node", {200: closed(url=TEXT), 404: ERROR}, NO_BODY),
    ("post", "/v1/imports"): ("track", {200: closed(**{"import": ref("import_object")}), 400: ERROR}, IMPORT_BODY),
    ("get", "/v1/imports/{import_id}"): ("track", {200: closed(**{"import": ref("import_object")}), 404: ERROR}, NO_BODY),
    ("get", "/v1/workspaces"): ("track", {200: closed(workspaces=array(ref("workspace")))}, NO_BODY),
}

QUERY: dict[str, Schema] = {
    "start": TEXT,
    "limit": {"type": "integer", "minimum": 1, "maximum": 30_000},
    "id_type": one_of_these(["id", "email", "phone", "cio_id", "object_id", "cio_object_id"]),
}
"""Parameters of every read that takes them, with the widest of their ranges."""


def _published_schemas() -> dict[str, Schema]:
    """The schemas of App answers in the Track document, with their defects mended for this use."""
    schemas = openapi.corrected()["components"]["schemas"]
    # The types of objects' activities are patterns, written into the enumeration.
    types = schemas["activityTypes"]
    patterns = [name.replace("<object_type_id>", "[0-9]+") for name in types["enum"] if "<object_type_id>" in name]
    plain = [name for name in types["enum"] if "<object_type_id>" not in name]
    schemas["activityTypes"] = {"anyOf": [{"enum": plain}, *({"type": "string", "pattern": f"^{each}$"} for each in patterns)]}
    # Data that is no delivery's and no attribute change fits the first form too, and an empty one fits both.
    data = schemas["activityObject"]["properties"]["data"]
    data["anyOf"] = data.pop("oneOf")
    schemas["activityObject"]["required"] = ["id", "type", "timestamp", "data"]
    # An import's request may name people by cio_id, its answer by id and email only.
    schemas["import_object"]["properties"]["identifier"]["enum"] = ["id", "email", "cio_id"]
    schemas["import_object"]["required"] = ["id", "name", "state", "type", "created_at", "updated_at"]
    for name, required in (
        ("segmentResponseObject", ["id", "deduplicate_id", "name", "description", "state", "progress", "type", "tags"]),
        ("collectionResponse", ["id", "name", "bytes", "rows", "schema", "created_at", "updated_at"]),
        ("exportObject", ["id", "type", "status", "total", "failed", "deduplicate_id", "created_at", "updated_at"]),
        ("workspace", ["id", "name", "people", "object_types", "objects"]),
    ):
        schemas[name]["required"] = required
    customer = schemas["customerAttributesObject"]
    customer["required"] = ["customer"]
    customer["properties"]["customer"]["required"] = ["id", "identifiers", "attributes", "unsubscribed", "devices"]
    return {**schemas, **OUR_SCHEMAS}


def document() -> Document:
    """The contract as an OpenAPI document."""
    paths: Document = {}
    for (method, path), (source, answers, body) in OPERATIONS.items():
        responses: Document = {
            str(status): _answer(source, schema) for status, schema in {**answers, 401: UNAUTHORIZED, 429: ERROR}.items()
        }
        responses["429"]["headers"] = {"Retry-After": {"required": True, "schema": NUMBER}}
        named = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
        operation: Document = {
            "parameters": [
                *({"name": name, "in": "path", "required": True, "schema": TEXT} for name in named),
                *({"name": name, "in": "query", "schema": schema} for name, schema in QUERY.items()),
            ],
            "responses": responses,
        }
        if body is not NO_BODY:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Calls of Customer.io's App API. Ours, not Customer.io's", "version": "1"},
        "servers": [{"url": "https://api.customer.io"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": _published_schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _answer(source: str, schema: Schema) -> Document:
    answer: Document = {"description": f"Source: {source}"}
    return {**answer, "content": {"application/json": {"schema": schema}}} if schema else answer
