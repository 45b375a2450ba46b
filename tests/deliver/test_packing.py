"""Packing, for any operations and any limits."""

from __future__ import annotations

import itertools
import json

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_dagster.deliver.packing import Batch, pack

BODIES = st.lists(st.text(max_size=40).map(lambda text: json.dumps({"v": text}, ensure_ascii=False)), max_size=60)
WRAPPING = len(b'{"batch":[]}')


def chunks(bodies: list[str], operations: list[str], cuts: list[int]) -> list[pl.DataFrame]:
    frame = pl.DataFrame({"_operation": operations, "_body": bodies}, schema={"_operation": pl.String, "_body": pl.String})
    edges = sorted({0, len(bodies), *(cut % (len(bodies) + 1) for cut in cuts)})
    return [frame[first:last] for first, last in itertools.pairwise(edges)]


def packed(bodies: list[str], kinds: list[bool], cuts: list[int], size: int, rows: int, mixed: bool, start: int) -> list[Batch]:
    operations = ["delete" if kind else "create" for kind in kinds[: len(bodies)]]
    operations += ["create"] * (len(bodies) - len(operations))
    return list(
        pack(chunks(bodies, operations, cuts), max_bytes=size, max_rows=rows, wrapping=WRAPPING, mixed=mixed, start=start)
    )


CASES = {
    "bodies": BODIES,
    "kinds": st.lists(st.booleans(), max_size=60),
    "cuts": st.lists(st.integers(0, 60), max_size=6),
    "size": st.integers(WRAPPING + 1, 900),
    "rows": st.integers(1, 70),
    "mixed": st.booleans(),
    "start": st.integers(0, 1000),
}


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_every_operation_is_in_one_request_in_order_and_within_the_limits(
    bodies: list[str], kinds: list[bool], cuts: list[int], size: int, rows: int, mixed: bool, start: int
) -> None:
    batches = packed(bodies, kinds, cuts, size, rows, mixed, start)
    assert [body for batch in batches for body in batch.bodies] == bodies
    position = start
    for batch in batches:
        assert batch.start == position
        position = batch.stop
        assert 1 <= len(batch.bodies) <= rows
        # What alone is too large goes alone: the plan judged it already.
        sent = ('{"batch":[' + ",".join(batch.bodies) + "]}").encode()
        assert len(sent) <= size or len(batch.bodies) == 1
        if not mixed:
            kinds_in = {("delete" if kind else "create") for kind in kinds[batch.start - start : batch.stop - start]}
            assert len(kinds_in) <= 1 or len(batch.bodies) == 1
    assert position == start + len(bodies)


@settings(max_examples=100, deadline=None)
@given(**CASES)
def test_requests_do_not_depend_on_how_the_plan_is_read(
    bodies: list[str], kinds: list[bool], cuts: list[int], size: int, rows: int, mixed: bool, start: int
) -> None:
    whole = packed(bodies, kinds, [], size, rows, mixed, start)
    cut = packed(bodies, kinds, cuts, size, rows, mixed, start)
    assert [(each.start, each.stop, each.operation) for each in whole] == [
        (each.start, each.stop, each.operation) for each in cut
    ]


@settings(max_examples=50, deadline=None)
@given(**CASES)
def test_requests_are_full(
    bodies: list[str], kinds: list[bool], cuts: list[int], size: int, rows: int, mixed: bool, start: int
) -> None:
    batches = packed(bodies, kinds, cuts, size, rows, True, start)
    for batch, following in itertools.pairwise(batches):
        more = ('{"batch":[' + ",".join([*batch.bodies, following.bodies[0]]) + "]}").encode()
        assert len(more) > size or len(batch.bodies) == rows


def test_halves_are_the_whole() -> None:
    batch = Batch(7, pl.Series(["a", "b", "c"]), "create")
    first, second = batch.halves()
    assert (first.start, first.stop, second.start, second.stop) == (7, 8, 8, 10)
    assert [*first.bodies, *second.bodies] == ["a", "b", "c"]
