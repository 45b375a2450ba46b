"""The state: bytes on disk and in requests, files, and syncs that read only what changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from benchmarks import source
from benchmarks.bench import PEOPLE, Bench
from benchmarks.cases.figures import count, seconds
from benchmarks.measured import ours
from benchmarks.measured.state import folder_bytes, plan_bytes, read_changes
from benchmarks.results import Row
from cio_dagster.state import AssetState


def state(bench: Bench) -> Iterator[Row]:
    """Of one first sync, one that finds 1 % changed, and one that reads these alone: bytes differ from run to run in the last digits only."""
    rows, root = bench.rows, bench.new_state()
    changed = rows // source.CHANGED
    what, kept = f"{count(rows)} varied people", AssetState(root, *ours.NAMES)
    query, some = source.varied_people(bench.database, rows)
    database, spec = str(bench.database), PEOPLE.model_dump(mode="json")

    planned = bench.measure("plan of a first sync", plan_bytes, database=database, query=query, spec=spec, state=str(root))
    yield Row("plan-bytes", f"plan of {what}, first sync, on disk", "bytes/row", [planned["bytes"] / rows])
    first = bench.sync("first sync, for its state", query, PEOPLE, root, {"created": rows})
    yield Row("request-bytes", "requests of it", "bytes/row", [first["sink_bytes"] / rows])
    yield Row("request-rows", "rows in a request of it", "rows", [rows / first["requests"]])
    yield Row("snapshot-bytes", "snapshot of it", "bytes/row", [_bytes(kept, "snapshot") / rows])
    yield Row("outcomes-bytes", "outcomes of it", "bytes/row", [_bytes(kept, "outcomes") / rows])
    yield Row("state-files", "files of it, without those of a plan", "files", [sum(path.is_file() for path in root.rglob("*"))])

    measured, grown = [], []
    for _ in range(bench.runs):
        copy = bench.copied(root)
        before = _bytes(AssetState(copy, *ours.NAMES), "snapshot")
        asked: dict[str, Any] = {"database": database, "whole": query, "changes": some, "spec": spec, "state": str(copy)}
        found = bench.measure(f"{what}, 1 % changed, read alone", read_changes, **asked)
        if found["counts"]["updated"] != changed or not found["partial"]:
            raise RuntimeError(f"the sync was to read {changed} changed rows, and found {found}")
        measured.append(found)
        grown.append((_bytes(AssetState(copy, *ours.NAMES), "snapshot") - before) / rows)
        shutil.rmtree(copy)
    yield Row("incremental", f"{what}, 1 % changed, read alone", "s", seconds(measured), rows)
    against = [one["seconds"] / one["whole_seconds"] for one in measured]
    yield Row("incremental-ratio", "the last against reading all, nothing changed", "x", against)
    yield Row("snapshot-growth", "new bytes of the snapshot by it", "bytes/row", grown, note="all rows are written anew")
    shutil.rmtree(root)


def _bytes(kept: AssetState, table: str) -> int:
    return folder_bytes(kept.working_folder / table)
