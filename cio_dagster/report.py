"""REPORT: what a run did, or what a dry run found, in numbers."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from cio_dagster.changes import sample
from cio_dagster.errors import DeliveryError
from cio_dagster.plan import Counts, Plan
from cio_dagster.prepare.identity import consequence, in_words
from cio_dagster.specs import AnySpec, Person, Threshold

EXAMPLES = 10
"""Rows of each operation whose changes are shown."""

KEYS = 3
"""Keys shown of the people with each problem with their identifiers."""


@dataclass
class Report:
    """One run of one asset partition. `seconds` is by room; rows are counted by the plan, then by what became of them."""

    run_id: str
    asset: str
    partition: str | None
    object: str
    behavior: str
    planned: Counts
    dry_run: bool = False
    since: str = ""
    """When the run began, or the interrupted run whose answers it committed (ISO 8601): what was accepted from then on, this run counts."""
    read_since: str = ""
    """Of an incremental read, the time from which on rows were read (ISO 8601); empty where all were."""
    created: int = 0
    updated: int = 0
    removed: int = 0
    sent: int = 0
    kept: int = 0
    """Unchanged rows of a collection, accepted with those that changed."""
    refused: int = 0
    refused_removals: int = 0
    """Of the refused operations, those that would have removed a row, which is no row of the source."""
    pending: int = 0
    deferred: int = 0
    """Of the pending operations, or in a dry run of the planned ones, those that the run's limit leaves for the next."""
    requests: int = 0
    bytes: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    recovered: int = 0
    """Operations of an earlier run that its answers proved accepted, committed by this run."""
    environment_id: int | None = None
    """The workspace's."""
    plan_folder: str = ""
    """Where the plan of a dry run is stored (see `cio_dagster.stored`)."""
    stops: list[str] = field(default_factory=list)
    """In a dry run, what the guards would say that would stop a run."""
    unknown_keys: list[str] = field(default_factory=list)
    """Keys that the run was to be about and that are neither in the source nor in the snapshot."""
    warnings: list[str] = field(default_factory=list)
    identity: list[dict[str, Any]] = field(default_factory=list)
    """Rows sent though their identifiers clash (see `cio_dagster.prepare.identity`): problem, field, rows, examples (keys), and in words
    what the rows have (`words`) and what Customer.io does with them (`consequence`)."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    """Rejected rows by reason: reason, field, message, rows, example (a key)."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """A sample of the planned changes, removals first (columns as `cio_dagster.changes` has them)."""
    error: DeliveryError | None = None

    @property
    def rejected(self) -> int:
        """Rows rejected before sending and by Customer.io."""
        return self.planned.rejected + self.refused

    @property
    def all_warnings(self) -> list[str]:
        """The warnings, and what a guard would stop, keys that are none, and each problem with identities."""
        found = self.warnings + [f"A guard would stop this run: {each}" for each in self.stops]
        if self.unknown_keys:
            such = ", ".join(self.unknown_keys[:KEYS])
            found.append(
                f"{len(self.unknown_keys):,} of only_keys (such as {such}) are neither in the source nor known from it."
            )
        return found + [
            f"{each['rows']:,} rows (such as {', '.join(each['examples'])}) {each['words']}. {each['consequence']}"
            for each in self.identity
        ]

    @property
    def accepted(self) -> int:
        """Operations that Customer.io accepted."""
        return self.created + self.updated + self.removed + self.sent

    def count(self, counted: pl.DataFrame) -> None:
        """Take in what a commit counted: `_operation`, `_outcome`, `rows`."""
        names = {"create": "created", "update": "updated", "delete": "removed", "send": "sent", "keep": "kept"}
        for operation, outcome, rows in counted.select("_operation", "_outcome", "rows").iter_rows():
            if outcome == "accepted" and operation in names:
                setattr(self, names[operation], getattr(self, names[operation]) + rows)
            elif outcome in ("refused", "pending"):
                setattr(self, outcome, getattr(self, outcome) + rows)
                self.refused_removals += rows if (operation, outcome) == ("delete", "refused") else 0

    def too_many_rejected(self, threshold: Threshold) -> bool:
        """Whether more rows of the source were rejected than `max_rejected` allows; never, where that is None."""
        if threshold is None:
            return False
        rejected = self.rejected - self.refused_removals
        return rejected > (threshold * self.planned.source if isinstance(threshold, float) else threshold)

    def without_values(self) -> Report:
        """The same without anything that rows hold: keys hashed, changes by name alone, and no messages, as Customer.io's quote values."""
        return replace(
            self,
            rejects=[each | {"message": "", "example": hashed(each["example"])} for each in self.rejects],
            changes=[each | {"key": hashed(each["key"]), "before": "", "after": ""} for each in self.changes],
            unknown_keys=[hashed(key) for key in self.unknown_keys],
            identity=[each | {"examples": [hashed(key) for key in each["examples"]]} for each in self.identity],
        )

    def to_json(self) -> dict[str, Any]:
        """The report for `report.json` and for metadata."""
        said = {"error": str(self.error) if self.error else None, "rejected": self.rejected, "warnings": self.all_warnings}
        return asdict(self) | said


def hashed(key: str | None) -> str:
    """A key for people who must not see it: the first 12 digits of its SHA-256. Empty where there is none."""
    return hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""


def plan_report(plan: Plan, spec: AnySpec, asset: str, partition: str | None, before: pl.LazyFrame | None) -> Report:
    """What a plan says before anything is sent. `before` is what it was made on: the snapshot, or the plan's baseline."""
    counts = plan.counts
    report = Report(plan.run_id, asset, partition, spec.object, spec.behavior, counts)
    report.read_since = plan.read.since if plan.read is not None and plan.partial else ""
    report.deferred, report.unknown_keys = plan.deferred, plan.unknown_keys
    if counts.old_events:
        report.warnings.append(
            f"{counts.old_events:,} events are older than 72 hours: they are stored, but set off no campaigns."
        )
    if counts.future_events:
        report.warnings.append(
            f"{counts.future_events:,} events are in the future; what Customer.io does with them is not documented."
        )
    if counts.source == 0 and counts.known and spec.object != "event" and not plan.partial:
        report.warnings.append(f"The source is empty, while {counts.known:,} rows are known from it.")
    report.rejects = rejects(plan.rejected().select("_key", pl.col("_reject").struct.unnest()))
    if isinstance(spec, Person) and (problems := plan.identity_problems()) is not None:
        report.identity = identities(problems, spec)
    report.changes = sample(plan, before, EXAMPLES)
    return report


def identities(problems: pl.LazyFrame, spec: Person) -> list[dict[str, Any]]:
    """People who are sent though their identifiers clash (as `Plan.identity_problems` has them), by problem, most first."""
    found = problems.group_by("problem", "field").agg(
        rows=pl.col("_row").n_unique(), examples=pl.col("_key").unique(maintain_order=True).head(KEYS)
    )
    return [
        each | {"words": in_words(each["problem"], spec), "consequence": consequence(each["problem"], spec)}
        for each in found.sort("rows", "problem", descending=[True, False]).collect(engine="streaming").to_dicts()
    ]


def rejects(rows: pl.LazyFrame) -> list[dict[str, Any]]:
    """Rejected rows (`_key`, `reason`, `field`, `message`) by reason and field, most first."""
    return (
        rows.group_by("reason", "field")
        .agg(rows=pl.len(), message=pl.col("message").first(), example=pl.col("_key").drop_nulls().first())
        .sort("rows", descending=True)
        .collect(engine="streaming")
        .to_dicts()
    )
