"""Who may call: Basic for the Track API, a bearer key for the App API."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass


@dataclass(frozen=True)
class Credentials:
    """The keys that are asked for; None takes any that is not empty."""

    site_id: str | None = None
    track_key: str | None = None
    app_key: str | None = None

    def admits(self, api: str, header: str | None) -> bool:
        """Whether an ``Authorization`` header opens an API, ``track`` or ``app``."""
        scheme, _, rest = (header or "").strip().partition(" ")
        rest = rest.strip()
        if api == "app":
            return scheme.lower() == "bearer" and _matches(rest, self.app_key)
        if scheme.lower() != "basic":
            return False
        site_id, colon, track_key = (_decoded(rest) or "").partition(":")
        return bool(colon) and _matches(site_id, self.site_id) and _matches(track_key, self.track_key)


def _matches(given: str, expected: str | None) -> bool:
    return bool(given) if expected is None else hmac.compare_digest(given.encode(), expected.encode())


def _decoded(text: str) -> str | None:
    """Base64 in either alphabet, with or without padding: the Go client sends the URL-safe one."""
    padded = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
