"""Generated v2 operations: ones that the contract allows, and ways to break them that it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Operation = dict[str, Any]

# What PostgreSQL, CSV files and people put into names: accents, emoji, spaces, quotes, slashes, dots.
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_IDS = _TEXT.filter(lambda text: text.strip() != "")
_EMAILS = st.from_regex(r"[a-z0-9][a-z0-9.+_-]{0,12}@[a-z]{1,10}\.(com|io)", fullmatch=True)
_PHONES = st.from_regex(r"\+[1-9][0-9]{5,13}", fullmatch=True)
_CIO_IDS = st.from_regex(r"[a-z0-9]{8,12}", fullmatch=True)
_ULIDS = st.from_regex(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True)
_SECONDS = st.integers(0, 4_102_444_800)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), _TEXT
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=6
)
# Names with a meaning of their own have their own tests.
_NAMES = _TEXT.filter(lambda name: not name.startswith("_") and name not in ("id", "email", "phone", "cio_id"))
_ATTRIBUTES = st.dictionaries(_NAMES, _VALUES, max_size=6)
_DEVICE_ATTRIBUTES = st.dictionaries(_NAMES, _TEXT, max_size=4).map(
    lambda given: {name: value for name, value in given.items() if name != "push_enabled"}
)


def _one(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return values.map(lambda value: {name: value})


RELATED_PEOPLE = st.one_of(_one("id", _IDS), _one("email", _EMAILS), _one("cio_id", _CIO_IDS))
PEOPLE = st.one_of(_one("id", _IDS), _one("email", _EMAILS), _one("phone", _PHONES), _one("cio_id", _CIO_IDS))
OBJECTS = st.one_of(
    st.fixed_dictionaries({"object_type_id": st.sampled_from(["1", "2"]), "object_id": _IDS}),
    st.fixed_dictionaries({"cio_object_id": _CIO_IDS}),
)


def _relationships(others: st.SearchStrategy[dict[str, str]], least: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.fixed_dictionaries({"identifiers": others}, optional={"relationship_attributes": _ATTRIBUTES})
    return st.lists(one, min_size=least, max_size=3)


def _person(action: str, required: Any = None, optional: Any = None) -> st.SearchStrategy[Operation]:
    return st.fixed_dictionaries(
        {"type": st.just("person"), "action": st.just(action), "identifiers": PEOPLE, **(required or {})},
        optional=optional or {},
    )


def _object(action: str, required: Any = None, optional: Any = None) -> st.SearchStrategy[Operation]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "action": st.just(action), "identifiers": OBJECTS, **(required or {})},
        optional=optional or {},
    )


_EVENT = {"name": _IDS}
_EVENT_REST = {"id": _ULIDS, "timestamp": _SECONDS, "attributes": _ATTRIBUTES}
_DEVICE = st.fixed_dictionaries(
    {"token": _IDS, "platform": st.sampled_from(["ios", "android"])},
    optional={"last_used": _SECONDS, "attributes": _DEVICE_ATTRIBUTES},
)
_ANONYMOUS = st.fixed_dictionaries(
    {"identifiers": _one("anonymous_id", _IDS)}, optional={"relationship_attributes": _ATTRIBUTES}
)

PERSON_OPERATIONS: dict[str, st.SearchStrategy[Operation]] = {
    "identify": _person(
        "identify",
        optional={"attributes": _ATTRIBUTES, "timestamp": _SECONDS, "cio_relationships": _relationships(OBJECTS, 0)},
    ),
    "delete": _person("delete"),
    "event": _person("event", _EVENT, _EVENT_REST),
    "page": _person("page", _EVENT, _EVENT_REST),
    "screen": _person("screen", _EVENT, _EVENT_REST),
    "add_relationships": _person("add_relationships", {"cio_relationships": _relationships(OBJECTS, 1)}),
    "delete_relationships": _person("delete_relationships", {"cio_relationships": _relationships(OBJECTS, 1)}),
    "add_device": _person("add_device", {"device": _DEVICE}),
    "delete_device": _person("delete_device", {"device": st.fixed_dictionaries({"token": _IDS})}),
    "merge": st.fixed_dictionaries(
        {
            "type": st.just("person"),
            "action": st.just("merge"),
            "primary": RELATED_PEOPLE,
            "secondary": RELATED_PEOPLE,
        }
    ),
    "suppress": _person("suppress"),
    "unsuppress": _person("unsuppress"),
}
OBJECT_OPERATIONS: dict[str, st.SearchStrategy[Operation]] = {
    "identify": _object(
        "identify", optional={"attributes": _ATTRIBUTES, "cio_relationships": _relationships(RELATED_PEOPLE, 0)}
    ),
    "identify_anonymous": _object(
        "identify_anonymous",
        {"cio_relationships": st.lists(_ANONYMOUS, min_size=1, max_size=2)},
        {"attributes": _ATTRIBUTES},
    ),
    "delete": _object("delete"),
    "add_relationships": _object("add_relationships", {"cio_relationships": _relationships(RELATED_PEOPLE, 1)}),
    "delete_relationships": _object("delete_relationships", {"cio_relationships": _relationships(RELATED_PEOPLE, 1)}),
}
DELIVERY_OPERATIONS: dict[str, st.SearchStrategy[Operation]] = {
    "event": st.fixed_dictionaries(
        {
            "type": st.just("delivery"),
            "action": st.just("event"),
            "identifiers": _one("id", _CIO_IDS),
            "name": st.sampled_from(["opened", "converted", "delivered"]),
            "attributes": st.fixed_dictionaries({"device_token": _IDS}),
        },
        optional={"timestamp": _SECONDS},
    )
}
ALL: dict[str, st.SearchStrategy[Operation]] = {
    f"{type}-{action}": strategy
    for type, strategies in (
        ("person", PERSON_OPERATIONS),
        ("object", OBJECT_OPERATIONS),
        ("delivery", DELIVERY_OPERATIONS),
    )
    for action, strategy in strategies.items()
}
ANY = st.one_of(*ALL.values())


# Ways to break an operation: the kinds of operation that each applies to, and what it does to one.

_Break = Callable[[Operation], Operation]
_PEOPLE = tuple(kind for kind in ALL if kind.startswith("person-") and kind != "person-merge")
_OBJECTS = tuple(kind for kind in ALL if kind.startswith("object-"))
_EVENTS = ("person-event", "person-page", "person-screen")
_IDENTIFIED = tuple(kind for kind in ALL if kind != "person-merge")
_RELATING = tuple(kind for kind in ALL if kind.endswith("_relationships"))


def _with(**changes: Any) -> _Break:
    return lambda operation: {**copy.deepcopy(operation), **changes}


def _without(key: str) -> _Break:
    return lambda operation: {name: value for name, value in operation.items() if name != key}


def _device_with(**changes: Any) -> _Break:
    return lambda operation: {**operation, "device": {**operation["device"], **changes}}


def _second_identifier(operation: Operation) -> Operation:
    extra = {"id": "b"} if "email" in operation["identifiers"] else {"email": "b@example.com"}
    return {**operation, "identifiers": {**operation["identifiers"], **extra}}


def _identifiers_as_numbers(operation: Operation) -> Operation:
    return {**operation, "identifiers": dict.fromkeys(operation["identifiers"], 1)}


def _integer_type_id(operation: Operation) -> Operation:
    return {**operation, "identifiers": {"object_type_id": 1, "object_id": "acme"}}


BREAKS: dict[str, tuple[tuple[str, ...], _Break]] = {
    "type missing": (tuple(ALL), _without("type")),
    "type unknown": (tuple(ALL), _with(type="user")),
    "action missing": (tuple(ALL), _without("action")),
    "action unknown": (tuple(ALL), _with(action="upsert")),
    "identifiers missing": (_IDENTIFIED, _without("identifiers")),
    "identifiers empty": (_PEOPLE + _OBJECTS, _with(identifiers={})),
    "identifiers a list": (_IDENTIFIED, _with(identifiers=["1"])),
    "identifiers numbers": (_IDENTIFIED, _identifiers_as_numbers),
    "two identifiers": (_PEOPLE, _second_identifier),
    "object_type_id a number": (_OBJECTS, _integer_type_id),
    "name missing": (_EVENTS, _without("name")),
    "name a number": (_EVENTS, _with(name=7)),
    "timestamp in text": ((*_EVENTS, "person-identify"), _with(timestamp="2026-01-01T00:00:00Z")),
    "attributes a list": ((*_EVENTS, "person-identify", "object-identify"), _with(attributes=[1])),
    "device missing": (("person-add_device", "person-delete_device"), _without("device")),
    "device without a token": (("person-add_device", "person-delete_device"), _with(device={"platform": "ios"})),
    "device attribute a number": (("person-add_device",), _device_with(attributes={"build": 7})),
    "device platform unknown": (("person-add_device",), _device_with(platform="web")),
    "relationships missing": (_RELATING, _without("cio_relationships")),
    "relationships an object": (_RELATING, _with(cio_relationships={"action": "add_relationships", "relationships": []})),
    "relationship of nobody": (_RELATING, _with(cio_relationships=[{"relationship_attributes": {}}])),
    "primary missing": (("person-merge",), _without("primary")),
    "secondary missing": (("person-merge",), _without("secondary")),
    "secondary of two identifiers": (("person-merge",), _with(secondary={"id": "1", "email": "b@example.com"})),
}


def broken(way: str) -> st.SearchStrategy[Operation]:
    """Operations broken in one way."""
    kinds, break_it = BREAKS[way]
    return st.one_of(*(ALL[kind] for kind in kinds)).map(break_it)


BROKEN = st.one_of(*map(broken, BREAKS))
"""Operations that the contract refuses."""
