"""The state in an object store: the same syncs as with a folder, from whichever machine."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest

from cio_dagster import places
from cio_dagster.answers import AnswerLog
from cio_dagster.errors import CredentialsRefused, StateError, StateUnavailable, Unavailable
from cio_dagster.places import StorePath
from cio_dagster.specs import Event, Person
from cio_dagster.state import outcomes
from cio_dagster.sync import RunOptions
from tests.engine import APP_KEY, TRACK_KEY, Engine
from tests.store.conftest import SECRET, machine

MIRROR = Person(behavior="mirror", delete_people=True)
EVENT = Event(row_id="row", column="id", name="seen", start="all")
ROWS = [{"id": "a", "plan": "pro", "n": 1}, {"id": "b", "plan": "free", "n": 2}]


def snapshot(engine: Engine, asset: str = "asset", partition: str | None = None) -> list[tuple[object, ...]]:
    rows = engine.state(asset, partition).snapshot()
    assert rows is not None
    return sorted(rows.drop("_accepted_at").collect().rows())


def here() -> list[Path]:
    """The files that are left on this machine."""
    return [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file() and path.name != "lock"]


def test_a_sync_as_it_changes(remote: Engine) -> None:
    assert remote.sync(MIRROR, ROWS).created == 2
    assert remote.sync(MIRROR, ROWS).requests == 0
    changed = remote.sync(MIRROR, [ROWS[0] | {"n": 3}, {"id": "c", "plan": None, "n": 4}, {"id": None, "plan": "x", "n": 5}])
    assert (changed.updated, changed.created, changed.removed, changed.rejected) == (1, 1, 1, 1)
    assert snapshot(remote) == [("a", "a", '"pro"', "3"), ("c", "c", None, "4")]
    assert {each["id"] for each in remote.sandbox.get("people")} == {"a", "c"}
    assert [each["outcome"] for each in remote.outcomes(run_id="run-3", key="b")] == ["accepted"]
    values = remote.state().values(MIRROR)
    assert values is not None
    assert values.sort("id").select("id", "n").collect().rows() == [("a", 3), ("c", 4)]
    assert here() == []
    kept = [(remote.root / name).read_bytes() for name in places.sizes(remote.root)]
    assert not any(secret.encode() in content for content in kept for secret in (SECRET, TRACK_KEY, APP_KEY))


def test_names_that_urls_escape(remote: Engine) -> None:
    partition = "2026/11 #1 é%~|a=b"
    remote.sync(EVENT, [{"row": "1", "id": "a"}], asset="a/b c", partition=partition)
    remote.sync(EVENT, [{"row": "1", "id": "a"}, {"row": "2", "id": "b"}], asset="a/b c", partition=partition)
    assert [row[0] for row in snapshot(remote, "a/b c", partition)] == ["1", "2"]
    assert len(outcomes(str(remote.root), asset="a/b c").collect()) == 3


def test_another_machine_goes_on_where_one_was_lost(remote: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"row": str(n), "id": "a"} for n in range(8)]
    remote.sandbox.faults([{"status": 401, "after": 3, "path": "/api/v2/batch"}])
    with monkeypatch.context() as patched:
        patched.setattr("cio_dagster.sync.commit", _lost)
        with pytest.raises(Lost):
            remote.sync(EVENT, rows, batch_bytes=250, concurrency=1)
    remote.sandbox.faults([])
    assert remote.state().snapshot() is None
    sent = len(remote.sandbox.get("events"))
    assert 0 < sent < 8
    shutil.rmtree(tmp_path / "first")
    machine(tmp_path / "second", monkeypatch)
    monkeypatch.setattr(places, "PIECE", 1_000)  # Of files that are larger than one request may read.
    report = remote.sync(EVENT, rows)
    assert (report.recovered, report.sent) == (sent, 8 - sent)
    assert len(remote.sandbox.get("events")) == 8
    assert len(remote.outcomes(outcome="accepted")) == 8
    assert here() == []


class Lost(Exception):
    """The machine."""


def _lost(*_: object, **__: object) -> None:
    raise Lost


def test_a_plan_under_way_is_moved_to_a_folder(remote: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("cio_dagster.sync.commit", _lost)
        with pytest.raises(Lost):
            remote.sync(MIRROR, ROWS)
    folder = tmp_path / "moved"
    for name in places.sizes(remote.root):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((remote.root / name).read_bytes())
    report = Engine(remote.sandbox, folder, runs=1).sync(MIRROR, ROWS)
    assert (report.recovered, report.requests) == (2, 0)


def test_answers_are_copied_while_they_come(remote: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cio_dagster.answers.COPY_BYTES", 300)
    place = remote.root / "log"
    with AnswerLog(tmp_path / "answers.jsonl", place) as log:
        assert places.sizes(place) == {"answers-00000.jsonl": 0}
        for position in range(9):
            log.append(position, position + 1, [])
            log.copy()
            log.copy()
    # What is large enough is not written anew.
    assert len(places.sizes(place)) == 3
    written = (tmp_path / "answers.jsonl").read_bytes()
    assert b"".join((place / name).read_bytes() for name in sorted(places.sizes(place))) == written


def test_a_plan_is_shown_on_one_machine_and_applied_from_another(
    remote: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [remote.sync(MIRROR, ROWS, options=RunOptions(dry_run=True)) for _ in range(4)]
    assert shown[-1].plan_folder == f"{remote.root}/workspace/asset/whole/plans/run-4"
    assert pl.scan_csv(f"{shown[-1].plan_folder}/changes.csv").collect()["key"].to_list() == ["a", "b"]
    assert places.folders(remote.state().plans) == ["run-2", "run-3", "run-4"]
    assert here() == []
    machine(tmp_path / "second", monkeypatch)
    assert remote.sync(MIRROR, ROWS, options=RunOptions(apply="run-3")).created == 2
    assert b"run-5" in (remote.state().plans / "run-3" / "dry_run.json").read_bytes()
    assert here() == []


def test_rows_without_an_answer_are_unsettled_for_all_machines(remote: Engine) -> None:
    remote.sandbox.faults([{"drop_answer": True, "path": "/api/v2/batch"}])
    first = remote.sync(MIRROR, ROWS, attempts=2)
    assert isinstance(first.error, Unavailable)
    remote.sandbox.faults([])
    unsettled = remote.state().unsettled()
    assert unsettled is not None
    assert sorted(unsettled.collect()["_key"]) == ["a", "b"]
    second = remote.sync(MIRROR, ROWS[:1], options=RunOptions(allow_deletes=True))
    assert (second.created, second.removed) == (1, 1)
    assert [each["id"] for each in remote.sandbox.get("people")] == ["a"]
    assert remote.state().unsettled() is None


def test_refused_credentials_are_no_plan_to_recover(remote: Engine) -> None:
    remote.sandbox.faults([{"status": 401, "path": "/api/v2/batch"}])
    assert isinstance(remote.sync(MIRROR, ROWS).error, CredentialsRefused)
    assert remote.state().plan_under_way() is None
    remote.sandbox.faults([])
    assert remote.sync(MIRROR, ROWS).created == 2


def test_a_store_that_cannot_be_reached_is_said(remote: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.sync(MIRROR, ROWS)

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(
            places.reason(OSError("Error performing GET https://x.blob.core.windows.net/c/a?sv=1&sig=signature-9e1: timeout"))
        )

    monkeypatch.setattr(StorePath, "read_bytes", unreachable)
    with pytest.raises(StateUnavailable, match="could not be read") as caught:
        remote.sync(MIRROR, ROWS)
    assert "https://x.blob.core.windows.net/c/a" in str(caught.value)
    assert "signature-9e1" not in str(caught.value)


def test_what_is_wrong_with_a_store_or_this_machine_is_said(
    engine: Engine, root: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.root = StorePath("s3://no-such-bucket/state")
    with pytest.raises(StateUnavailable, match=r"NoSuchBucket.*There is no such bucket: make it") as caught:
        engine.sync(MIRROR, ROWS)
    assert "Debug" not in str(caught.value)
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    engine.root = root
    with pytest.raises(StateError, match="set TMPDIR to a folder of your own"):
        engine.sync(MIRROR, ROWS)
    assert "Check the store's credentials" in places.remedy("Server returned non-2xx status code: 403 Forbidden")


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_stores_are_opened_by_the_same_names(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    place = StorePath(f"{scheme}://bucket/a/b")
    assert type(place.store).__name__ == {"gs": "GCSStore", "az": "AzureStore"}[scheme]
    assert (place.key, place.name, str(place.parent), str(place / "c")) == (
        "a/b",
        "b",
        f"{scheme}://bucket/a",
        f"{scheme}://bucket/a/b/c",
    )
