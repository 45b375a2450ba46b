"""Every spec with every key and behaviour that it has, and tables for them, clean and wild."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import polars as pl
from hypothesis import strategies as st

from cio_dagster.specs import (
    AnySpec,
    Collection,
    Constant,
    Device,
    Event,
    ManualSegment,
    Object,
    Person,
    Relationship,
    Spec,
)

VALUES = {
    "id": ["42", "user/with/slashes", "grüße 🎈"],
    "email": ["ada@example.com", "Bob+1@example.com", "eve@example.com"],
    "phone": ["+4915112345678", "+12025550123", "+4721234567"],
    "cio_id": ["cio_a3000001", "a3000002", "a3000003"],
    "anonymous_id": ["visitor-1", "visitor-2", "visitor 3"],
}

IDENTIFIERS: dict[str, Any] = {"object_id": pl.String, "token": pl.String, "platform": pl.String, "seen": pl.Datetime("us")}
EVENTS: dict[str, Any] = {"row": pl.Int64, "what": pl.String, "at": pl.Datetime("us", "UTC")}
ATTRIBUTES: dict[str, Any] = {
    "text": pl.String,
    "count": pl.Int64,
    "ratio": pl.Float64,
    "flag": pl.Boolean,
    "price": pl.Decimal(20, 4),
    "day": pl.Date,
    "moment": pl.Datetime("us"),
    "took": pl.Duration("us"),
    "raw": pl.Binary,
    "tags": pl.List(pl.String),
    "place": pl.Struct({"city": pl.String, "since": pl.Date, "points": pl.List(pl.Float64)}),
    'Größe "x"\\ \n': pl.String,
    "address.city": pl.String,
    "address.zip": pl.Int64,
}


def _options(spec: type[Spec], field: str) -> tuple[Any, ...]:
    return get_args(spec.model_fields[field].annotation)


def every_spec() -> Iterator[AnySpec]:
    """All of them, with the columns of the tables below; what is allowed is read from the specs."""
    for key, behavior in product(_options(Person, "key"), _options(Person, "behavior")):
        yield Person(key=key, column="who", behavior=behavior, delete_people=behavior == "mirror", nulls="clear")
    for key, behavior, seen in product(_options(Device, "key"), _options(Device, "behavior"), (None, "seen")):
        yield Device(key=key, column="who", behavior=behavior, last_used=seen)
    for key, kind, endpoint in product(_options(Event, "key"), _options(Event, "kind"), _options(Event, "anonymous_endpoint")):
        if key == "anonymous_id" or endpoint == "v1":
            yield Event(
                row_id="row", key=key, column="who", name_column="what", timestamp="at", kind=kind, anonymous_endpoint=endpoint
            )
    yield Event(row_id="row", column="who", name="Größer")
    for behavior in _options(Collection, "behavior"):
        yield Collection(name="plans", behavior=behavior)
    for key, behavior in product(_options(ManualSegment, "key"), _options(ManualSegment, "behavior")):
        yield ManualSegment(name="vip", key=key, column="who", behavior=behavior)
    for behavior in _options(Object, "behavior"):
        yield Object(object_type_id=1, behavior=behavior, nulls="clear", dates="iso")
    for key, behavior in product(_options(Relationship, "key"), _options(Relationship, "behavior")):
        yield Relationship(object_type_id=1, key=key, column="who", behavior=behavior)
    yield Person(
        column="who", attributes={"Plan": "text", "source.name": Constant(value="warehouse"), "source.ok": Constant(value=True)}
    )


SPECS = list(every_spec())


def label(spec: AnySpec) -> str:
    """A test's name for a spec."""
    told = (
        getattr(spec, name, None) for name in ("object", "key", "behavior", "kind", "anonymous_endpoint", "name", "last_used")
    )
    return "-".join(str(each) for each in told if each)


def kind_of_key(spec: AnySpec) -> str:
    """What the column `who` holds."""
    return str(getattr(spec, "key", "id"))


def columns(spec: AnySpec) -> dict[str, Any]:
    """The columns of a table for a spec, with their dtypes."""
    if isinstance(spec, ManualSegment):
        return {"who": pl.String}
    roles = {part.column for part in spec.identifiers.values()} | set(spec.fields.values())
    identifying = {"who": pl.String, **IDENTIFIERS, **EVENTS}
    return {name: dtype for name, dtype in identifying.items() if name in roles} | ATTRIBUTES


def clean_table(spec: AnySpec, *, changed: bool) -> pl.DataFrame:
    """Three good rows; `changed`, the first is gone and the second differs."""
    rows = [
        {
            "who": VALUES[kind_of_key(spec)][n],
            "object_id": f"account {n}",
            "token": f"token-{n}",
            "platform": "iOS" if n else "android",
            "seen": datetime(2026, 1, n + 1),
            "row": n,
            "what": f"Bought {n}",
            "at": datetime(2026, 1, n + 1, tzinfo=timezone.utc),
            "text": f"text {n}{' more' * changed}" if n == 1 else None,
            "count": 2**60 + n,
            "ratio": n / 3,
            "flag": n == 1,
            "price": Decimal("12.5000"),
            "day": date(2026, 1, 1 + n),
            "moment": datetime(2026, 1, 1, 12, 30, n),
            "took": timedelta(milliseconds=1500),
            "raw": b"\x00\xff",
            "tags": ["a", None] if n else [],
            "place": {"city": "Oslo", "since": date(2020, 1, 1), "points": [0.5, None]} if n else None,
            'Größe "x"\\ \n': "\u2028 \x01 🎈",
            "address.city": "Oslo" if n else None,
            "address.zip": 150 if n else None,
        }
        for n in range(int(changed), 3)
    ]
    wanted = columns(spec)
    return pl.DataFrame([{name: row[name] for name in wanted} for row in rows], schema=wanted)


def _mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One in eight bad, so that a row of many columns may still be good."""
    return st.integers(0, 7).flatmap(lambda number: good if number else bad)


_LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs"])
_TEXTS = _mostly(st.text(_LETTERS, max_size=12), st.sampled_from(["", " ", "null", '"', "\\", "\u2028", "🎈", "x" * 1_001]))
_NAMES = _mostly(st.text(_LETTERS, min_size=1, max_size=12), st.none() | st.just(" "))
_FLOATS = _mostly(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([float("nan"), float("inf")]))
_DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
_LATE = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1))
_WHO = {
    "id": _NAMES,
    "email": _mostly(st.from_regex(r"[A-Za-z0-9.+_-]{1,12}@[a-z]{1,8}\.(com|io)", fullmatch=True), _NAMES),
    "phone": _mostly(st.from_regex(r"\+[1-9][0-9]{5,13}", fullmatch=True), _NAMES),
    "cio_id": _mostly(st.from_regex(r"(cio_)?[a-z0-9]{8,12}", fullmatch=True), _NAMES),
    "anonymous_id": _NAMES,
}
_WILD: dict[str, st.SearchStrategy[Any]] = {
    "object_id": _NAMES,
    "token": _NAMES,
    "platform": _mostly(st.sampled_from(["ios", "Android", " IOS "]), st.sampled_from(["web", "", None])),
    "seen": st.none() | _LATE,
    "row": _mostly(st.integers(-(2**63), 2**63 - 1), st.none()),
    "what": _NAMES,
    "at": _mostly(_LATE, _MOMENTS).map(lambda each: each.replace(tzinfo=timezone.utc)),
    "text": _TEXTS,
    "count": st.integers(-(2**63), 2**63 - 1),
    "ratio": _FLOATS,
    "flag": st.booleans(),
    "price": st.decimals(-(10**15), 10**15, places=4),
    "day": _DAYS,
    "moment": _MOMENTS,
    "took": st.timedeltas(timedelta(-(10**5)), timedelta(10**5)),
    "raw": st.binary(max_size=8),
    "tags": st.lists(st.none() | _TEXTS, max_size=3),
    "place": st.fixed_dictionaries(
        {
            "city": st.none() | _TEXTS,
            "since": st.none() | _DAYS,
            "points": st.none() | st.lists(st.none() | _FLOATS, max_size=2),
        }
    ),
    'Größe "x"\\ \n': _TEXTS,
    "address.city": _TEXTS,
    "address.zip": st.integers(0, 10**6),
}


def wild_tables(spec: AnySpec) -> st.SearchStrategy[pl.DataFrame]:
    """Tables of good rows and bad ones."""
    wanted, whos = columns(spec), _WHO[kind_of_key(spec)]
    row = st.fixed_dictionaries(
        {name: whos if name == "who" else st.none() | _WILD[name] if name in ATTRIBUTES else _WILD[name] for name in wanted}
    )
    return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=wanted))
