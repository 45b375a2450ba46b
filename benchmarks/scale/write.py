"""Into the repository: docs/scale.md and its picture."""

from benchmarks.results import Results
from benchmarks.scale.model import Assumed, Measured
from benchmarks.scale.page import PAGE, page
from benchmarks.scale.picture import draw


def write(results: Results) -> None:
    """Simulate, and write both."""
    PAGE.write_text(page(results))
    draw(Measured.of(results), Assumed())
