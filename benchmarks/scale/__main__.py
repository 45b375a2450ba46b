"""`python -m benchmarks.scale`: write docs/scale.md and its picture from the published figures."""

from pathlib import Path

from benchmarks.results import Results
from benchmarks.scale.write import write

if __name__ == "__main__":
    write(Results.read(Path(__file__).parent.parent / "results.json"))
