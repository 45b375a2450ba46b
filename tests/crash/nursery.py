"""A process that has everything imported and forks a child for each sync, so that a sync costs no imports, and can be killed.

Reads jobs as JSON lines and answers each by a JSON line. It runs no Polars and no Delta itself: their threads would not survive a fork.

    {"url", "root", "asset", "spec", "rows", "run", "kill": {...}, "options": {...}, "connection": {...}}

`kill` says when the child dies by SIGKILL: {"after": seconds} by the clock of the parent; {"line": [file, line], "nth": n} before a line of the package runs
for the n-th time; {"inside": [class or module attribute, seconds]} so long after a function was entered; {"torn": n} in the n-th
os.write, half of it written; {"trace": true} never, but the answer has the lines that ran; {} never.
"""

from __future__ import annotations

import collections
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
import traceback
import types
from typing import Any

# The rooms without the package's face, which imports Dagster: that takes longer than all else here.
found = importlib.util.find_spec("cio_dagster")
assert found is not None
assert found.submodule_search_locations is not None
package = types.ModuleType("cio_dagster")
package.__path__ = list(found.submodule_search_locations)
sys.modules["cio_dagster"] = package

import polars as pl  # noqa: E402
from pydantic import SecretStr  # noqa: E402

from cio_dagster.deliver import Connection  # noqa: E402
from cio_dagster.errors import SyncError  # noqa: E402
from cio_dagster.specs import read_spec  # noqa: E402
from cio_dagster.state import AssetState, state_root  # noqa: E402
from cio_dagster.sync import RunOptions, sync  # noqa: E402

HOME = package.__path__[0]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def trace_lines(wanted: tuple[str, int] | None, nth: int) -> collections.Counter[tuple[str, int]]:
    """Count the package's lines as they run, and die before one of them."""
    seen: collections.Counter[tuple[str, int]] = collections.Counter()

    def local(frame: Any, event: str, _: Any) -> Any:
        if event == "line":
            place = (os.path.relpath(frame.f_code.co_filename, HOME), frame.f_lineno)
            seen[place] += 1
            if place == wanted and seen[place] == nth:
                die()
        return local

    def every(frame: Any, *_: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(HOME) else None

    threading.settrace(every)
    sys.settrace(every)
    return seen


def die_inside(name: str, seconds: float) -> None:
    """Die so long after a function was entered, whatever it is doing by then."""
    owner_name, _, function = name.rpartition(".")
    module_name, _, class_name = owner_name.partition(":")
    owner: Any = importlib.import_module(module_name)
    owner = getattr(owner, class_name) if class_name else owner
    real = getattr(owner, function)

    def timed(*args: Any, **kwargs: Any) -> Any:
        threading.Timer(seconds, die).start()
        return real(*args, **kwargs)

    setattr(owner, function, timed)


def tear_write(nth: int) -> None:
    """Die in the n-th os.write, with half of it written."""
    real, count = os.write, [0]

    def write(file: int, data: bytes) -> int:
        count[0] += 1
        if count[0] == nth:
            real(file, bytes(data)[: len(data) // 2])
            die()
        return real(file, data)

    os.write = write  # type: ignore[assignment]


def run(job: dict[str, Any], answer: int) -> None:
    """The child: one sync. Writes what came of it to `answer`."""
    kill, lines = job.get("kill", {}), None
    if "inside" in kill:
        die_inside(*kill["inside"])
    if "torn" in kill:
        tear_write(kill["torn"])
    if "line" in kill:
        trace_lines((kill["line"][0], kill["line"][1]), kill["nth"])
    if "trace" in kill:
        lines = trace_lines(None, 0)
    settings: dict[str, Any] = {"batch_bytes": 600, "concurrency": 4, "longest_backoff": 0.02, "attempts": 8}
    settings |= {"requests_per_second": 10_000, "burst": 10_000, "app_requests_per_second": 1_000} | job.get("connection", {})
    keys: dict[str, Any] = {"site_id": "s", "track_api_key": SecretStr("t"), "app_api_key": SecretStr("a")}
    connection = Connection(**keys, track_url=job["url"], app_url=job["url"], **settings)
    spec = read_spec(job["spec"])
    frame = pl.DataFrame(job["rows"], schema=job["schema"]).lazy()
    state = AssetState(state_root(job["root"]), "workspace", job["asset"])
    begun = time.monotonic()
    try:
        report = sync(frame, spec, state, connection, run_id=job["run"], options=RunOptions(**job.get("options", {})))
        said: dict[str, Any] = report.to_json()
    except (SyncError, pl.exceptions.PolarsError, OSError, AssertionError) as error:
        said = {"raised": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    sys.settrace(None)
    threading.settrace(None)
    said["took"] = time.monotonic() - begun
    said["lines"] = [[*place, count] for place, count in lines.items()] if lines is not None else None
    with os.fdopen(answer, "w") as file:
        json.dump(said, file, default=str)


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(readable)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What a library prints is no answer.
                run(job, writable)
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        os.close(writable)
        if "after" in job.get("kill", {}):
            time.sleep(job["kill"]["after"])
            os.kill(child, signal.SIGKILL)  # Not yet waited for, so the number is still this child's.
        with os.fdopen(readable) as file:
            text = file.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, "said": json.loads(text) if text and not killed else None}), flush=True)


if __name__ == "__main__":
    main()
