"""What an engine runs a query with: the warehouse's URL and settings, and how it is stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote

from cio_dagster.warehouse.running import Running
from cio_dagster.warehouse.sql import Statement

if TYPE_CHECKING:
    from cio_dagster.warehouse.staging import Result

_SECRET = re.compile(r"pass|secret|token|key|credential|authorization|header", re.IGNORECASE)


@dataclass(frozen=True)
class Session:
    """The settings of one query's session."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    """The statement timeout, for databases that keep to one themselves should this process die."""
    running: Running = field(default_factory=Running)

    @property
    def rest(self) -> str:
        """The URL behind its scheme."""
        return self.url.partition("://")[2]

    @property
    def authority(self) -> str:
        """User, password, host and port, as they are written."""
        return re.split(r"[/?#]", self.rest)[0]

    @property
    def query(self) -> dict[str, str]:
        """The URL's parameters."""
        return dict(parse_qsl(self.rest.partition("?")[2]))


Runner: TypeAlias = "Callable[[Session, Statement, Mapping[str, object]], AbstractContextManager[Result]]"
"""Runs a statement with its parameters, for as long as the context is open. Raises EngineError."""


def redacted(text: str, session: Session) -> str:
    """The text without what the URL says after a user name's colon, or for a parameter or option that sounds secret."""
    user, at, host = session.authority.rpartition("@")
    named = {**session.query, **dict(re.findall(r"([\w.-]+)=([^;&?]*)", session.rest)), **session.options}
    secrets = {user.partition(":")[2]} | {value for name, value in named.items() if _SECRET.search(name)}
    if not at and not (port := host.rpartition(":")[2]).isdigit() and ":" in host:
        secrets.add(port)
    for secret in sorted(secrets | {unquote(secret) for secret in secrets}, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text
