"""`cio-state`, on states that real syncs left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from cio_dagster.cli.state import main
from cio_dagster.errors import StateError
from cio_dagster.specs import Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.state import FORGOTTEN, all_states
from tests.engine import APP_KEY, SITE, TRACK_KEY, Engine
from tests.state.test_store import NAMES, holder

ROWS = [{"id": "a", "plan": "free", "tags": ["x"]}, {"id": "b", "plan": "pro", "tags": []}]
VIP = ManualSegment(name="VIP", behavior="mirror")
ACCOUNT = Object(object_type_id=1, column="id", behavior="mirror")


def run(engine: Engine, *arguments: str, status: int = 0, answer: str | None = None, **environment: str) -> Result:
    """Run the command; no run may end in a traceback."""
    result = CliRunner().invoke(main, ["--state", str(engine.root), *arguments], input=answer, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == status, result.output
    return result


def credentials(engine: Engine) -> dict[str, str]:
    url = engine.sandbox.url
    return {
        "CIO_SITE_ID": SITE,
        "CIO_TRACK_API_KEY": TRACK_KEY,
        "CIO_APP_API_KEY": APP_KEY,
        "CIO_TRACK_URL": url,
        "CIO_APP_URL": url,
        "CIO_REGION": "us",
    }


def people(engine: Engine, *names: str) -> None:
    engine.batch(*({"type": "person", "action": "identify", "identifiers": {"id": name}} for name in names))


# --- what there is ---


def test_list_says_rows_runs_plans_locks_and_damage(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    engine.sync(Person(), ROWS[:1], asset="by day", partition="2026-01-01")
    engine.sync(Person(), ROWS, asset="broken")
    (engine.state("broken").folder / "state.json").write_text("{")
    engine.sync(Person(), ROWS, asset="newer")
    path = engine.state("newer").folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9}))
    with holder(engine.root) as process:
        output = run(engine, "list").output
        process.kill()
        process.wait()
        assert "which is gone" in run(engine, "list").output
    for words in ("people", "by day", "2026-01-01", "person", "run-1", "kB", "their-run", f"pid {process.pid}"):
        assert words in output
    flat = " ".join(output.replace("│", " ").split())
    assert "damaged" in flat
    assert "format 9" in flat


def test_a_plan_under_way_is_listed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(engine, monkeypatch)
    assert "2 operations of run run-1" in " ".join(run(engine, "list").output.split())


def interrupted(engine: Engine, monkeypatch: pytest.MonkeyPatch, asset: str = "people") -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cio_dagster.sync.delivery.deliver", crash)
        with pytest.raises(KeyboardInterrupt):
            engine.sync(Person(), ROWS, asset=asset)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_found_again(engine: Engine, name: str) -> None:
    engine.sync(Person(), ROWS, asset=name, partition=name)
    engine.sync(Person(), ROWS, asset=name)
    assert {(state.asset, state.partition) for state in all_states(engine.root)} == {(name, name), (name, None)}


def test_show_gives_values_and_the_report(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    output = run(engine, "show", "people").output
    assert "run run-1" in output
    assert "'created': 2" in output
    assert "free" in output
    assert "2 of 2 rows" in output
    one = run(engine, "show", "people", "--key", "b").output
    assert "pro" in one
    assert "free" not in one
    assert "no row with the key 'c'" in run(engine, "show", "people", "--key", "c", status=1).output


def test_what_rows_hold_is_neither_markup_nor_control(engine: Engine) -> None:
    engine.sync(Person(), [{"id": "a", "x": "[red]in[/red]", "y": "\x1b[31mred"}], asset="people")
    output = run(engine, "show", "people").output
    assert "[red]in[/red]" in output
    assert "\x1b" not in output


def test_a_partition_and_a_workspace_must_be_said_where_there_are_several(engine: Engine) -> None:
    for day in ("1", "2"):
        engine.sync(Person(), ROWS, asset="people", partition=day)
    assert "say which with --partition: 1, 2" in run(engine, "show", "people", status=1).output
    run(engine, "show", "people", "--partition", "2")
    (engine.root / "workspace").rename(engine.root / "other")
    engine.sync(Person(), ROWS, asset="people", partition="1")
    assert "say which with --workspace: other, workspace" in run(engine, "show", "people", "--partition", "1", status=1).output
    run(engine, "--workspace", "other", "show", "people", "--partition", "1")
    assert "there is: people partition 1" in run(engine, "show", "nobody", status=1).output


def test_history_shows_older_snapshots(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    engine.sync(Person(), [{"id": "a", "plan": "gold"}, {"id": "c", "plan": "new"}], asset="people")
    output = run(engine, "history", "people").output
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "run-" in line]
    assert [(line[0], line[2], line[3]) for line in lines] == [("1", "run-2", "3"), ("0", "run-1", "2")]
    old = run(engine, "history", "people", "--version", "0").output
    assert "free" in old
    assert "gold" not in old
    assert run(engine, "history", "people", "--version", "7", status=1).output.startswith("Error:")


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson"])
def test_export(engine: Engine, tmp_path: Path, ending: str) -> None:
    engine.sync(Person(), ROWS, asset="people")
    file = tmp_path / f"people.{ending}"
    assert "Wrote 2 rows" in run(engine, "export", "people", str(file)).output
    assert file.stat().st_mode & 0o777 == 0o600
    readers: dict[str, Any] = {"parquet": pl.read_parquet, "csv": pl.read_csv, "ndjson": pl.read_ndjson}
    found = readers[ending](file).sort("id")
    assert found["id"].to_list() == ["a", "b"]
    assert found["plan"].to_list() == ["free", "pro"]
    assert found["tags"].to_list() == (['["x"]', "[]"] if ending == "csv" else [["x"], []])
    assert run(engine, "export", "people", str(file), status=1, answer="n\n").output.endswith("Aborted!\n")
    run(engine, "export", "people", str(file), "--yes")


def test_export_of_another_ending_is_wrong_usage(engine: Engine, tmp_path: Path) -> None:
    engine.sync(Person(), ROWS, asset="people")
    assert ".parquet, .csv, .ndjson" in run(engine, "export", "people", str(tmp_path / "people.xlsx"), status=2).output


def test_outcomes_of_a_run_and_a_kind(engine: Engine) -> None:
    engine.sync(Person(), [*ROWS, {"id": None, "plan": "x", "tags": []}], asset="people")
    engine.sync(Person(), ROWS, asset="people")
    rejected = run(engine, "outcomes", "people", "--outcome", "rejected").output
    assert "1 of 1 lines" in rejected
    assert "prepare" in rejected
    assert "unchanged" in run(engine, "outcomes", "people", "--run", "run-2").output
    assert "2 of 4 lines" in run(engine, "outcomes", "people", "--limit", "2").output


# --- errors in words ---


def test_wrong_usage_and_missing_folders(engine: Engine, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(main, ["list"], env={"CIO_STATE": ""}).exit_code == 2
    assert runner.invoke(main, ["list"], env={"CIO_STATE": str(tmp_path)}).exit_code == 0
    missing = runner.invoke(main, ["--state", str(tmp_path / "none"), "list"])
    assert (missing.exit_code, "there is no folder" in missing.output) == (1, True)
    bucket = runner.invoke(main, ["--state", "s3://bucket", "list"])
    assert (bucket.exit_code, "s3://bucket/prefix" in bucket.output) == (1, True)
    run(engine, "polish", status=2) if engine.root.exists() else None


def test_a_newer_format_is_said_by_each_command(engine: Engine, tmp_path: Path) -> None:
    engine.sync(VIP, [{"id": "a"}], asset="vip")
    path = engine.state("vip").folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2, "more": 1}))
    before = {each: each.read_bytes() for each in engine.root.rglob("*") if each.is_file()}
    for command in (
        ["show", "vip"],
        ["history", "vip"],
        ["export", "vip", str(tmp_path / "x.csv")],
        ["forget", "vip", "--key", "a"],
    ):
        assert "format 2" in run(engine, *command, status=1).output
    assert "format 2" in run(engine, "rebuild", "vip", "--yes", status=1, **credentials(engine)).output
    assert {each: each.read_bytes() for each in engine.root.rglob("*") if each.is_file()} == before


def test_a_run_under_way_keeps_the_dangerous_commands_out(engine: Engine) -> None:
    engine.sync(VIP, [{"id": "a"}])
    with holder(engine.root):
        for command in (
            ["forget", "asset", "--yes"],
            ["forget", "asset", "--key", "a", "--yes"],
            ["rebuild", "asset", "--yes"],
        ):
            output = run(engine, *command, status=1, **credentials(engine)).output
            assert "is being written by another run" in output
            assert "their-run" in output


def test_the_command_is_installed(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    command = [str(Path(sys.executable).parent / "cio-state"), "list"]
    done = subprocess.run(command, env={"CIO_STATE": str(engine.root)}, capture_output=True, text=True, check=True)
    assert "people" in done.stdout


# --- forget ---


def test_forgotten_rows_are_sent_again(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    assert run(engine, "forget", "people", "--key", "a", status=1, answer="n\n").output.endswith("Aborted!\n")
    assert engine.sync(Person(), ROWS, asset="people").planned.unchanged == 2
    output = run(engine, "forget", "people", "--key", "a", answer="y\n").output
    assert "1 of 2 rows" in output
    assert "The next run sends" in output
    assert engine.sync(Person(), ROWS, asset="people").created == 1
    assert run(engine, "outcomes", "people", "--run", "cio-state forget").output.count("forgotten") == 1
    unknown = run(engine, "forget", "people", "--key", "a", "--key", "z", "--yes", status=1).output
    assert "no row with the key 'z'; nothing was changed" in unknown
    assert engine.sync(Person(), ROWS, asset="people").planned.unchanged == 2


def test_forgotten_events_keep_their_ids(engine: Engine) -> None:
    spec = Event(row_id="n", column="id", name="seen", start="all")
    people(engine, "a")
    rows = [{"n": "1", "id": "a"}, {"n": "2", "id": "a"}]
    engine.sync(spec, rows, asset="seen")
    assert "Customer.io takes none twice" in run(engine, "forget", "seen", "--key", "1", "--yes").output
    assert engine.sync(spec, rows, asset="seen").sent == 1
    assert len(engine.sandbox.get("events")) == 2


def test_a_forgotten_state_is_moved_not_deleted(engine: Engine) -> None:
    for day in ("1", "2"):
        engine.sync(Person(), ROWS, asset="people", partition=day)
    output = run(engine, "forget", "people", "--partition", "1", "--yes").output
    assert "people partition 1: 2 rows" in output
    [moved] = (engine.root / FORGOTTEN).glob("*/workspace/people/*")
    assert pl.read_delta(str(moved / "snapshot")).height == 2
    assert not (moved / "lock.json").exists()
    assert {path.stat().st_mode & 0o777 for path in [moved, *moved.parents[:4]]} == {0o700}
    assert [state.partition for state in all_states(engine.root)] == ["2"]
    assert "people partition 1" not in run(engine, "list").output
    assert engine.sync(Person(), ROWS, asset="people", partition="1").created == 2
    both = run(engine, "forget", "people", answer="y\n").output
    assert "Move the state of 2 asset partitions aside?" in both
    assert all_states(engine.root) == []


def test_a_damaged_state_can_be_forgotten(engine: Engine) -> None:
    engine.sync(Person(), ROWS, asset="people")
    (engine.state("people").folder / "state.json").write_text("{")
    with pytest.raises(StateError):
        engine.sync(Person(), ROWS, asset="people")
    assert "damaged" in run(engine, "forget", "people", "--yes").output
    assert engine.sync(Person(), ROWS, asset="people").created == 2


def test_rows_are_not_forgotten_while_a_plan_is_under_way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.sync(Person(), [{"id": "z"}], asset="people")
    interrupted(engine, monkeypatch)
    output = run(engine, "forget", "people", "--key", "z", "--yes", status=1).output
    assert "run the asset first" in output
    whole = run(engine, "forget", "people", "--yes").output
    assert "the plan of 2 operations of run run-2" in whole


# --- rebuild ---


def test_a_lost_segment_snapshot_is_rebuilt(engine: Engine) -> None:
    people(engine, "a", "b", "c", "d")
    engine.sync(VIP, [{"id": "a"}, {"id": "b"}, {"id": "c"}], asset="vip")
    [segment] = engine.sandbox.get("segments")
    engine.track("POST", f"/api/v1/segments/{segment['id']}/add_customers", {"ids": ["d"]})
    for log in (engine.state("vip").folder / "snapshot" / "_delta_log").glob("*.json"):
        log.write_text("{")
    with pytest.raises(StateError):
        engine.sync(VIP, [{"id": "a"}], asset="vip")
    assert run(engine, "rebuild", "vip", status=1, answer="n\n", **credentials(engine)).output.endswith("Aborted!\n")
    output = run(engine, "rebuild", "vip", answer="y\n", **credentials(engine)).output
    assert "Customer.io holds 4 rows of segment 'VIP' now; the snapshot has no rows that can be read" in output
    assert "4 rows enter it" in output
    assert "within its guards" in output
    assert list((engine.root / FORGOTTEN).glob("*/workspace/vip/snapshot"))
    before = len(engine.requests("add_customers"))
    report = engine.sync(VIP, [{"id": "a"}, {"id": "b"}, {"id": "c"}], asset="vip")
    assert (report.planned.unchanged, report.removed) == (3, 1)
    assert len(engine.requests("add_customers")) == before
    assert engine.sync(VIP, [{"id": "a"}, {"id": "b"}, {"id": "c"}], asset="vip").planned.unchanged == 3


def test_a_snapshot_that_drifted_is_rebuilt(engine: Engine) -> None:
    rows = [{"id": "x", "n": 1}, {"id": "y", "n": 2}]
    engine.sync(ACCOUNT, rows, asset="accounts")
    engine.batch(
        {"type": "object", "action": "delete", "identifiers": {"object_type_id": "1", "object_id": "x"}},
        {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": "z"}, "attributes": {}},
    )
    output = run(engine, "rebuild", "accounts", "--yes", **credentials(engine)).output
    assert "Customer.io holds 2 rows of object type 1 now; the snapshot has 2 rows" in output
    assert "1 rows leave the snapshot" in output
    assert "1 rows enter it" in output
    report = engine.sync(ACCOUNT, rows, asset="accounts")
    assert (report.created, report.updated, report.removed) == (1, 1, 1)
    held = {each["object_id"]: each["attributes"] for each in engine.sandbox.get("objects")}
    assert {name: values["n"] for name, values in held.items()} == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("spec", "row"),
    [
        (Person(), {"id": "a"}),
        (Device(), {"id": "a", "token": "t", "platform": "ios"}),
        (Event(row_id="n", name="x", start="all"), {"n": 1, "id": "a"}),
        (Collection(name="c"), {"id": "a"}),
        (Relationship(object_type_id=1), {"object_id": "x", "id": "a"}),
    ],
    ids=lambda value: getattr(value, "object", ""),
)
def test_what_cannot_be_rebuilt_is_said_with_the_reason(engine: Engine, spec: Any, row: dict[str, Any]) -> None:
    engine.sync(spec, [row], asset="it")
    output = run(engine, "rebuild", "it", "--yes", status=1, **credentials(engine)).output
    assert f"the snapshot of a {spec.object} sync cannot be rebuilt: " in output


def test_rebuild_needs_credentials_of_the_same_workspace(engine: Engine) -> None:
    engine.sync(VIP, [{"id": "a"}], asset="vip")
    engine.sync(VIP, [{"id": "a"}], asset="vip", partition="p")
    at = ("rebuild", "vip", "--yes")
    assert "a partition cannot be rebuilt" in run(engine, *at, "--partition", "p", status=1, **credentials(engine)).output
    run(engine, "forget", "vip", "--partition", "p", "--yes")
    missing = credentials(engine) | {"CIO_APP_API_KEY": "", "CIO_SITE_ID": ""}
    assert "set CIO_SITE_ID, CIO_APP_API_KEY" in run(engine, *at, status=1, **missing).output
    wrong = run(engine, *at, status=1, **credentials(engine) | {"CIO_TRACK_API_KEY": "not-the-key"}).output
    assert "refused the credentials" in wrong
    assert "not-the-key" not in wrong
    assert "CIO_REGION is us or eu" in run(engine, *at, status=1, **credentials(engine) | {"CIO_REGION": "mars"}).output
    engine.sandbox.settings(environment_id=7)
    assert "belong to workspace 7" in run(engine, *at, status=1, **credentials(engine)).output
