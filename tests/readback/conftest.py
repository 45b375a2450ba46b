"""Read-backs of a sandbox that others, or its own settings, made differ from what it accepted."""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime
from typing import Any

from cio_dagster.checks.readback import Look, ReadBack, read_back
from cio_dagster.report import Report
from cio_dagster.specs import AnySpec
from tests.engine import APP_KEY, Engine, engine, shared_sandbox

__all__ = ["engine", "shared_sandbox"]

AT_ONCE: dict[str, Any] = {"settle": 0}


def look_back(engine: Engine, spec: AnySpec, report: Report, *, asset: str = "asset", **look: Any) -> ReadBack:
    """Read back what a run wrote, without waiting for what differs."""
    state = engine.state(asset)
    since = datetime.fromisoformat(report.since)
    return read_back(spec, state, engine.connection(), since=since, run_id=report.run_id, look=Look(**(AT_ONCE | look)))


def found(seen: ReadBack) -> set[tuple[str, str | None, str]]:
    """Key, field and reason of each difference."""
    return set(seen.differences.select("_key", "field", "reason").iter_rows())


def clean(engine: Engine, spec: AnySpec, report: Report, **look: Any) -> ReadBack:
    """A read-back that must find nothing."""
    seen = look_back(engine, spec, report, **look)
    assert seen.differences.to_dicts() == []
    assert seen.notes == []
    return seen


def keys_in_snapshot(engine: Engine) -> set[str]:
    snapshot = engine.state().snapshot()
    assert snapshot is not None
    return set(snapshot.select("_key").collect()["_key"])


def app(engine: Engine, method: str, path: str, body: Any = None) -> Any:
    """Call the App API as some other program would."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {APP_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(engine.sandbox.url + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        text = response.read()
    return json.loads(text) if text.strip() else None


def person(id: str, action: str = "identify", **attributes: Any) -> dict[str, Any]:
    given = {"attributes": attributes} if action == "identify" else {}
    return {"type": "person", "action": action, "identifiers": {"id": id}, **given}


def an_object(id: str, action: str = "identify", type_id: int = 1, **attributes: Any) -> dict[str, Any]:
    given = {"attributes": attributes} if action == "identify" else {}
    return {"type": "object", "action": action, "identifiers": {"object_type_id": str(type_id), "object_id": id}, **given}


def relation(id: str, object_id: str, action: str = "delete_relationships") -> dict[str, Any]:
    other = {"identifiers": {"object_type_id": "1", "object_id": object_id}}
    return {"type": "person", "action": action, "identifiers": {"id": id}, "cio_relationships": [other]}
