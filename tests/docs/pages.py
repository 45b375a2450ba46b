"""The pages of `docs`, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

FENCE = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its title (of a file, the file's name) and its text."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(language, title, text) for _, language, title, text in FENCE.findall(page.read_text())]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", page.read_text())


def name(page: Path) -> str:
    """A page as the tests call it."""
    return page.relative_to(DOCS).as_posix()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    after = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{level}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def lost_links(page: Path) -> list[str]:
    """The page's links to files or headings that do not exist."""
    lost = []
    for link in re.findall(r"\]\(((?!https?://)[^)]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    return lost


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def settings(text: str) -> dict[str, str]:
    """Setting to default, of the tables of settings in a text."""
    return dict(re.findall(r"^\| `(\w+)` \| (\S.*?) \| .+ \|$", text, re.MULTILINE))


def fields(model: type[BaseModel]) -> dict[str, str]:
    """Setting to default, as tables say it, of a model."""
    return {
        name: "required" if field.is_required() else f"`{field.default!r}`".replace("'", '"')
        for name, field in model.model_fields.items()
    }
