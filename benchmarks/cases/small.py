"""Small syncs: what they cost over Dagster itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from benchmarks import source
from benchmarks.bench import Bench, Found
from benchmarks.cases.figures import seconds
from benchmarks.measured.small import imports, materialize
from benchmarks.results import Row

ROWS, CHANGES = 1_000, 10


def small(bench: Bench) -> Iterator[Row]:
    """Few rows with fewer changes, materialised in process; and the import."""
    database, state, what = str(bench.database), bench.new_state(), f"{ROWS:,} people"
    query, changed = source.people(bench.database, ROWS), source.touched_people(ROWS, CHANGES)

    def measure(what: str, query: str, state: str, *, bare: bool = False) -> Found:
        return bench.measure(what, materialize, database=database, query=query, state=state, bare=bare)

    measure(f"{what} materialised, first", query, str(state))
    bare, synced, imported = list[Found](), list[Found](), list[float]()
    for _ in range(bench.runs):
        copy = bench.new_state()
        shutil.copytree(state, copy)
        bare.append(measure(f"{what} materialised by bare Dagster", changed, str(copy), bare=True))
        synced.append(measure(f"{what} materialised, {CHANGES} changed", changed, str(copy)))
        if synced[-1]["counts"]["updated"] != CHANGES:
            raise RuntimeError(f"{CHANGES} rows were to be updated: {synced[-1]['counts']}")
        imported.append(imports())
    note = "in process, in its in-memory IO manager, the first of the process"
    yield Row("small-bare", f"{what} materialised by bare Dagster", "s", seconds(bare), note=note)
    yield Row("small", f"{what} materialised, {CHANGES} changed", "s", seconds(synced))
    over = [one - other for one, other in zip(seconds(synced), seconds(bare), strict=True)]
    yield Row("small-overhead", "the last over the one before", "s", over, target=0.5)
    yield Row("import", "import of cio_dagster over that of dagster and polars", "s", imported, target=0.3)
