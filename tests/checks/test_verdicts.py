"""What reports say against a run."""

from __future__ import annotations

from typing import Any

import pytest

from cio_dagster import Collection, Event, ManualSegment, Object, Person
from cio_dagster.checks.verdicts import delivered_as_planned, no_duplicate_identities, within_guards
from cio_dagster.plan import Counts
from cio_dagster.report import Report, hashed


def report(partition: str | None = None, *, planned: Counts | None = None, **fields: Any) -> dict[str, Any]:
    return Report("run", "asset", partition, "person", "mirror", planned or Counts(), **fields).to_json()


def test_delivered_as_planned_adds_up_partitions() -> None:
    all_of_it = report("a", planned=Counts(create=3, update=2, delete=1, keep=4), created=3, updated=2, removed=1, kept=4)
    assert delivered_as_planned([all_of_it]).text == "All 10 planned operations were accepted."
    limited = report("c", planned=Counts(send=5), sent=2, pending=3) | {"deferred": 3}
    found = delivered_as_planned([limited])
    assert found.passed
    assert "but for 3 that the run's limit left" in found.text
    not_all = report("b", planned=Counts(send=5), sent=2, refused=1, pending=2)
    found = delivered_as_planned([all_of_it, not_all])
    assert not found.passed
    assert found.numbers == {"planned": 15, "accepted": 12, "refused": 1, "pending": 2}
    assert "Of 15 planned operations 12 were accepted, 1 refused, and 2 are pending." in found.text


def test_duplicate_identities_are_those_sent_and_those_rejected() -> None:
    problem = {"problem": "shared_email", "field": "email", "rows": 2, "examples": ["a", "b"], "words": "", "consequence": ""}
    rejects = [
        {"reason": "duplicate_key", "field": "id", "message": "", "rows": 4, "example": "c"},
        {"reason": "invalid_email", "field": "email", "message": "", "rows": 9, "example": "d"},
    ]
    reports = [report("x", identity=[problem], rejects=rejects), report("y")]
    found = no_duplicate_identities(reports, shown=True)
    assert not found.passed
    assert found.numbers == {"rows": 6, "sent": 2, "rejected": 4}
    assert found.rows == [
        {"problem": "shared_email", "rows": 2, "sent": "yes", "examples": "a, b", "partition": "x"},
        {"problem": "duplicate_key", "rows": 4, "sent": "no", "examples": "c", "partition": "x"},
    ]
    hidden = no_duplicate_identities(reports, shown=False)
    assert [row["examples"] for row in hidden.rows] == [f"{hashed('a')}, {hashed('b')}", hashed("c")]
    assert no_duplicate_identities([report("y", rejects=rejects[1:])], shown=True).passed


SEGMENT, PEOPLE = ManualSegment(name="VIP", behavior="mirror"), Person(max_new_people=0.2, max_changed=100, max_rejected=8)


@pytest.mark.parametrize(
    ("spec", "counts", "rejected", "near"),
    [
        (SEGMENT, Counts(known=1000, delete=99), 0, {}),
        (SEGMENT, Counts(known=1000, delete=100), 0, {"max_delete": (100, 200, 50)}),
        (SEGMENT, Counts(known=20, delete=4), 0, {}),  # By default ten rows never stop a run.
        (SEGMENT.model_copy(update={"max_delete": 0.4}), Counts(known=1000, delete=100), 0, {}),
        (SEGMENT.model_copy(update={"max_delete": 0}), Counts(known=1000, delete=1), 0, {"max_delete": (1, 0, 100)}),
        (SEGMENT.model_copy(update={"behavior": "update_or_create"}), Counts(known=9), 0, {}),
        (PEOPLE, Counts(known=0, create=5000), 0, {}),  # A first run.
        (PEOPLE, Counts(known=100, create=10, update=49), 3, {"max_new_people": (10, 20, 50)}),
        (PEOPLE, Counts(known=100, update=300), 5, {"max_changed": (300, 100, 300), "max_rejected": (5, 8, 62.5)}),
        (Collection(name="Plans"), Counts(known=100, source=89, delete=60, create=49), 0, {"max_delete": (11, 20, 55)}),
        (Event(row_id="id", name="x"), Counts(known=100, send=50), 0, {}),
        (Object(object_type_id=1, column="id"), Counts(known=100, update=90), 0, {}),
    ],
)
def test_guards_that_are_near(spec: Any, counts: Counts, rejected: int, near: dict[str, tuple[float, ...]]) -> None:
    found = within_guards([report(planned=counts, refused=rejected)], spec, early=0.5)
    assert {row["guard"]: (row["rows"], row["limit"], row["percent"]) for row in found.rows} == near
    assert found.passed == (not near)
    assert all(f"{guard}_percent" in found.numbers for guard in near)


def test_each_partition_is_held_against_its_own_limits() -> None:
    reports = [report("a", planned=Counts(known=100, delete=12)), report("b", planned=Counts(known=1000, delete=12))]
    found = within_guards(reports, SEGMENT, early=0.5)
    assert [row["partition"] for row in found.rows] == ["a"]
    assert found.numbers["max_delete_percent"] == 60
    assert within_guards(reports, SEGMENT, early=0.7).passed


def test_a_part_of_a_whole_is_near_a_share_by_more_than_chance_alone() -> None:
    strict = SEGMENT.model_copy(update={"max_delete": 0.1})
    assert not within_guards([report("a", planned=Counts(known=40, delete=4))], strict, early=0.5).passed
    assert within_guards([report("03-of-16", planned=Counts(known=40, delete=4))], strict, early=0.5).passed
    assert not within_guards([report("03-of-16", planned=Counts(known=4_000, delete=400))], strict, early=0.5).passed
