"""A really full disk: a small file system in memory, with less and less room. Mounting it needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cio_dagster.errors import StateError
from cio_dagster.specs import AnySpec, Event, Person
from tests.engine import Engine

SIZE = 4 << 20
SPECS: dict[str, AnySpec] = {
    "person": Person(behavior="mirror", delete_people=True, max_delete=1000),
    "event": Event(row_id="id", column="id", name="seen", start="all"),
}
ROOM = [0, 4, 8, 12, 20, 28, 36, 44, 52, 60, 72, 84, 96, 120]
"""KiB that are left. A run needs about 100 of them."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", SPECS)
def test_a_run_says_it_and_the_next_one_heals(engine: Engine, small_disk: Path, kind: str) -> None:
    spec, filler, failed = SPECS[kind], small_disk / "filler", 0
    engine.root = small_disk / "state"
    source = [{"id": f"p{n:03}", "plan": "free"} for n in range(40)]
    engine.sync(spec, source)
    for number, room in enumerate(ROOM):
        source = [*source[1 if kind == "person" else 0 :], *({"id": f"q{number}-{n}", "plan": "x" * 40} for n in range(30))]
        fill(small_disk, filler, room << 10)
        try:
            engine.sync(spec, source, batch_bytes=1_000)
        except StateError as error:
            assert f"The disk of {engine.state().folder} is full" in str(error)  # noqa: PT017
            failed += 1
        filler.unlink()
        report = engine.sync(spec, source)
        assert (report.error, report.pending, report.refused) == (None, 0, 0)
        assert engine.sync(spec, source).requests == 0
        snapshot = engine.state().snapshot()
        assert snapshot is not None
        keys = set(snapshot.select("_key").collect()["_key"])
        assert keys == {row["id"] for row in source}
        if kind == "person":
            assert {each["id"] for each in engine.sandbox.get("people")} == keys
        else:
            assert len(engine.sandbox.get("events")) == len(source)
    assert failed >= 5
    assert failed < len(ROOM), "with enough room there is no error"


def fill(disk: Path, filler: Path, room: int) -> None:
    """Leave so many bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        file.write(b"\0" * max(free - room, 0))
