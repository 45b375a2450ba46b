"""`make bench`: what syncs take, beside peers and limits in the same run, against the targets.

Every measurement is a process of its own; the sink that answers is another, on the same cores. `--help` lists what can be asked for.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.cases import CASES
from benchmarks.cases.figures import FULL
from benchmarks.cases.people import growth_points
from benchmarks.machine import this_machine
from benchmarks.plots import plot
from benchmarks.publish import publish
from benchmarks.results import Results, rooms_table, table, write
from cio_dagster.sandbox.process import run_sandbox

SCRATCH = Path(__file__).parent.parent / ".bench"
"""Where results.json, results.md and the pictures of every run go."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=FULL, help="people; other tables are multiples of it (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each measurement (default: %(default)s)")
    parser.add_argument(
        "--large-runs", type=int, default=3, help="of those at ten times the rows and more (default: %(default)s)"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=10,
        metavar="TIMES",
        help="grow to so many times the rows, such as 30 (default: %(default)s)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"some of: {' '.join(CASES)}"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write into the repository: benchmarks/, docs/images/, the README's figures and docs/scale.md",
    )
    parser.add_argument("--read", type=Path, metavar="RESULTS.JSON", help="measure nothing, and show what was found before")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the sinks end, and the gigabytes of states go.
    if given.publish and (given.rows != FULL or given.only != list(CASES)):
        parser.error("--publish is for all cases at their full size")
    console = Console(width=None if sys.stdout.isatty() else 150)
    results = Results.read(given.read) if given.read else _measured(given, console)
    console.print(table(results))
    console.print(rooms_table(results))
    plot(results, SCRATCH)
    if given.publish:
        publish(results)


def _measured(given: argparse.Namespace, console: Console) -> Results:
    """Measure; after each case, what was found so far is in SCRATCH."""
    begun, results = time.monotonic(), Results(this_machine(), given.rows)

    @contextmanager
    def say(what: str) -> Iterator[None]:
        with console.status(what):
            yield
        console.log(what)

    with (
        run_sandbox("--sink") as at_once,
        run_sandbox("--sink", "--delay-ms", "50") as later,
        tempfile.TemporaryDirectory(prefix="cio-bench-") as folder,
    ):
        bench = Bench(given.rows, given.runs, given.large_runs, given.largest, Path(folder), {0: at_once, 50: later}, say)
        for name in given.only:
            results.rows += CASES[name](bench)
            if name == "growth":
                results.points = growth_points(bench)
            results.rooms = bench.medians_of_rooms()
            results.minutes = (time.monotonic() - begun) / 60
            write(results, SCRATCH)
    return results


if __name__ == "__main__":
    main()
