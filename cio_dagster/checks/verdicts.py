"""What a run's reports say against it: pure functions from reports, as JSON, to a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cio_dagster.guards import DELETED_ROWS, DELETED_SHARE, Limit
from cio_dagster.key_partitions import slice_of
from cio_dagster.prepare.identity import PROBLEMS
from cio_dagster.report import hashed
from cio_dagster.specs import AnySpec, Collection, Device, Event, Object, Person, Relationship, Threshold

OPERATIONS = ("create", "update", "send", "keep", "delete")
"""Planned operations, and below what accepted ones are counted as."""

ACCEPTED = ("created", "updated", "sent", "kept", "removed")

DUPLICATES = ("duplicate_key", *PROBLEMS)
"""The problems with people's identities, whether the rows were sent with a warning or rejected."""

Reports = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """What a check found. `numbers` are for plots; `rows` of a table, if there is something to show."""

    passed: bool
    text: str
    numbers: dict[str, int | float]
    rows: list[dict[str, str | int | float]] = field(default_factory=list)


def delivered_as_planned(reports: Reports) -> Verdict:
    """Whether Customer.io accepted every operation that was planned, but for those that the run's `limit` left for the next one."""
    planned = sum(int(report["planned"][name]) for report in reports for name in OPERATIONS)
    accepted = sum(int(report[name]) for report in reports for name in ACCEPTED)
    refused, pending = (sum(int(report[name]) for report in reports) for name in ("refused", "pending"))
    deferred = sum(int(report.get("deferred", 0)) for report in reports)
    numbers: dict[str, int | float] = {"planned": planned, "accepted": accepted, "refused": refused, "pending": pending}
    if accepted + deferred == planned:
        left = f", but for {deferred:,} that the run's limit left for the next one" if deferred else ""
        return Verdict(True, f"All {planned:,} planned operations were accepted{left}.", numbers)
    text = f"Of {planned:,} planned operations {accepted:,} were accepted, {refused:,} refused, and {pending:,} are pending."
    return Verdict(False, text, numbers)


def no_duplicate_identities(reports: Reports, *, shown: bool) -> Verdict:
    """Whether every person of the source is one person: none shares a key or an email, and none has changed one for another.

    shown
        Whether examples are keys, or their hashes.
    """
    rows: list[dict[str, str | int | float]] = []
    for report in reports:
        partition = {} if report["partition"] is None else {"partition": str(report["partition"])}
        for each in report["identity"]:
            keys = each["examples"] if shown else [hashed(key) for key in each["examples"]]
            rows.append(
                {"problem": each["problem"], "rows": each["rows"], "sent": "yes", "examples": ", ".join(keys)} | partition
            )
        for each in report["rejects"]:
            if each["reason"] in DUPLICATES:
                example = str(each["example"] or "") if shown else hashed(each["example"])
                rows.append({"problem": each["reason"], "rows": each["rows"], "sent": "no", "examples": example} | partition)
    count = sum(int(each["rows"]) for each in rows)
    if not rows:
        return Verdict(True, "No two rows are, or become, the same person.", {"rows": 0})
    sent = sum(int(each["rows"]) for each in rows if each["sent"] == "yes")
    text = f"{count:,} rows share an identifier with another row or person: {sent:,} were sent, {count - sent:,} rejected."
    return Verdict(False, text, {"rows": count, "sent": sent, "rejected": count - sent}, rows)


def within_guards(reports: Reports, spec: AnySpec, *, early: float) -> Verdict:
    """Whether each guard is still far from stopping a run: whether no run did more than `early` (a share) of what its limit allows.

    A partition by sync key is looked at by itself, as its guards do before they look at the whole.

    Of `max_changed` this counts rows that were sent again unchanged as well, as a full resync does: the guard itself does not.
    """
    near: list[dict[str, str | int | float]] = []
    numbers: dict[str, int | float] = {}
    for report in reports:
        for guard, (rows, most) in _guarded(report, spec).items():
            share = rows / most if most else float(rows > 0)
            numbers[guard] = max(numbers.get(guard, 0), round(100 * share, 1))
            if rows and share >= early:
                where = {} if report["partition"] is None else {"partition": str(report["partition"])}
                near.append({"guard": guard, "rows": rows, "limit": most, "percent": round(100 * share, 1), **where})
    numbers = {f"{guard}_percent": share for guard, share in numbers.items()}
    if not near:
        return Verdict(True, f"No guard is at {early:.0%} of its limit.", numbers)
    said = ", ".join(f"{each['guard']} ({each['rows']:,} rows of at most {each['limit']:,g})" for each in near[:5])
    return Verdict(False, f"At {early:.0%} of their limit or beyond: {said}. Beyond it, runs are stopped.", numbers, near)


def _guarded(report: Mapping[str, Any], spec: AnySpec) -> dict[str, tuple[int, float]]:
    """Guard to the rows that it counted and the most that it lets pass; of guards that apply."""
    counts = report["planned"]
    known, found = int(counts["known"]), dict[str, tuple[int, float | None]]()
    of_whole = slice_of(report["partition"]) is not None

    def most_of(threshold: Threshold, least: int = 0) -> float | None:
        if threshold is None:
            return None
        limit = Limit("", threshold, least)
        alone = limit.most_of_part(known) if of_whole else None
        return limit.most(known) if alone is None else alone

    if spec.removes and not isinstance(spec, Event):
        # As the guard counts a collection: what it loses on balance.
        lost = known - (counts["source"] - counts["rejected"]) if isinstance(spec, Collection) else counts["delete"]
        most = most_of(DELETED_SHARE, DELETED_ROWS) if spec.max_delete is None else most_of(spec.max_delete)
        found["max_delete"] = (max(lost, 0), most)
    if isinstance(spec, Person) and (known or not isinstance(spec.max_new_people, float)):
        found["max_new_people"] = (counts["create"], most_of(spec.max_new_people))
    if isinstance(spec, (Person, Device, Object, Relationship)):
        found["max_changed"] = (counts["update"], most_of(spec.max_changed))
    rejected = report["rejected"] - report["refused_removals"]
    most_rejected = spec.max_rejected * counts["source"] if isinstance(spec.max_rejected, float) else spec.max_rejected
    found["max_rejected"] = (rejected, most_rejected)
    return {guard: (int(rows), most) for guard, (rows, most) in found.items() if most is not None}
