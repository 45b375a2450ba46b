"""Whether the data of a source is fresh: not when it was last synced, but how old the newest of what there is to sync is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

from cio_dagster.checks.verdicts import Verdict
from cio_dagster.errors import SpecError
from cio_dagster.warehouse import Warehouse


@dataclass(frozen=True)
class Freshness:
    """How old a source may be.

    sql
        A query, or the name of a SQL file, that gives one time: when the source's newest row came, such as
        `select max(updated_at) from raw.customers`. A time without zone is taken to be in UTC, a date for the beginning of that day in UTC.
    within
        The oldest that this time may be.
    warehouse
        The resource that runs the query.
    """

    sql: str
    within: timedelta
    warehouse: str = "warehouse"


def newest(warehouse: Warehouse, sql: str) -> datetime | None:
    """The time that a query gives, in UTC; None where it gives null. Raises WarehouseError, or SpecError where it gives something else."""
    rows = warehouse.query(sql).collect().rows()
    values = [value for row in rows for value in row]
    if len(values) != 1:
        raise SpecError(f"A freshness query gives one time; {sql!r} gave {len(rows)} rows: write select max(...) from ...")
    [value] = values
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if not isinstance(value, datetime):
        raise SpecError(f"A freshness query gives a time; {sql!r} gave a value of type {type(value).__name__}: cast it.")
    return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)


def source_is_fresh(warehouse: Warehouse, freshness: Freshness, now: datetime) -> tuple[Verdict, datetime | None]:
    """Whether the newest row of a source is as young as it should be, and when it came."""
    found = newest(warehouse, freshness.sql)
    if found is None:
        return Verdict(False, "The source has no row with a time.", {}), None
    age = now - found
    numbers: dict[str, int | float] = {"age_hours": round(age.total_seconds() / 3600, 2)}
    words = f"The newest row of the source is of {found:%Y-%m-%d %H:%M} UTC"
    if age <= freshness.within:
        return Verdict(True, f"{words}.", numbers), found
    return Verdict(False, f"{words}, older than {_words(freshness.within)}.", numbers), found


def _words(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
