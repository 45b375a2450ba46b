"""A process of its own for each measurement, so that its peak memory is its own.

`python -m benchmarks.child MODULE FUNCTION` reads the function's arguments as JSON from its input, calls it, and prints what it returns as
JSON, with the process's peak memory in MB: `imports_mb` before the call, `peak_mb` after it. 1 MB is 1,000,000 bytes.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def measure(function: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """What a function of a module returns when it is called in a process of its own. Raises RuntimeError with its output if it fails."""
    command = [sys.executable, "-m", "benchmarks.child", function.__module__, function.__name__]
    done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {arguments}:\n{done.stdout[-2_000:]}{done.stderr[-8_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mb() -> float:
    """The most memory that this process held (resident, pages of mapped files included), in MB."""
    if not STATUS.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    # Not ru_maxrss: that of a new process begins with what its parent held.
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Call the function that the arguments name."""
    module, name = sys.argv[1:]
    function = getattr(importlib.import_module(module), name)
    arguments, imports = json.load(sys.stdin), peak_mb()
    found = function(**arguments)
    print(json.dumps(found | {"peak_mb": round(peak_mb(), 1), "imports_mb": round(imports, 1)}))


if __name__ == "__main__":
    main()
