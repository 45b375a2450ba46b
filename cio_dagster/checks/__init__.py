"""CHECKS: the seventh room. After a run, what became of it is held against what was planned, and against what Customer.io holds.

| module | |
|---|---|
| `readback` | reads back what Customer.io holds, and puts what differs to pending again |
| `compare` | whether what was found is what was sent: pure functions |
| `applied` | the asset check `applied_in_customerio`, a step of its own |
"""

from cio_dagster.checks.applied import build_customerio_checks
from cio_dagster.checks.readback import Look

__all__ = ["Look", "build_customerio_checks"]
