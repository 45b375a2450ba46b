"""`cio plan`, `sync`, `status` and `rejects`, over definitions as a user writes them."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cio_dagster.cli import output
from tests.cli.conftest import Project


def test_a_plan_is_shown_and_sends_nothing_and_then_just_that_is_sent(project: Project, tmp_path: Path) -> None:
    project.run("sync", "people")
    project.source("people", [{"id": "a", "plan": "pro"}, {"id": "c", "plan": "new"}, {"id": None, "plan": "pro"}])
    plan = project.run("plan", "people", "--out", str(tmp_path / "plan.parquet"))
    shown = plan.stdout.split("Some of the changes")[1]
    places = [shown.index(word) for word in ("delete", "update", "create", "missing_key")]
    assert places == sorted(places), "removals first, and what is rejected at the end"
    assert '"free"' in shown, "what was before"
    assert {each["id"] for each in project.engine.sandbox.get("people")} == {"a", "b"}
    whole = pl.read_parquet(tmp_path / "plan.parquet")
    assert whole.select("asset", "operation", "key").rows() == [
        ("people", "delete", "b"),
        ("people", "update", "a"),
        ("people", "create", "c"),
    ]
    assert (tmp_path / "plan.parquet").stat().st_mode & 0o077 == 0
    id = plan.stdout.split("--apply ")[1].split()[0]

    [report] = project.json("sync", "--apply", id)["reports"]
    assert [report[name] for name in ("created", "updated", "removed", "rejected")] == [1, 1, 1, 1]
    assert {each["id"] for each in project.engine.sandbox.get("people")} == {"a", "c"}

    project.source("people", [{"id": "a", "plan": "other"}, {"id": "c", "plan": "new"}])
    [id] = project.json("plan", "people")["runs"]
    project.source("people", [{"id": "a", "plan": "another"}, {"id": "c", "plan": "new"}])
    refused = project.run("sync", "--apply", id, status=1)
    assert "differs" in refused.stdout
    [line] = project.json("status", "people", status=1)["syncs"]
    assert line["outcome"] == "stopped: plan_changed"


def test_on_a_terminal_the_plan_comes_first_and_the_answer_decides(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "interactive", lambda: True)
    asked = project.run("sync", "people", answer="n\n", status=1)
    assert "missing_key" in asked.stdout
    assert project.engine.requests(writes=True) == []
    assert "created" in project.run("sync", "people", answer="y\n").stdout
    assert len(project.engine.sandbox.get("people")) == 2


def test_guards_that_would_stop_a_run(project: Project) -> None:
    project.source("people", [{"id": f"p{n}", "plan": "free"} for n in range(30)])
    project.run("sync", "people")
    project.source("people", [{"id": "p1", "plan": "free"}])
    assert "would stop" in project.run("plan", "people", status=1).stdout
    stopped = project.run("sync", "people", status=1)
    assert "29 of 30 rows would be removed" in stopped.stdout
    assert "stopped: max_delete" in project.run("status", "people", status=1).stdout
    assert len(project.engine.sandbox.get("people")) == 30
    [report] = project.json("sync", "people", "--allow-deletes", "--limit", "9")["reports"]
    assert (report["removed"], report["deferred"]) == (9, 20)
    assert project.json("status", "people")["syncs"][0]["rows"] == 21


def test_partitions_and_order(project: Project) -> None:
    everything = project.run("sync", "--partition-range", "p...q", "--json")
    first, *_ = reports = pl.read_json(everything.stdout.encode())["reports"].explode().struct.unnest().to_dicts()
    assert first["asset"] == "people"
    assert [(each["asset"], each["partition"]) for each in reports[1:]] == [
        ("seen", "p"),
        ("seen", "q"),
        ("after/all_people", None),
    ]
    assert len(project.engine.sandbox.get("events")) == 6
    assert not Path("model ran").exists(), "what is upstream runs only if it is asked for"
    status = project.run("status").stdout
    assert [word in status for word in ("people", "p", "q", "event", "never ran")] == [True, True, True, True, False]

    left_out = project.run("plan")
    assert "seen" in left_out.stderr
    assert "seen" not in left_out.stdout
    assert project.json("sync", "+people")["reports"][0]["asset"] == "people"
    assert Path("model ran").exists()
    ids = project.json("plan", "seen", "--partition-range", "p...q", "--full-resync")["runs"]
    applied = project.json("sync", *(word for id in ids for word in ("--apply", id)))["reports"]
    assert [each["partition"] for each in applied] == ["p", "q"]


def test_rejects(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No rows were rejected" in project.run("rejects").stdout
    project.source("people", [{"id": "a" * 151, "plan": "x"}, {"id": None, "plan": "y"}, {"id": None, "plan": "z"}])
    project.run("sync", "people")
    by_reason = project.json("rejects", "people")["rejects"]
    assert [(each["reason"], each["rows"]) for each in by_reason] == [("missing_key", 2), ("key_too_long", 1)]
    assert by_reason[1]["example"] == "a" * 151
    assert len(project.json("rejects", "--all")["rejects"]) == 3
    project.run("rejects", "--out", str(tmp_path / "rejects.csv"))
    assert len(pl.read_csv(tmp_path / "rejects.csv")) == 3
    monkeypatch.setenv("SHOW_VALUES", "no")
    assert "aaaa" not in project.run("rejects").output
    assert "show_values" in project.run("rejects", "--all", status=2).output


def test_what_fails_is_said(project: Project) -> None:
    project.engine.sandbox.faults([{"path": "/api/v2/batch", "status": 401}])
    failed = project.run("sync", "people", "seen", "--partition", "p", status=1)
    assert "people failed: " in failed.stdout
    assert "seen did not run" in failed.stdout
    answer = project.json("sync", "people", status=1)
    assert "401" in answer["failures"]["people"]
    assert len(answer["problems"]) == 2, "what failed, and what is pending"


def test_runs_are_recorded_in_the_instance_of_dagster_home(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\nnux: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    [run_id] = project.json("sync", "people")["runs"]
    project.run("plan", "people")
    with dg.DagsterInstance.get() as instance:
        assert instance.get_run_by_id(run_id)
        event = instance.get_latest_materialization_event(dg.AssetKey("people"))
        assert event is not None
        assert event.run_id == run_id, "a plan is no materialisation"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sync", "nobody"], "there are: people, seen, after/all_people"),
        (["sync", "seen"], "say which partition of seen"),
        (["sync", "seen", "--partition", "x"], "from p to r"),
        (["sync", "seen", "--partition-range", "p-q"], "FIRST...LAST"),
        (["sync", "people", "--partition", "p"], "none of the assets has partitions"),
        (["sync", "people", "--apply", "x", "--limit", "3"], "leave partitions and other options out"),
        (["plan", "model"], "nothing is left to run"),
        (["plan", "people", "--out", "plan.xlsx"], ".parquet, .csv, .ndjson"),
        (["plan", "-f", "definitions.py", "-m", "definitions"], "give one of"),
        (["status", "model"], "none of these assets is synced"),
    ],
)
def test_wrong_usage(project: Project, arguments: list[str], words: str) -> None:
    assert words in project.run(*arguments, status=2).output
    assert project.engine.requests(writes=True) == []


def test_definitions_are_found_as_dagster_finds_them(project: Project, tmp_path: Path) -> None:
    (tmp_path / "definitions.py").rename(tmp_path / "definitions_elsewhere.py")
    assert "No arguments given" in project.run("status", status=2).output
    for given in (["-f", "definitions_elsewhere.py"], ["-m", "definitions_elsewhere", "-d", "."]):
        assert project.json("status", *given)["syncs"][0]["asset"] == "people"
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "definitions_elsewhere"\n')
    assert project.json("status", "people")["syncs"]
    (tmp_path / "two.yaml").write_text(
        "load_from:\n"
        "- python_file: {relative_path: definitions_elsewhere.py, location_name: one}\n"
        "- python_file: {relative_path: definitions_broken.py, location_name: two}\n"
    )
    (tmp_path / "definitions_broken.py").write_text("import nothing_like_it")
    assert "--location; there are: one, two" in project.run("status", "-w", "two.yaml", status=2).output
    assert project.json("status", "-w", "two.yaml", "-l", "one")["syncs"]
    assert "No module named 'nothing_like_it'" in project.run("status", "-w", "two.yaml", "-l", "two", status=1).output
