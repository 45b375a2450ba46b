"""For MkDocs: pages link to the repository's files, as GitHub shows them; on the site, which has none of these, only their names stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page without links that lead out of the documentation's folder."""
    folder, here = Path(config["docs_dir"]).resolve(), Path(page.file.abs_src_path).parent

    def kept(link: re.Match[str]) -> str:
        inside = (here / link[2]).resolve().is_relative_to(folder)
        return link[0] if inside else link[1]

    return LINK.sub(kept, markdown)
