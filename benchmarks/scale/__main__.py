"""`python -m benchmarks.scale`: write docs/scale.md from the published figures."""

from pathlib import Path

from benchmarks.results import Results
from benchmarks.scale.page import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(Results.read(Path(__file__).parent.parent / "results.json")))
