"""Guards of partitions by sync key judge the whole: in whatever order and at whatever pace its parts run."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_dagster import ManualSegment, Person
from cio_dagster.errors import GuardError
from cio_dagster.guards import DELETED_ROWS, DELETED_SHARE, check
from cio_dagster.plan import Counts, Plan
from cio_dagster.specs import AnySpec, Threshold
from cio_dagster.wave import Part, gone_on_with, part_of_plan, part_of_report


@dataclass
class Table:
    """A table in parts, and the reports of their last runs; times are the runs' numbers."""

    spec: AnySpec
    source: list[set[int]]
    known: list[set[int]] = field(default_factory=list)
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        self.known = [set[int]() for _ in self.source]

    def begin(self, number: int) -> Plan:
        """The plan of a part's next run."""
        self.runs += 1
        now, before = self.source[number], self.known[number]
        counts = Counts(
            source=len(now), unchanged=len(now & before), create=len(now - before), delete=len(before - now), known=len(before)
        )
        return Plan(Path(), f"{self.runs:06}", 2 if number in self.reports else 1, "", counts)

    def judge(self, number: int, plan: Plan, under_way: dict[int, Plan], **options: bool) -> list[GuardError]:
        since = self.reports[number]["since"] if number in self.reports else ""

        def others() -> list[Part]:
            parts = [part_of_plan(each, self.reports.get(other)) for other, each in under_way.items() if other != number]
            waiting = [other for other in self.reports if other != number and other not in under_way]
            return parts + [part_of_report(self.reports[other], since) for other in waiting]

        return check(plan, self.spec, part=part_of_plan(plan, self.reports.get(number)), others=others, **options)

    def send(self, number: int, plan: Plan, **options: bool) -> int:
        """Do what the plan says; return how many rows were removed."""
        planned, allowed = asdict(plan.counts), [name for name, given in options.items() if given]
        done = {"removed": planned["delete"], "created": planned["create"], "updated": planned["update"]}
        self.known[number] = set(self.source[number])
        self.reports[number] = {
            "run_id": plan.run_id, "since": plan.run_id, "planned": planned, "pending": 0, "first": plan.sequence == 1, "allowed": allowed
        } | done  # fmt: skip
        return plan.counts.delete

    def wave(self, order: list[int], together: int = 1, **options: bool) -> tuple[int, list[GuardError]]:
        """Run each part once, so many at a time; return how many rows were removed, and what was stopped."""
        removed, stopped = 0, list[GuardError]()
        for place in range(0, len(order), together):
            plans = {number: self.begin(number) for number in order[place : place + together]}
            found = {number: self.judge(number, plan, plans, **options) for number, plan in plans.items()}
            stopped += [error for errors in found.values() for error in errors]
            removed += sum(self.send(number, plan, **options) for number, plan in plans.items() if not found[number])
        return removed, stopped


def table(rows: int, parts: int, spec: AnySpec, chance: random.Random) -> Table:
    split = [set[int]() for _ in range(parts)]
    for row in range(rows):
        chance.choice(split).add(row)
    return Table(spec, split)


def mirror(max_delete: Threshold = None) -> ManualSegment:
    return ManualSegment(name="vip", behavior="mirror", max_delete=max_delete)


def lose(made: Table, share: float, chance: random.Random) -> None:
    made.source = [{row for row in part if chance.random() >= share} for part in made.source]


@given(
    rows=st.integers(0, 200),
    parts=st.integers(2, 8),
    max_delete=st.sampled_from([None, 0, 5, 40, 0.0, 0.1, 0.5, 1.0]),
    losses=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    together=st.integers(1, 4),
    chance=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_no_wave_removes_more_of_the_whole_than_it_may(
    rows: int, parts: int, max_delete: Threshold, losses: list[float], together: int, chance: random.Random
) -> None:
    made = table(rows, parts, mirror(max_delete), chance)
    order = list(range(parts))
    assert made.wave(order) == (0, [])
    for loss in losses:
        whole = sum(map(len, made.known))
        lose(made, loss, chance)
        if chance.random() < 0.5:
            chance.choice(made.source).update(range(1_000, 1_000 + chance.randrange(50)))
        chance.shuffle(order)
        removed, stopped = made.wave(order, together)
        if max_delete is None:
            most: float = max(DELETED_ROWS, DELETED_SHARE * whole)
        else:
            most = max_delete * whole if isinstance(max_delete, float) else max_delete
        assert removed <= most
        assert stopped or sum(map(len, made.known)) == sum(map(len, made.source))


def test_a_source_that_lost_half_is_stopped_at_its_first_part() -> None:
    chance = random.Random(1)
    made = table(16_000, 16, mirror(), chance)
    made.wave(list(range(16)))
    lose(made, 0.5, chance)
    removed, stopped = made.wave([7, *range(7), *range(8, 16)])
    assert (removed, len(stopped)) == (0, 16)
    assert " rows of this partition would be removed, more than 20% and 10 rows" in str(stopped[0])


def test_small_parts_may_lose_some_but_not_all_together() -> None:
    made = Table(mirror(), [{3 * number, 3 * number + 1, 3 * number + 2} for number in range(100)])
    made.wave(list(range(100)))
    made.source = [set(list(part)[:2]) for part in made.source]
    removed, stopped = made.wave(list(range(100)))
    assert removed == 60
    assert str(stopped[0]).startswith(
        "Nothing was sent: 61 of 300 rows of all partitions, here and in the last runs of 60 others would be removed, more than 20% and"
    )
    assert (stopped[0].planned, stopped[0].known) == (61, 300)


@pytest.mark.parametrize("order", [list(range(16)), list(range(15, -1, -1)), random.Random(2).sample(range(16), 16)], ids=str)
def test_a_steady_loss_within_the_limit_is_never_stopped(order: list[int]) -> None:
    """Day by day, though all together it is more than the limit."""
    chance = random.Random(3)
    made = table(8_000, 16, mirror(0.12), chance)
    made.wave(order)
    for _ in range(6):
        lose(made, 0.1, chance)
        assert made.wave(order)[1] == []


def test_a_wave_that_was_allowed_does_not_count_against_the_next() -> None:
    chance = random.Random(4)
    made = table(4_000, 8, mirror(), chance)
    made.wave(list(range(8)))
    lose(made, 0.6, chance)
    assert made.wave(list(range(8)), allow_deletes=True)[1] == []
    lose(made, 0.05, chance)
    assert made.wave(list(range(8)))[1] == []


def test_parts_of_a_source_that_became_empty() -> None:
    everything = mirror(max_delete=1.0)
    large = Table(everything, [set(range(100)), set(range(100, 200))])
    large.wave([0, 1])
    large.source = [set(), large.source[1]]
    removed, [stopped] = large.wave([0, 1])
    assert (removed, stopped.guard) == (0, "empty_source")
    assert "the source of this partition is empty, but Customer.io holds 100 rows from it" in str(stopped)

    small = Table(everything, [{2 * number, 2 * number + 1} for number in range(100)])
    small.wave(list(range(100)))
    small.source = [set() for _ in small.source]
    removed, stops = small.wave(list(range(100)))
    assert (removed, {each.guard for each in stops}) == (40, {"empty_source"})

    tiny = Table(everything, [{1}, {2}])
    tiny.wave([0, 1])
    tiny.source = [set(), set()]
    assert [each.guard for each in tiny.wave([0, 1])[1]] == ["empty_source"], "one of two rows may go, but not both"


@pytest.mark.parametrize(("limit", "stopped_at"), [(25, 5), (0.5, None), (None, None)])
def test_new_people_are_counted_over_all_parts(limit: Threshold, stopped_at: int | None) -> None:
    made = Table(Person(max_new_people=limit), [set(range(5 * number, 5 * number + 5)) for number in range(8)])
    _, stopped = made.wave(list(range(8)))
    assert len(stopped) == (0 if stopped_at is None else 8 - stopped_at)
    if stopped_at is not None:
        assert str(stopped[0]).startswith(
            "Nothing was sent: 30 people would be created beside the 25 known ones of all partitions, here and in"
        )
        return
    made.source = [{*part, *range(100 + 3 * number, 103 + 3 * number)} for number, part in enumerate(made.source)]
    stops = made.wave(list(range(8)))[1]
    assert len(stops) == (2 if limit else 0), "half of 40 are 20, of 3 each"


def test_a_run_that_goes_on_with_another_counts_what_that_did() -> None:
    made = Table(mirror(max_delete=10), [set(range(20)), set(range(20, 40))])
    made.wave([0, 1])
    made.source = [set(range(8, 20)), set(range(23, 40))]
    plan = made.begin(0)
    made.send(0, plan)
    # It was interrupted after six of eight.
    made.known[0] = set(range(6, 20))
    made.reports[0] |= {"removed": 6, "pending": 2}
    again = made.begin(0)
    assert gone_on_with(made.reports[0], again.run_id) == {"delete": 6, "create": 0, "changed": 0}
    assert made.judge(0, again, {}) == []
    continued = gone_on_with(made.reports[0], again.run_id)
    made.send(0, again)
    made.reports[0] |= {"continued": continued}
    [stopped] = made.wave([1])[1]
    assert (stopped.planned, stopped.known) == (11, 40)
