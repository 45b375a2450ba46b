"""Any sequence of tables: what is sent makes a model of Customer.io equal to each table, and no more is sent than that takes."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_dagster import Collection, Event, Object
from tests.plans import Planned, planned, sized

LAX = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

IDS = st.sampled_from(["a", "b", "c", "d", "e", 'q"', "é"]) | st.none()
NAMES = ["x", "y", "Z z", "{}"]
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (pl.Int64, st.none() | st.integers(0, 2)),
    "text": (pl.String, st.none() | st.sampled_from(["0", "1", "null", "", '"'])),
    "float": (pl.Float64, st.none() | st.sampled_from([0.0, 1.0, float("nan")])),
    "list": (pl.List(pl.Int64), st.none() | st.lists(st.none() | st.integers(0, 1), max_size=2)),
}


@st.composite
def tables(draw: st.DrawFn, key: str = "id") -> pl.DataFrame:
    """A table with some of a few columns, each of some type, and keys that may repeat or be missing."""
    ids = draw(st.lists(IDS, max_size=6) | st.lists(IDS, max_size=6, unique=True))
    columns = {key: pl.Series(ids, dtype=pl.String)}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        dtype, values = VALUES[draw(st.sampled_from(list(VALUES)))]
        columns[name] = pl.Series(draw(st.lists(values, min_size=len(ids), max_size=len(ids))), dtype=dtype)
    return pl.DataFrame(columns)


def bad(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def split(table: pl.DataFrame, key: str = "id") -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Ready rows by key, and the keys of rejected ones."""
    rows = table.to_dicts()
    shared = Counter(row[key] for row in rows)
    ready, rejected = {}, set()
    for row in rows:
        name = row.pop(key)
        if not name:
            continue
        if shared[name] > 1 or any(bad(value) for value in row.values()):
            rejected.add(name)
        else:
            ready[name] = row
    return ready, rejected


@pytest.fixture(params=["as few rows", "as millions"], autouse=True, scope="module")
def size(request: pytest.FixtureRequest) -> Iterator[None]:
    with sized(request.param):
        yield


class Model:
    """Customer.io as a dict. Values are kept with their type, as 1, 1.0 and true are different JSON."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def apply(self, plan: Planned, refused: set[str]) -> None:
        """What the operations of a plan do, one by one; refused ones do nothing."""
        for key, operation, body in zip(plan.operations["_key"], plan.operations["_operation"], plan.bodies(), strict=True):
            if key in refused:
                continue
            assert body["identifiers"]["object_id" if body["type"] == "object" else "id"] == key
            assert (operation == "create") == (body["action"] != "delete" and key not in self.rows)
            if body["action"] == "delete":
                del self.rows[key]
            else:
                self.rows.setdefault(key, {}).update(body["attributes"])


def typed(value: Any) -> Any:
    return (type(value).__name__, repr(value))


@LAX
@given(
    st.lists(st.tuples(tables(), st.sets(IDS)), min_size=1, max_size=4),
    st.sampled_from(["omit", "clear"]),
    st.sampled_from(["changed", "all"]),
    st.booleans(),
    st.booleans(),
)
def test_rows_with_attributes(
    history: list[tuple[pl.DataFrame, set[str]]], nulls: Any, send: Any, mirror: bool, full_resync: bool
) -> None:
    behavior: Any = "mirror" if mirror else "update_or_create"
    spec = Object(object_type_id=1, column="id", behavior=behavior, nulls=nulls, send=send)
    model, snapshot = Model(), None
    for table, refused in history:
        ready, rejected = split(table)
        before = copy.deepcopy(model.rows)
        plan = planned(table, spec, snapshot=snapshot, full_resync=full_resync)
        model.apply(plan, refused)
        snapshot = plan.snapshot(snapshot, spec, {each for each in refused if each})

        assert {each for each in plan.rejected["_key"] if each} == rejected
        gone = set(before) - set(ready) - rejected
        assert plan.keys("delete") == (gone if mirror else set())
        assert plan.keys("create") == set(ready) - set(before)
        for key, row in ready.items():
            known = before.get(key, {})
            wanted = {name: value for name, value in row.items() if value is not None or nulls == "clear"}
            differing = {
                name: value for name, value in wanted.items() if name not in known or typed(known[name]) != typed(value)
            }
            bodies = [body["attributes"] for body in plan.bodies() if body["identifiers"]["object_id"] == key]
            if key not in before or full_resync:
                assert bodies == [wanted]
            elif not differing:
                assert bodies == []
            else:
                assert bodies == [wanted if send == "all" else differing]
            if key not in refused:
                assert {name: model.rows[key][name] for name in wanted} == wanted
        assert sorted(snapshot["_key"]) == sorted(model.rows), "the snapshot is what Customer.io holds"
        if not refused and not full_resync:
            again = planned(table, spec, snapshot=snapshot)
            assert len(again.operations) == 0
            assert again.counts.rejected == plan.counts.rejected


@LAX
@given(
    st.lists(st.tuples(tables(), st.dictionaries(IDS, st.booleans())), min_size=1, max_size=4),
    tables(),
    st.sampled_from(["omit", "clear"]),
)
def test_rows_whose_answers_were_lost(
    history: list[tuple[pl.DataFrame, dict[str, bool]]], last: pl.DataFrame, nulls: Any
) -> None:
    """Of some operations no answer comes, whether Customer.io applied them or not: the next whole run puts all right."""
    spec = Object(object_type_id=1, column="id", behavior="mirror", nulls=nulls)
    rows: dict[str, dict[str, Any]] = {}
    snapshot, unsettled = None, None
    for table, lost in [*history, (last, {})]:
        ready, rejected = split(table)
        plan = planned(table, spec, snapshot=snapshot, unsettled=unsettled)
        for key, body in zip(plan.operations["_key"], plan.bodies(), strict=True):
            if not lost.get(key, True):
                continue
            if body["action"] == "delete":
                rows.pop(key, None)
            else:
                rows.setdefault(key, {}).update(body["attributes"])
        pending = [key for key in plan.operations["_key"] if key in lost]
        kept: list[str] = (
            [] if unsettled is None else [key for key in unsettled["_key"] if key not in set(plan.operations["_key"])]
        )
        snapshot = plan.snapshot(snapshot, spec, pending)
        keys = pl.Series([*pending, *kept], dtype=pl.String)
        unsettled = pl.DataFrame({"_key": keys, "_object": keys}) if len(keys) else None
    assert set(ready) <= set(rows) <= set(ready) | rejected
    for key, row in ready.items():
        wanted = {name: value for name, value in row.items() if value is not None or nulls == "clear"}
        assert {name: typed(rows[key][name]) for name in wanted} == {name: typed(value) for name, value in wanted.items()}


@LAX
@given(st.lists(st.tuples(tables("row"), st.sets(IDS)), min_size=1, max_size=4))
def test_events_are_sent_once(history: list[tuple[pl.DataFrame, set[str]]]) -> None:
    spec, ledger = Event(row_id="row", column="who", name="e"), None
    sent: Counter[str] = Counter()
    for table, refused in history:
        ready, rejected = split(table, "row")
        plan = planned(table.with_columns(who=pl.lit("p")), spec, snapshot=ledger)
        assert plan.keys("send") == set(ready) - set(sent)
        assert {each for each in plan.rejected["_key"] if each} == rejected
        sent.update(plan.keys("send") - refused)
        ledger = plan.snapshot(ledger, spec, {each for each in refused if each})
        assert sorted(ledger["_key"]) == sorted(sent)
    assert set(sent.values()) <= {1}


@LAX
@given(st.lists(tables(), min_size=1, max_size=4), st.booleans())
def test_collections_are_replaced_when_their_rows_differ(history: list[pl.DataFrame], full_resync: bool) -> None:
    spec, snapshot, held = Collection(name="c"), None, None
    for table in history:
        rows = [row for row in table.to_dicts() if not any(bad(value) for value in row.values())]
        wanted = [{name: value for name, value in row.items() if value is not None} for row in rows]
        plan = planned(table, spec, snapshot=snapshot, full_resync=full_resync)
        differs = held is None or Counter(map(repr, map(sorted_row, wanted))) != Counter(map(repr, map(sorted_row, held)))
        if differs or full_resync:
            assert plan.bodies() == wanted, "all rows, in the source's order"
            held = wanted
        else:
            assert len(plan.operations) == 0
        snapshot = plan.snapshot(snapshot, spec)


def sorted_row(row: dict[str, Any]) -> Any:
    return [(name, typed(value)) for name, value in row.items()]
