"""Assertions on what a sandbox holds. Their errors say which rows are missing, which are not expected, and what differs in the others.

Expected rows are mappings or a Polars frame. Names of a row's fields (below) are compared with these, all other names with its
attributes, as JSON; attributes that are not named are not compared, and None means that there is no such attribute. An attribute that is
called as a field is named in `attributes`, a mapping. Identifiers may be numbers, as Customer.io's are their texts.

| | Fields | Told apart by |
|---|---|---|
| people | id, email, phone, anonymous_id, cio_id, created_at, updated_at | the first of id, email, phone, cio_id that is given |
| devices | token, platform, last_used; the person's id, email, cio_id | token |
| events | name, type, timestamp, received_at, event_id, anonymous_id; the person's id, email, cio_id | name, and the person |
| objects | object_id, cio_object_id, created_at, updated_at | object_id |
| relationships | object_id, cio_object_id, anonymous_id; the person's id, email, cio_id | object_id, and the person |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from cio_dagster.sandbox.process import RunningSandbox

Rows: TypeAlias = "Sequence[Mapping[str, Any]] | pl.DataFrame"

SHOWN = 20
"""Lines of an error."""

_PERSON = ("id", "email", "phone", "cio_id", "anonymous_id")
_IDENTIFIERS = (*_PERSON, "token", "object_id", "cio_object_id", "event_id")


@dataclass(frozen=True)
class _Row:
    """A row that arrived: its fields, and its attributes."""

    fields: dict[str, Any]
    attributes: dict[str, Any]


def assert_people(sandbox: RunningSandbox, expected: Rows, *, others: bool = False) -> None:
    """These people are there, with these attributes; and nobody else, unless `others` are allowed. Raises AssertionError."""
    __tracebackhide__ = True
    _assert("people", _people(sandbox.get("people")), expected, [_PERSON], others)


def assert_devices(sandbox: RunningSandbox, expected: Rows, *, others: bool = False) -> None:
    """These devices are there, with these owners and attributes; no others, unless allowed. Raises AssertionError."""
    __tracebackhide__ = True
    _assert("devices", _of_people(sandbox.get("devices")), expected, [("token",)], others)


def assert_events(sandbox: RunningSandbox, expected: Rows, *, others: bool = False) -> None:
    """Each of these events arrived once, and no others, unless allowed. Raises AssertionError."""
    __tracebackhide__ = True
    arrived = [{"event_id": each.pop("id"), **each} for each in sandbox.get("events")]
    _assert("events", _of_people(arrived), expected, [("name",), _PERSON], others)


def assert_objects(sandbox: RunningSandbox, object_type_id: int, expected: Rows, *, others: bool = False) -> None:
    """These objects of a type are there, with these attributes; no others, unless allowed. Raises AssertionError."""
    __tracebackhide__ = True
    arrived = _of_type(sandbox.get("objects"), object_type_id)
    _assert(f"objects of type {object_type_id}", _of_people(arrived), expected, [("object_id",)], others)


def assert_relationships(sandbox: RunningSandbox, object_type_id: int, expected: Rows, *, others: bool = False) -> None:
    """These people are related to these objects, with these attributes; no others, unless allowed. Raises AssertionError."""
    __tracebackhide__ = True
    arrived = _of_type(sandbox.get("relationships"), object_type_id)
    _assert(
        f"relationships to objects of type {object_type_id}", _of_people(arrived), expected, [("object_id",), _PERSON], others
    )


def assert_segment(sandbox: RunningSandbox, name: str, expected: Iterable[object], *, key: str = "id") -> None:
    """The segment's members are these people, by `id`, `email` or `cio_id`. Raises AssertionError."""
    __tracebackhide__ = True
    [segment] = _named("segment", name, sandbox.get("segments"))
    members = [_Row({key: member[key]}, {}) for member in segment["members"]]
    _assert(f"members of {name!r}", members, [{key: member} for member in expected], [(key,)], False)


def assert_collection(sandbox: RunningSandbox, name: str, expected: Rows) -> None:
    """The collection's rows are these, in this order, with nothing else in them. Raises AssertionError."""
    __tracebackhide__ = True
    [collection] = _named("collection", name, sandbox.get("collections"))
    rows, wanted = collection["data"], _rows(expected)
    problems = [] if len(rows) == len(wanted) else [f"{len(rows):,} rows, expected {len(wanted):,}"]
    for number, (row, want) in enumerate(zip(rows, wanted, strict=False)):
        names = dict.fromkeys([*want, *row])
        problems += [f"row {number}: {said}" for name in names if (said := _difference(name, row.get(name), want.get(name)))]
    _report(f"collection {name!r}", problems)


def assert_no_failures(sandbox: RunningSandbox) -> None:
    """Every request was accepted, and every change applied: no failed activity. Raises AssertionError."""
    __tracebackhide__ = True
    requests = [each for each in sandbox.get("requests") if each["status"] is None or each["status"] not in (200, 204)]
    problems = [f"{each['method']} {each['path']} got {each['status'] or 'no whole answer'}" for each in requests]
    failed = [each for each in sandbox.get("activities") if "failed" in each["type"] or each["type"] == "skipped_update"]
    problems += [f"{each['type']} of {each['person'] or each['name']}: {_shown(each['data'])}" for each in failed]
    _report("requests and changes", problems)


def _people(arrived: Iterable[dict[str, Any]]) -> list[_Row]:
    return [_Row({name: value for name, value in each.items() if name != "attributes"}, each["attributes"]) for each in arrived]


def _of_people(arrived: Iterable[dict[str, Any]]) -> list[_Row]:
    """Rows with the person's identifiers among their fields."""
    rows = []
    for each in arrived:
        attributes, person = each.pop("attributes"), each.pop("person", None)
        rows.append(_Row(each | (person or {}), attributes))
    return rows


def _of_type(arrived: list[dict[str, Any]], object_type_id: int) -> list[dict[str, Any]]:
    return [each for each in arrived if each["object_type_id"] == str(object_type_id)]


def _named(what: str, name: str, arrived: list[dict[str, Any]]) -> list[dict[str, Any]]:
    __tracebackhide__ = True
    found = [each for each in arrived if each["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} {what}s are called {name!r}, of {[each['name'] for each in arrived]}")
    return found


def _rows(expected: Rows) -> list[dict[str, Any]]:
    """Expected rows as what JSON holds.

    Raises TypeError for a value that JSON has no form for.
    """
    rows = expected.to_dicts() if isinstance(expected, pl.DataFrame) else [dict(row) for row in expected]
    for row in rows:
        for name, value in row.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{name} is expected to be {value!r}: say what Customer.io gets, such as Unix seconds for a time ({error})"
                ) from None
    return rows


def _assert(what: str, arrived: list[_Row], expected: Rows, keys: list[tuple[str, ...]], others: bool) -> None:
    __tracebackhide__ = True
    wanted = _rows(expected)
    by = [_first_given(what, names, wanted) for names in keys] if wanted else [names[0] for names in keys]
    there: dict[tuple[Any, ...], list[_Row]] = {}
    for row in arrived:
        there.setdefault(tuple(row.fields.get(name) for name in by), []).append(row)
    problems, left = [], []
    for want in wanted:
        want = {name: str(value) if name in _IDENTIFIERS and value is not None else value for name, value in want.items()}
        candidates = there.get(tuple(want[name] for name in by), [])
        exact = next((row for row in candidates if not _differences(row, want)), None)
        if exact is None:
            left.append(want)
        else:
            candidates.remove(exact)
    for want in left:
        key = tuple(want[name] for name in by)
        label = ", ".join(f"{name} {_shown(value)}" for name, value in zip(by, key, strict=True))
        if candidates := there.get(key, []):
            nearest = min(candidates, key=lambda row: len(_differences(row, want)))
            candidates.remove(nearest)
            problems.append(f"{label}: {'; '.join(_differences(nearest, want))}")
        else:
            problems.append(f"{label}: missing")
    for key, rows in there.items() if not others else ():
        label = ", ".join(f"{name} {_shown(value)}" for name, value in zip(by, key, strict=True))
        problems += [f"{label}: not expected" for _ in rows]
    _report(f"{what} ({len(arrived):,} arrived, {len(wanted):,} expected)", problems)


def _first_given(what: str, names: tuple[str, ...], wanted: list[dict[str, Any]]) -> str:
    """The first of these fields that every expected row has."""
    for name in names:
        if all(row.get(name) is not None for row in wanted):
            return name
    raise ValueError(f"expected {what} are told apart by {' or '.join(names)}: give the same one in each row")


def _differences(row: _Row, want: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in want.items():
        if name == "attributes":
            pairs = [(each, row.attributes.get(each), wanted) for each, wanted in value.items()]
        else:
            pairs = [(name, (row.fields if name in row.fields else row.attributes).get(name), value)]
        found += [said for pair in pairs if (said := _difference(*pair))]
    return found


def _difference(name: str, there: Any, wanted: Any) -> str | None:
    if _same(there, wanted):
        return None
    return (
        f"{name} is {'not there' if there is None else _shown(there)}, expected {'none' if wanted is None else _shown(wanted)}"
    )


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: numbers by value, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _report(what: str, problems: list[str]) -> None:
    __tracebackhide__ = True
    if problems:
        lines = [*problems[:SHOWN], *([f"and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else [])]
        raise AssertionError("\n  ".join([f"{what}: {len(problems):,} differences", *lines]))
