"""kill -9 of a real sync at random moments, again and again, with faults on; then Customer.io must be right.

A run's kill is seeded, but where a time falls in it is not: what a failing test prints are its seed and the kills that led there.
`CIO_CRASH_SEED` tries another seed, `CIO_CRASH_KILLS` another number of kills for each kind than 22 (154 in all).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest

from cio_dagster.places import Place
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.specs import AnySpec, Collection, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.state import AssetState, outcomes

SEED = int(os.environ.get("CIO_CRASH_SEED", "20261124"))
KILLS = int(os.environ.get("CIO_CRASH_KILLS", "22"))
STRETCH = 10
"""So many kills, then a run that is left alone, and everything is compared."""

MOST: dict[str, Any] = {"behavior": "mirror", "max_delete": 10_000}
SPECS: dict[str, AnySpec] = {
    "person": Person(delete_people=True, **MOST),
    "device": Device(token="token", platform="platform", **MOST),
    "event": Event(row_id="row", column="id", name="seen", start="all"),
    "collection": Collection(name="c"),
    "segment": ManualSegment(name="s", **MOST),
    "object": Object(object_type_id=1, **MOST),
    "relationship": Relationship(object_type_id=1, **MOST),
}

FAULTS: list[dict[str, Any]] = [
    {"delay": 0.03, "probability": 0.3},
    {"drop_answer": True, "probability": 0.2},
    {"drop_answer": True, "path": "/api/", "times": 3},
    {"reset": True, "probability": 0.15},
    {"reset_mid_body": True, "probability": 0.15},
    {"garbage": True, "probability": 0.15},
    {"status": 429, "probability": 0.15},
    {"status": 429, "headers": {"Retry-After": "0.05"}, "probability": 0.15},
    {"status": 500, "probability": 0.2},
    {"status": 502, "apply": True, "probability": 0.2},
    {"status": 503, "path": "/api/", "after": 2},
]

INSIDE = [
    "cio_dagster.sync.make_plan",
    "cio_dagster.sync.recover",
    "cio_dagster.sync.commit",
    "cio_dagster.state:AssetState.write_snapshot",
    "cio_dagster.state:AssetState.write_unsettled",
    "cio_dagster.state:AssetState.write_outcomes",
    "cio_dagster.state:AssetState.close_plan",
    "cio_dagster.state:AssetState.tend",
    "cio_dagster.deliver:_Delivery.send",
]


class Nursery:
    """The process that forks the syncs (see `nursery.py`)."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.nursery"]
        environment = os.environ | {"POLARS_MAX_THREADS": "2"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, job: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Whether the run was killed, and else what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["killed"], answer["said"] or {}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(20) == 0


@dataclass
class Story:
    """A kind of sync, its source as it changes, and the runs so far."""

    kind: str
    sandbox: RunningSandbox
    nursery: Nursery
    root: Place
    chance: random.Random
    source: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    killed: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def state(self) -> AssetState:
        return AssetState(self.root, "workspace", self.kind)

    def prepare(self) -> None:
        """People and objects that members, devices and relationships need."""
        people = [{"type": "person", "action": "identify", "identifiers": {"id": f"m{n}"}} for n in range(24)]
        things = [
            {"type": "object", "action": "identify", "identifiers": {"object_type_id": "1", "object_id": f"x{n}"}}
            for n in range(6)
        ]
        wanted = {"segment": people, "device": people, "relationship": people + things}.get(self.kind, [])
        if wanted:
            self.call({"batch": wanted})

    def call(self, body: Any) -> None:
        import urllib.request

        headers = {"Authorization": "Basic czp0", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.sandbox.url}/api/v2/batch", json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200

    def change(self) -> None:
        """Another table: of events with more rows, else with any."""
        pick, some = self.chance.choice, sorted(self.chance.sample(range(24), self.chance.randint(3, 20)))
        if self.kind == "event":
            known = len(self.source)
            self.source = [
                *self.source,
                *({"row": f"e{n}", "id": f"p{n % 7}", "n": n} for n in range(known, known + len(some))),
            ]
        elif self.kind == "segment":
            self.source = [{"id": f"m{n}"} for n in some]
        elif self.kind == "device":
            self.source = [
                {"id": f"m{n}", "token": f"t{n}", "platform": pick(["ios", "android"]), "app": pick("ab")} for n in some
            ]
        elif self.kind == "relationship":
            self.source = [{"object_id": f"x{n % 6}", "id": f"m{n}", "role": pick(["owner", "guest"])} for n in some]
        else:
            name = {"person": "id", "object": "object_id", "collection": "key"}[self.kind]
            self.source = [{name: f"p{n}", "plan": pick(["free", "pro"]), "score": pick([1, 2])} for n in some]

    def run(self, kill: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """One run of the source as it is, to be killed or not."""
        run = f"{self.kind}-{len(self.sizes)}"
        self.sizes[run] = len(self.source)
        self.log.append(f"{run} of {len(self.source)} rows, kill {kill}")
        schema = list(self.source[0]) if self.source else []
        job = {
            "url": self.sandbox.url,
            "root": str(self.root),
            "asset": self.kind,
            "run": run,
            "schema": schema,
            "rows": self.source,
        }
        killed, said = self.nursery.run(
            {**job, "spec": SPECS[self.kind].model_dump(mode="json"), "kill": kill, "options": {"allow_deletes": True}}
        )
        assert killed or "took" in said, said
        self.killed += killed
        return killed, said

    def compare(self) -> None:
        """A run that is left alone; then the source, Customer.io, snapshot and outcomes agree."""
        self.sandbox.faults([])
        _, report = self.run({})
        assert "raised" not in report, report["traceback"]
        assert (report["error"], report["pending"], report["refused"], report["rejected"]) == (None, 0, 0, 0)
        expected, found = self.expected(), self.found()
        assert found == expected
        snapshot = self.state.snapshot()
        assert snapshot is not None
        assert len(snapshot.collect()) == len(self.source)
        assert self.remembered(snapshot.collect()) == expected
        assert self.state.unsettled() is None
        assert self.state.plan() is None
        self.check_outcomes()
        _, again = self.run({})
        assert (again["requests"], again["recovered"]) == (0, 0)

    def check_outcomes(self) -> None:
        """Each run is accounted for whole, or (killed before it had a plan) not at all; no event was accepted twice."""
        table = outcomes(self.root).collect()
        rows = table.filter(pl.col("operation") != "delete").group_by("run_id").agg(pl.col("rows").sum())
        for run, count in rows.iter_rows():
            assert count == self.sizes[run], run
        if self.kind == "event":
            accepted = Counter(table.filter(pl.col("outcome") == "accepted")["key"])
            assert len(accepted) == len(self.source)
            assert set(accepted.values()) == {1}

    def expected(self) -> list[Any]:
        return sorted(list(map(str, row.values())) for row in self.source)

    def found(self) -> list[Any]:
        """What the sandbox holds, as rows of the source."""
        if self.kind == "person":
            rows = [
                [each["id"], each["attributes"]["plan"], each["attributes"]["score"]] for each in self.sandbox.get("people")
            ]
        elif self.kind == "device":
            rows = [
                [each["person"]["id"], each["token"], each["platform"], each["attributes"]["app"]]
                for each in self.sandbox.get("devices")
            ]
        elif self.kind == "event":
            known = {f"p{row['id'][1:]}" for row in self.source}
            events = self.sandbox.get("events")
            assert {each["person"]["id"] for each in events} <= known
            assert len({each["id"] for each in events}) == len(events)
            rows = [[f"e{each['attributes']['n']}", each["person"]["id"], each["attributes"]["n"]] for each in events]
        elif self.kind == "collection":
            [collection] = self.sandbox.get("collections")
            rows = [list(each.values()) for each in collection["data"]]
        elif self.kind == "segment":
            [segment] = self.sandbox.get("segments")
            rows = [[each["id"]] for each in segment["members"]]
        elif self.kind == "object":
            rows = [
                [each["object_id"], each["attributes"]["plan"], each["attributes"]["score"]]
                for each in self.sandbox.get("objects")
            ]
        else:
            rows = [
                [each["object_id"], each["person"]["id"], each["attributes"]["role"]]
                for each in self.sandbox.get("relationships")
            ]
        return sorted([str(value) for value in row] for row in rows)

    def remembered(self, snapshot: pl.DataFrame) -> list[Any]:
        """What the snapshot holds, as rows of the source."""
        columns = {
            "person": ["_person", "plan", "score"],
            "device": ["_person", "_token", "_platform", "app"],
            "event": ["_row_id", "_person", "n"],
            "collection": ["key", "plan", "score"],
            "segment": ["_person"],
            "object": ["_object", "plan", "score"],
            "relationship": ["_object", "_person", "role"],
        }[self.kind]
        return sorted([value.strip('"') for value in row] for row in snapshot.select(columns).iter_rows())


def lines_of(story: Story) -> list[tuple[str, int, int]]:
    """The package's lines that a run executes, one that recovers and one with errors too, and how often."""
    seen: dict[tuple[str, int], int] = {}
    for script, kill in (([], {"inside": [INSIDE[4], 0.0]}), ([{"status": 500, "after": 2}], {}), ([], {})):
        story.sandbox.faults(script)
        story.change()
        if kill:
            story.run(kill)
        _, said = story.run({"trace": True})
        seen |= {(file, line): count for file, line, count in said["lines"]}
    return sorted((*place, count) for place, count in seen.items())


def any_kill(chance: random.Random, lines: list[tuple[str, int, int]], length: float) -> dict[str, Any]:
    kind = chance.choices(["after", "line", "inside", "torn"], [40, 35, 20, 5])[0]
    if kind == "after":
        return {"after": chance.uniform(0, length)}
    if kind == "line":
        file, line, count = chance.choice(lines)
        return {"line": [file, line], "nth": chance.randint(1, min(count, 30))}
    if kind == "inside":
        return {"inside": [chance.choice(INSIDE), chance.choice([0.0, chance.uniform(0, 0.02), chance.uniform(0, 0.1)])]}
    return {"torn": chance.randint(1, 8)}


def tell(story: Story) -> None:
    """Kill the sync of a story again and again, and compare now and then."""
    chance = story.chance
    story.sandbox.reset()
    story.prepare()
    lines = lines_of(story)
    assert len(lines) > 300
    story.compare()
    length, runs = 0.3, 0
    while story.killed < KILLS:
        if chance.random() < 0.6:
            story.change()
        faults = chance.sample(FAULTS, chance.randint(0, 2))
        story.sandbox.faults([fault | {"seed": chance.randrange(10**6)} for fault in faults])
        killed, said = story.run(any_kill(chance, lines, length))
        if not killed:
            length = 0.8 * length + 0.2 * said["took"]
        runs += 1
        if runs % STRETCH == 0:
            story.compare()
    story.compare()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Story], dict[str, Future[None]]]]:
    """All the stories, on two lanes side by side, each with a sandbox and a nursery of its own."""
    stories: dict[str, Story] = {}
    futures: dict[str, Future[None]] = {kind: Future() for kind in SPECS}
    waiting = list(SPECS)

    def lane() -> None:
        nursery = Nursery()
        try:
            with run_sandbox("--set", "app_requests_per_second=0") as sandbox:
                while waiting:
                    kind = waiting.pop(0)
                    root = tmp_path_factory.mktemp(kind) / "state"
                    stories[kind] = Story(kind, sandbox, nursery, root, random.Random(f"{SEED} {kind}"))
                    try:
                        tell(stories[kind])
                    except BaseException as error:  # noqa: BLE001 - the kind's own test raises it
                        futures[kind].set_exception(error)
                    else:
                        futures[kind].set_result(None)
        finally:
            nursery.close()

    with ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(lane), pool.submit(lane)]
        yield stories, futures
        waiting.clear()
    for each in lanes:
        each.result()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", SPECS)
def test_killed_again_and_again(kind: str, told: tuple[dict[str, Story], dict[str, Future[None]]]) -> None:
    stories, futures = told
    try:
        futures[kind].result()
    finally:
        story = stories[kind]  # What pytest shows where it failed.
        print(f"CIO_CRASH_SEED={SEED}: {story.killed} kills in {len(story.sizes)} runs", *story.log, sep="\n")
