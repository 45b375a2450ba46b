"""The machine and the versions that figures were found with."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("polars", "pyarrow", "duckdb", "dagster", "deltalake", "aiohttp", "customerio", "async-customerio", "drt-core")


@dataclass(frozen=True)
class Machine:
    """Cores that this process may use, memory in GB (1,000,000,000 bytes), and the load of the minute before the benchmarks began."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    load_before: float
    versions: dict[str, str]

    def in_words(self) -> str:
        """All of it in one line."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.cores} cores ({self.cpu}), {self.memory_gb:.0f} GB, {self.system}, load before {self.load_before:.1f}. {versions}. "
            "The sink is a process of its own on the same cores."
        )


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        system=f"{platform.system()} {platform.machine()}",
        load_before=os.getloadavg()[0],
        versions={"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor()
