"""CHECKS: the seventh room. After a run, what became of it is held against what was planned, and against what Customer.io holds.

| module | |
|---|---|
| `build` | the asset checks of the assets: `build_customerio_checks` |
| `last_run` | which reports a check is about |
| `verdicts` | what a run's reports say against it: pure functions |
| `freshness` | how old the newest row of a source is |
| `applied` | the check `applied_in_customerio` |
| `readback` | reads back what Customer.io holds, and puts what differs to pending again |
| `compare` | whether what was found is what was sent: pure functions |
"""

from cio_dagster.checks.build import build_customerio_checks
from cio_dagster.checks.freshness import Freshness
from cio_dagster.checks.readback import Look

__all__ = ["Freshness", "Look", "build_customerio_checks"]
