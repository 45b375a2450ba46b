"""The demo's warehouse: the same for the same arguments, dirty as declared, and changed by a day as declared."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import polars as pl
import pytest

from cio_dagster.plan import make_plan
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.warehouse import Warehouse
from demo.warehouse import DAYS, TABLES, advance_one_day, build, dirty_rows

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 3, 1)
SPECS: dict[str, AnySpec] = {
    "people": Person(key="id", column="customer_id"),
    "devices": Device(key="id", column="customer_id", last_used="last_seen_at", behavior="mirror"),
    "orders": Event(row_id="order_id", key="id", column="customer_id", name_column="event_name", timestamp="ordered_at"),
    "plans": Collection(name="plans"),
    "vip_customers": ManualSegment(name="VIP customers", key="id", column="customer_id", behavior="mirror"),
    "accounts": Object(object_type_id=1, column="account_id", behavior="mirror"),
    "account_members": Relationship(
        object_type_id=1, object_column="account_id", key="id", column="customer_id", behavior="mirror"
    ),
}
KEYS = {
    "people": "customer_id",
    "devices": "token",
    "orders": "order_id",
    "plans": "plan",
    "vip_customers": "customer_id",
    "accounts": "account_id",
}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "warehouse.duckdb"
    build(path, today=TODAY)
    return path


@pytest.fixture(scope="session")
def advanced(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("advanced") / "warehouse.duckdb"
    shutil.copyfile(built, path)
    advance_one_day(path)
    return path


def tables(path: Path) -> dict[str, pl.DataFrame]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {table: connection.sql(f"from raw.{table} order by all").pl() for table in (*TABLES, "loads")}


def folder_of(name: str) -> Path:
    """Where a sync's SQL is: the price list is written in YAML, with its SQL beside it."""
    return ROOT / "defs" / name if name == "plans" else ROOT / "sql"


def query(path: Path, name: str, day: date | None = None) -> pl.DataFrame:
    """What one of the demo's assets reads; orders of one day, or of all days."""
    warehouse = Warehouse(url=f"duckdb:///{path}", sql_folder=str(folder_of(name)))
    parameters = {}
    if name == "orders":
        first, days = (day, 1) if day else (TODAY - timedelta(days=DAYS), DAYS + 1)
        start = datetime(first.year, first.month, first.day, tzinfo=timezone.utc)
        parameters = {"partition_start": start, "partition_end": start + timedelta(days=days)}
    frame = warehouse.query(f"{name}.sql", **parameters).collect()
    warehouse.close()
    return frame


def rejects(frame: pl.DataFrame, spec: AnySpec, folder: Path) -> Counter[str]:
    """The reasons of the rows that a first sync would not send."""
    plan = make_plan(
        frame.lazy(),
        spec,
        folder / "plan",
        snapshot=None,
        baseline=None,
        run_id="run",
        sequence=1,
        now=datetime(2026, 3, 1, 6, tzinfo=timezone.utc),
        start=None,
    )
    reasons = plan.rejected().collect()["_reject"].struct.field("reason").to_list()
    assert len(reasons) == plan.counts.rejected
    return Counter(reasons)


def test_same_arguments_same_content(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.duckdb"
    build(again, today=TODAY)
    for table, content in tables(built).items():
        assert content.equals(tables(again)[table]), table


def test_same_day_passes_the_same_way(built: Path, advanced: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.duckdb"
    shutil.copyfile(built, again)
    advance_one_day(again)
    for table, content in tables(advanced).items():
        assert content.equals(tables(again)[table]), table


def test_other_seed_other_content(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    build(other, today=TODAY, seed=8)
    assert not tables(built)["customers"].equals(tables(other)["customers"])


def test_sizes(built: Path) -> None:
    content = tables(built)
    clean = content["customers"].filter(pl.col("customer_id").str.contains("^cus_[0-9]{6}$"))
    assert len(clean) == 5000
    assert clean["customer_id"].n_unique() == clean["email"].n_unique() == 5000
    assert clean["email"].str.contains(r"^[a-z.]+[0-9]+@example\.(com|net|org)$").all()
    assert len(content["accounts"]) == 250 + 3
    assert len(content["plans"]) == 7
    assert len(content["devices"]) > 4000
    assert len(content["account_members"]) > 500
    days = content["orders"].group_by(pl.col("ordered_at").dt.date()).len()
    assert len(days) == DAYS
    assert days["len"].min() > 100
    assert 100 < len(query(built, "vip_customers")) < 1000


def test_rows_of_a_table_point_at_rows_of_another(built: Path, advanced: Path) -> None:
    for content in (tables(built), tables(advanced)):
        customers = content["customers"].select("customer_id")
        for table in ("devices", "orders", "account_members"):
            assert content[table].drop_nulls("customer_id").join(customers, on="customer_id", how="anti").is_empty()
        members = content["account_members"].drop_nulls("account_id")
        assert members.join(content["accounts"], on="account_id", how="anti").is_empty()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("days", [0, 1, 3])
def test_dirty_rows_are_as_declared(built: Path, tmp_path: Path, name: str, days: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    shutil.copyfile(built, path)
    for _ in range(days):
        advance_one_day(path)
    assert rejects(query(path, name), SPECS[name], tmp_path) == dirty_rows()[name]


@pytest.mark.parametrize("size", [100, 1000])
@pytest.mark.parametrize("seed", [1, 2])
def test_dirty_rows_are_the_same_at_any_size(tmp_path: Path, size: int, seed: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    build(path, today=TODAY, customers=size, seed=seed)
    assert {name: rejects(query(path, name), spec, tmp_path) for name, spec in SPECS.items()} == dirty_rows()


def test_partitions_hold_all_orders(built: Path) -> None:
    by_day = [query(built, "orders", TODAY - timedelta(days=days)) for days in range(1, DAYS + 1)]
    assert sum(map(len, by_day)) == len(tables(built)["orders"])
    assert query(built, "orders", TODAY).is_empty()


def test_a_day_adds_changes_and_removes(built: Path, advanced: Path) -> None:
    before = {name: query(built, name) for name in SPECS}
    after = {name: query(advanced, name) for name in SPECS}

    def counts(name: str, *keys: str) -> tuple[int, int, int]:
        old, new = (frame[name].drop_nulls(keys).unique(keys, keep="none") for frame in (before, after))
        was, now = old.join(new, on=keys, how="semi").sort(keys), new.join(old, on=keys, how="semi").sort(keys)
        changed = sum(one != other for one, other in zip(was.rows(), now.rows(), strict=True))
        return len(new.join(old, on=keys, how="anti")), changed, len(old.join(new, on=keys, how="anti"))

    added, changed, removed = counts("people", "customer_id")
    assert (added, removed) == (50, 0)
    assert 100 < changed < 600
    added, changed, removed = counts("devices", "token")
    assert added > 20
    assert 100 < changed < 600
    assert 10 < removed < 150
    added, changed, removed = counts("orders", "order_id")
    assert (changed, removed) == (0, 0)
    assert added > 100
    assert added == len(query(advanced, "orders", TODAY))
    assert counts("plans", "plan") == (0, 1, 0)
    added, changed, removed = counts("vip_customers", "customer_id")
    assert changed == 0
    assert added > 0
    assert removed > 0
    added, changed, removed = counts("accounts", "account_id")
    assert (added, removed) == (5, 5)
    assert changed > 0
    added, changed, removed = counts("account_members", "account_id", "customer_id")
    assert min(added, changed, removed) > 0


def test_removals_stay_below_the_guards_of_a_mirror(built: Path, advanced: Path) -> None:
    for name, key in KEYS.items():
        old, new = query(built, name), query(advanced, name)
        assert len(old.join(new, on=key, how="anti")) < 0.2 * len(old), name


def test_loads_say_what_changed_by_one_query(built: Path, advanced: Path) -> None:
    sql = "select table_name, epoch_ms(loaded_at) as changed from raw.loads order by table_name"
    before, after = (Warehouse(url=f"duckdb:///{path}").query(sql).collect() for path in (built, advanced))
    assert before["table_name"].to_list() == sorted(TABLES)
    assert ((after["changed"] - before["changed"]) == 86_400_000).all()


def test_readers_are_not_in_the_way(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    shutil.copyfile(built, path)
    with duckdb.connect(str(path), read_only=True) as reader:
        advance_one_day(path)
        assert reader.sql("select count(*) from raw.customers").fetchall()[0][0] > 5000
    assert [each.name for each in tmp_path.iterdir()] == ["warehouse.duckdb"]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_text("no database")
    with pytest.raises(duckdb.IOException):
        advance_one_day(path)
    assert path.read_text() == "no database"
    assert [each.name for each in tmp_path.iterdir()] == ["warehouse.duckdb"]
    with pytest.raises(ValueError, match="at least 100"):
        build(path, today=TODAY, customers=99)


def test_command_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "warehouse.duckdb"
    start = time.monotonic()
    for words in (["build", str(path), "--today", "2026-03-01"], ["advance", str(path)]):
        subprocess.run([sys.executable, "-m", "demo.warehouse", *words], cwd=ROOT, check=True, timeout=30)
    assert time.monotonic() - start < 10
    assert len(query(path, "people")) == 5000 + 50 + 9


@pytest.mark.parametrize("name", SPECS)
def test_each_query_says_what_it_is(name: str) -> None:
    assert (folder_of(name) / f"{name}.sql").read_text(encoding="utf-8").startswith("-- ")
