"""For mkdocstrings: docstrings name a parameter on a line and describe it indented below; Markdown calls that a definition list."""

from __future__ import annotations

import re
from typing import Any

import griffe

TERM = re.compile(r"^(\S[^\n]*)\n {4}(?=\S)", re.MULTILINE)


class Terms(griffe.Extension):
    """Writes docstrings' terms as Markdown has them."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = TERM.sub(r"\n\1\n:   ", obj.docstring.value)
