"""kill -9 of syncs whose state is in an object store, each followed by another machine."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from cio_dagster.lock import NOTE
from cio_dagster.places import StorePath
from cio_dagster.sandbox.process import run_sandbox
from tests.crash.test_kills import FAULTS, INSIDE, SEED, Nursery, Story
from tests.crash.test_kills import KILLS as MANY

KILLS = MANY // 4

REMOTE = [*INSIDE, "cio_dagster.places.upload", "cio_dagster.answers:AnswerLog.copy", "cio_dagster.state:AssetState.publish"]


@pytest.mark.parametrize("kind", ["event", "person"])
def test_what_killed_machines_leave_behind_is_finished_by_others(
    kind: str, root: StorePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    nursery, chance = Nursery(), random.Random(f"{SEED} {kind}")
    try:
        with run_sandbox() as sandbox:
            story = Story(kind, sandbox, nursery, root, chance)
            place = story.state.folder
            assert isinstance(place, StorePath)
            while story.killed < KILLS:
                story.change()
                sandbox.faults([fault | {"seed": chance.randrange(10**6)} for fault in chance.sample(FAULTS, 1)])
                story.run({"inside": [chance.choice(REMOTE), chance.choice([0.0, chance.uniform(0, 0.2)])]})
                for left in tmp_path.iterdir():
                    shutil.rmtree(left)
                # As when its time is over, for which this test does not wait.
                (place / NOTE).unlink(missing_ok=True)
            story.compare()
    finally:
        nursery.close()
