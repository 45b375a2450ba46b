"""Guards of partitions by sync key judge the whole: in whatever order and at whatever pace its parts run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_dagster import ManualSegment, Person
from cio_dagster.errors import GuardError
from cio_dagster.guards import DELETED_ROWS, DELETED_SHARE, check
from cio_dagster.plan import Counts, Plan
from cio_dagster.specs import AnySpec, Threshold
from cio_dagster.wave import Part, done, in_wave, read_part, under_way


@dataclass
class Table:
    """A table in parts, and what their last runs did; times are the runs' numbers."""

    spec: AnySpec
    source: list[set[int]]
    known: list[set[int]] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)
    runs: int = 0

    def __post_init__(self) -> None:
        self.known = [set[int]() for _ in self.source]

    def begin(self, number: int, *allowed: str, run: str = "", recovered: int = 0) -> tuple[Plan, Part]:
        """The plan of a part's next run."""
        self.runs += 1
        now, before = self.source[number], self.known[number]
        counts = Counts(
            source=len(now), unchanged=len(now & before), create=len(now - before), delete=len(before - now), known=len(before)
        )
        run, last = run or f"{self.runs:06}", self.parts.get(number)
        part = under_way(
            counts, last, run_id=run, since=run, first=last is None, recovered={"delete": recovered}, allowed=allowed
        )
        return Plan(Path(), run, self.runs, "", counts), part

    def judge(self, number: int, plan: Plan, part: Part, **options: bool) -> list[GuardError]:
        def others() -> list[Part]:
            return [in_wave(read_part(each.to_json()), part) for other, each in self.parts.items() if other != number]

        return check(plan, self.spec, part=part, others=others, **options)

    def send(self, number: int, plan: Plan, part: Part, most: int = 1_000_000) -> int:
        """Do what the plan says, but remove so many rows at most; return how many were."""
        gone = sorted(self.known[number] - self.source[number])[:most]
        self.known[number] = (self.known[number] | self.source[number]) - set(gone)
        pending = plan.counts.delete - len(gone)
        self.parts[number] = done(part, {"delete": len(gone), "create": plan.counts.create}, pending=pending)
        return len(gone)

    def wave(self, order: list[int], together: int = 1, **options: bool) -> tuple[int, list[GuardError]]:
        """Run each part once, so many at a time; return how many rows were removed, and what was stopped."""
        removed, stopped, allowed = 0, list[GuardError](), [name for name, given in options.items() if given]
        for place in range(0, len(order), together):
            begun = {number: self.begin(number, *allowed) for number in order[place : place + together]}
            before = {number: self.parts.get(number) for number in begun}
            self.parts |= {number: part for number, (_, part) in begun.items()}
            for number, found in [(number, self.judge(number, *each, **options)) for number, each in begun.items()]:
                stopped += found
                if not found:
                    removed += self.send(number, *begun[number])
                elif (last := before[number]) is not None:
                    self.parts[number] = last
                else:
                    del self.parts[number]
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

    small = Table(everything, [{2 * number, 2 * number + 1} for number in range(40)])
    small.wave(list(range(40)))
    small.source = [set() for _ in small.source]
    removed, stops = small.wave(list(range(40)))
    assert (removed, {each.guard for each in stops}) == (16, {"empty_source"})

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


@pytest.mark.parametrize("how", ["pending", "retry", "killed"])
def test_a_run_that_goes_on_with_another_counts_what_that_did(how: str) -> None:
    made = Table(mirror(max_delete=10), [set(range(20)), set(range(20, 40))])
    made.wave([0, 1])
    made.source = [set(range(8, 20)), set(range(23, 40))]
    made.send(0, *made.begin(0), most=6)
    if how == "killed":
        made.parts[0] = replace(made.parts[0], removed=0)
    if how == "retry":
        made.parts[0] = replace(made.parts[0], unfinished=False)
    again = made.begin(0, run=made.parts[0].run_id if how == "retry" else "", recovered=6 if how == "killed" else 0)
    assert made.judge(0, *again) == []
    made.send(0, *again)
    assert (made.parts[0].known, made.parts[0].delete, made.parts[0].now, made.parts[0].unfinished) == (20, 8, 12, False)
    [stopped] = made.wave([1])[1]
    assert (stopped.planned, stopped.known) == (11, 40)
