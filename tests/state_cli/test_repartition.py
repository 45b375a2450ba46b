"""`cio-state repartition`: no row is lost, sent again or sent twice, whatever is split into what, and wherever it is killed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from cio_dagster import hash_partitions, places, range_partitions
from cio_dagster.cli.state import main
from cio_dagster.errors import StateError
from cio_dagster.key_partitions import Predicate, key_identifier, slices
from cio_dagster.partitions import split
from cio_dagster.report import Report
from cio_dagster.specs import AnySpec, Device, Event, ManualSegment, Object, Person
from tests.engine import Engine
from tests.state_cli.test_cli import run

ACCOUNT = Object(object_type_id=1, column="id", behavior="mirror")
ROWS = pl.DataFrame({"id": [f"k{number}" for number in range(40)], "plan": "free"})


def sync_all(engine: Engine, spec: AnySpec, rows: pl.DataFrame, definition: Any, column: str | None = None) -> list[Report]:
    """A run of each partition, or of the whole."""
    if definition is None:
        return [engine.sync(spec, rows)]
    parts = split(rows.lazy(), definition, list(slices(definition)), column, spec)
    return [engine.sync(spec, part, partition=key, partitions=list(parts)) for key, part in parts.items()]


def known(engine: Engine) -> tuple[set[str | None], list[str]]:
    """The partitions that have a snapshot, and the keys in them."""
    found = {state.partition: state.snapshot() for state in [engine.state(), *engine.state().siblings()]}
    rows = {partition: snapshot.select("_key").collect() for partition, snapshot in found.items() if snapshot is not None}
    return set(rows), sorted(pl.concat(rows.values())["_key"])


@pytest.mark.parametrize(
    ("before", "after", "command"),
    [
        (None, hash_partitions(3), "--into 3"),
        (hash_partitions(2), None, "--whole"),
        (range_partitions(["k2"]), range_partitions(["k2", "k3"]), "--bound k2 --bound k3"),
        (hash_partitions(2), range_partitions(["10", "k3"]), '--bound "10" --bound k3'),
    ],
    ids=["split", "join", "bounds", "ranges"],
)
def test_what_was_sent_is_known_to_the_new_partitions(engine: Engine, before: Any, after: Any, command: str) -> None:
    sync_all(engine, ACCOUNT, ROWS, before)
    sent = len(engine.requests(writes=True))
    said = run(engine, "repartition", "asset", *command.split(), "--yes").output
    assert "Nothing is sent" in said
    keys = [None] if after is None else list(slices(after))
    assert known(engine) == (set(keys), sorted(ROWS["id"]))
    assert len(engine.requests(writes=True)) == sent
    later = ROWS.with_columns(plan=pl.when(pl.col("id") == "k7").then(pl.lit("pro")).otherwise("plan")).tail(-1)
    reports = sync_all(engine, ACCOUNT, later, after)
    assert [sum(getattr(report, name) for report in reports) for name in ("created", "updated", "removed")] == [0, 1, 1]
    values = pl.concat(
        [values.collect() for key in keys if (values := engine.state(partition=key).values(ACCOUNT)) is not None]
    )
    assert values.filter(object_id="k7")["plan"].to_list() == ["pro"]


def test_what_is_unsettled_stays_so(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.sync(ACCOUNT, ROWS)
    state = engine.state()
    state.write_unsettled(pl.LazyFrame({"_key": ["gone", "k1"], "_object": ["gone", "k1"]}))
    run(engine, "repartition", "asset", "--into", "2", "--yes")
    reports = sync_all(engine, ACCOUNT, ROWS, hash_partitions(2))
    assert [sum(getattr(report, name) for report in reports) for name in ("created", "updated", "removed")] == [0, 1, 1]
    assert all(engine.state(partition=key).unsettled() is None for key in slices(hash_partitions(2)))


def test_events_are_not_sent_again_and_history_stays_left_out(engine: Engine) -> None:
    order = Event(row_id="order", name="ordered", timestamp="at", key="anonymous_id", column="visitor", anonymous_endpoint="v2")
    orders = pl.DataFrame({"order": [f"o{n}" for n in range(20)], "visitor": "v", "at": [1_500_000_000] * 19 + [4_000_000_000]})
    engine.sync(order, orders)
    run(engine, "repartition", "asset", "--into", "2", "--yes")
    later = pl.concat([orders, orders.tail(1).with_columns(order=pl.lit("new"))])
    reports = sync_all(engine, order, later, hash_partitions(2))
    assert [sum(report.planned.left_out for report in reports), sum(report.sent for report in reports)] == [0, 1]


def test_rows_of_keys_of_two_columns_go_by_the_one_that_is_named(engine: Engine) -> None:
    device = Device(column="owner", behavior="mirror")
    rows = pl.DataFrame({"token": [f"t{n}" for n in range(10)], "owner": ["a", "b"] * 5, "platform": "ios"})
    engine.sync(device, rows)
    assert (
        "it can be 'token' or 'owner'. Say --by."
        in run(engine, "repartition", "asset", "--into", "2", "--yes", status=1).output
    )
    run(engine, "repartition", "asset", "--into", "2", "--by", "owner", "--yes")
    reports = sync_all(engine, device, rows, hash_partitions(2), "owner")
    assert [report.planned.unchanged for report in reports] != [0, 0]
    assert sum(report.planned.unchanged for report in reports) == 10


class Killed(BaseException):
    pass


def test_killed_anywhere_it_is_run_again(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the old states are closed, no run begins until it is done; then all rows are known, once each."""
    sync_all(engine, ACCOUNT, ROWS, hash_partitions(2))
    state, copy = engine.root, tmp_path / "copy"
    state.rename(copy)
    arguments = ["--state", str(state), "repartition", "asset", "--into", "3", "--yes"]
    kills = 0
    for steps in range(2, 60, 5):
        shutil.copytree(copy, state)
        if not killed_after(steps, arguments, monkeypatch):
            break
        kills += 1
        for key in ("0-of-2", "2-of-3"):
            if key == "0-of-2" or not engine.state(partition=key).exists():
                with pytest.raises(StateError, match=r"^Nothing was sent: |is missing, but there is a snapshot"):
                    engine.sync(ACCOUNT, [], partition=key, partitions=list(slices(hash_partitions(int(key[-1])))))
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert known(engine) == (set(slices(hash_partitions(3))), sorted(ROWS["id"]))
        shutil.rmtree(state)
    assert kills > 3
    assert "is in these partitions already" in run(engine, "repartition", "asset", "--into", "3", "--yes", status=1).output


def killed_after(steps: int, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run the command until it has written so many files, or moved them; return whether it came to be killed."""
    left = [steps]

    def counting(original: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*given, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("replace", "move", "remove"):
            patch.setattr(places, name, counting(getattr(places, name)))
        try:
            CliRunner().invoke(main, arguments)
        except Killed:
            return True
    return False


@pytest.mark.parametrize(("before", "after", "command"), [(2, 4, "--into 4"), (2, None, "--whole")])
def test_a_run_in_another_split_names_it(engine: Engine, before: int, after: int | None, command: str) -> None:
    sync_all(engine, ACCOUNT, ROWS, hash_partitions(before))
    with pytest.raises(StateError, match=f"state of another split .*`cio-state repartition asset {command}`"):
        sync_all(engine, ACCOUNT, ROWS, None if after is None else hash_partitions(after))


def test_what_it_refuses(engine: Engine) -> None:
    engine.sync(ACCOUNT, ROWS, asset="days", partition="2026-01-01")
    assert "Partition 2026-01-01 is none by sync key" in run(engine, "repartition", "days", "--into", "2", status=1).output
    engine.sync(ACCOUNT, ROWS)
    assert "count from 2 to 4,096" in run(engine, "repartition", "asset", "--into", "1", status=1).output
    assert "rising bounds" in run(engine, "repartition", "asset", "--bound", "2", "--bound", "1", status=1).output
    assert "Say one of" in run(engine, "repartition", "asset", "--whole", "--into", "2", status=2).output
    assert "is in these partitions already" in run(engine, "repartition", "asset", "--whole", status=1).output
    run(engine, "repartition", "asset", "--into", "2", answer="n\n", status=1)
    assert engine.sync(ACCOUNT, ROWS).planned.unchanged == 40
    with engine.state().lock("a run"):
        assert "is being written by another run" in run(engine, "repartition", "asset", "--into", "2", status=1).output
    engine.sync(ManualSegment(name="VIP", behavior="mirror", baseline="customerio"), ROWS.clear(), asset="vip")
    assert "It cannot be partitioned: baseline=" in run(engine, "repartition", "vip", "--into", "2", status=1).output


def test_its_rows_are_those_that_the_database_selects() -> None:
    """The snapshot's text of a key is what the query's key is made of."""
    email = Person(key="email")
    frame = pl.DataFrame({"email": [f" Ada{number}@X.org" for number in range(50)]})
    for part in slices(hash_partitions(3)).values():
        where = Predicate.of(key_identifier(email, None), [part])
        known = frame.select(pl.col("email").str.strip_chars().str.to_lowercase()).filter(where.of_text(pl.col("email")))
        assert frame.filter(where.expr(pl.String())).height == known.height
