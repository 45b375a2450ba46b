"""What a partition by sync key leaves for the guards of the others: while it runs, after it was killed, and after it was stopped."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from cio_dagster import hash_partitions
from cio_dagster import sync as sync_room
from cio_dagster.errors import GuardError, StateError
from cio_dagster.key_partitions import slices
from cio_dagster.partitions import split
from cio_dagster.specs import Event, Object
from cio_dagster.sync import RunOptions, begin
from tests.engine import Engine

MIRROR = Object(object_type_id=1, column="id", behavior="mirror", max_delete=10)
TWO = hash_partitions(2)
KEYS = list(slices(TWO))


def parts(gone: int = 0) -> dict[str, pl.LazyFrame]:
    """Forty rows by partition, without the first ones of each."""
    found = split(pl.LazyFrame({"id": range(40)}), TWO, KEYS, None, MIRROR)
    return {key: part.slice(gone) for key, part in found.items()}


@pytest.fixture
def synced(engine: Engine) -> Engine:
    for key, part in parts().items():
        assert engine.sync(MIRROR, part, partition=key, partitions=KEYS).created > 10
    return engine


def test_runs_at_the_same_time_see_each_other(synced: Engine) -> None:
    """Each removes fewer than it may, but both together do not."""
    later = parts(gone=7)

    def run(key: str) -> Any:
        return begin(later[key], MIRROR, synced.state(partition=key), synced.connection(), run_id=f"at-{key}", partitions=KEYS)

    with run(KEYS[0]) as one, run(KEYS[1]) as other:
        assert one.plan.counts.delete == other.plan.counts.delete == 7
        with pytest.raises(GuardError, match="14 of 40 rows of all partitions, here and in the last runs of 1 others"):
            other.judge()
        with pytest.raises(GuardError, match="14 of 40 rows"):
            one.judge()
    assert len(synced.sandbox.get("objects")) == 40


def test_what_was_stopped_does_not_count(synced: Engine) -> None:
    before = [synced.state(partition=key).part() for key in KEYS]
    with pytest.raises(GuardError):
        synced.sync(MIRROR, parts(gone=11)[KEYS[0]], partition=KEYS[0], partitions=KEYS)
    dry = synced.sync(MIRROR, parts(gone=11)[KEYS[0]], partition=KEYS[0], partitions=KEYS, options=RunOptions(dry_run=True))
    assert "rows" in dry.stops[0]
    assert [synced.state(partition=key).part() for key in KEYS] == before


def test_a_killed_run_counts_until_the_next_one_and_with_it(synced: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    later = parts(gone=7)
    deliver = sync_room.delivery.deliver

    def killed(*given: Any, **named: Any) -> None:
        deliver(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sync_room.delivery, "deliver", killed)
        with pytest.raises(KeyboardInterrupt):
            synced.sync(MIRROR, later[KEYS[0]], partition=KEYS[0], partitions=KEYS)
    with pytest.raises(GuardError, match="14 of 40 rows of all partitions"):
        synced.sync(MIRROR, later[KEYS[1]], partition=KEYS[1], partitions=KEYS)
    again = synced.sync(MIRROR, later[KEYS[0]], partition=KEYS[0], partitions=KEYS)
    assert (again.recovered, again.removed) == (7, 0)
    part = synced.state(partition=KEYS[0]).part()
    assert part is not None
    assert (part.delete, part.removed, part.unfinished) == (7, 7, False)
    with pytest.raises(GuardError, match="14 of 40 rows of all partitions"):
        synced.sync(MIRROR, later[KEYS[1]], partition=KEYS[1], partitions=KEYS)


def test_a_damaged_part_is_told_when_it_is_needed(synced: Engine) -> None:
    """A run that removes nothing looks at no other partition."""
    path = synced.state(partition=KEYS[1]).folder / "wave.json"
    path.write_text(json.dumps({"run_id": "x"}))
    assert synced.sync(MIRROR, parts()[KEYS[0]], partition=KEYS[0], partitions=KEYS).requests == 0
    with pytest.raises(StateError, match=r"wave\.json cannot be read .* remove it"):
        synced.sync(MIRROR, parts(gone=1)[KEYS[0]], partition=KEYS[0], partitions=KEYS)


def test_events_begin_with_the_first_run_of_any_partition(engine: Engine) -> None:
    event = Event(row_id="row", key="anonymous_id", column="visitor", name="seen", timestamp="at", anonymous_endpoint="v2")
    rows = [
        {"row": f"r{number}", "visitor": "v", "at": datetime.now(timezone.utc) + timedelta(hours=1)} for number in range(20)
    ]
    found = split(pl.DataFrame(rows).lazy(), TWO, KEYS, None, event)
    engine.sync(event, found[KEYS[0]].filter(pl.lit(False)), partition=KEYS[0], partitions=KEYS)
    first = engine.state(partition=KEYS[0]).info()
    sent = engine.sync(event, found[KEYS[1]], partition=KEYS[1], partitions=KEYS).sent
    other = engine.state(partition=KEYS[1]).info()
    assert sent > 0
    assert first is not None
    assert other is not None
    assert other.started_at == first.started_at
