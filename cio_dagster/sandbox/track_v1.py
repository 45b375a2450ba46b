"""Track API v1: each call is checked, translated into an operation and accepted.

Source: Customer.io's Track OpenAPI, the paths under /api/v1 and /unsubscribe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from cio_dagster.sandbox import checks, limits, segments
from cio_dagster.sandbox.answers import Refused, accepted, json_answer, v1_error, v1_single_error
from cio_dagster.sandbox.identity import from_path
from cio_dagster.sandbox.intake import Intake, read_json
from cio_dagster.sandbox.limits import Invalid
from cio_dagster.sandbox.workspace import Workspace

_METRICS = ("bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed")
_FORM_KEYS = ("form_id", "form_name", "form_type", "form_url", "form_url_param")


class TrackV1:
    """The handlers of Track v1."""

    def __init__(self, workspace: Workspace, intake: Intake) -> None:
        self._workspace = workspace
        self._intake = intake

    def routes(self) -> list[web.RouteDef]:
        """The paths and their handlers."""
        customer = "/api/v1/customers/{identifier}"
        return [
            web.get("/api/v1/accounts/region", self.region, allow_head=False),
            web.put(customer, self.identify),
            web.delete(customer, self.delete),
            web.put(f"{customer}/devices", self.add_device),
            web.delete(f"{customer}/devices/{{device_id}}", self.delete_device),
            web.post(f"{customer}/suppress", self.suppress),
            web.post(f"{customer}/unsuppress", self.unsuppress),
            web.post(f"{customer}/events", self.event),
            web.post("/api/v1/events", self.anonymous_event),
            web.post("/api/v1/merge_customers", self.merge),
            web.post("/api/v1/segments/{segment_id}/add_customers", self.add_to_segment),
            web.post("/api/v1/segments/{segment_id}/remove_customers", self.remove_from_segment),
            web.post("/api/v1/metrics", self.metrics),
            web.post("/api/v1/push/events", self.push_events),
            web.post("/api/v1/forms/{form_id}/submit", self.submit_form),
            web.post("/unsubscribe/{delivery_id}", self.unsubscribe),
        ]

    async def region(self, request: web.Request) -> web.Response:
        """Say which region and workspace the credentials are for."""
        settings = self._workspace.settings
        return json_answer({"url": settings.track_url, "region": settings.region, "environment_id": settings.environment_id})

    async def identify(self, request: web.Request) -> web.Response:
        """Add or update a person."""
        body = await _body(request)
        try:
            identifiers = self._path_identifiers(request)
            timestamp = body.pop("_timestamp", None)
            relationships, action = self._relationships(body.pop("cio_relationships", None))
            attributes = checks.attributes(body)
            if "id" in attributes:
                limits.check_id(attributes["id"], "id")
            operation = {
                "identifiers": identifiers,
                "attributes": attributes,
                "timestamp": checks.seconds(_number(timestamp), "_timestamp"),
                "cio_relationships": relationships,
                "relationships_action": action,
                "surface": "v1",
            }
        except Invalid as error:
            return v1_error(error.message)
        return self._accept(request, "person", "identify", operation)

    def _relationships(self, given: object) -> tuple[list[dict[str, Any]], str]:
        if given is None:
            return [], "add_relationships"
        if not isinstance(given, dict) or given.get("action") not in ("add_relationships", "delete_relationships"):
            raise Invalid("cio_relationships", "cio_relationships needs an action and relationships")
        return checks.relationships_to_objects(self._workspace, given.get("relationships")), given["action"]

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a person."""
        return await self._on_person(request, "delete")

    async def suppress(self, request: web.Request) -> web.Response:
        """Delete a person for good and block their identifiers."""
        return await self._on_person(request, "suppress")

    async def unsuppress(self, request: web.Request) -> web.Response:
        """Free suppressed identifiers."""
        return await self._on_person(request, "unsuppress")

    async def _on_person(self, request: web.Request, action: str) -> web.Response:
        """A call that says everything in its path; clients send an empty body, or {}, or none."""
        try:
            return self._accept(request, "person", action, {"identifiers": self._path_identifiers(request)})
        except Invalid as error:
            return v1_error(error.message)

    async def add_device(self, request: web.Request) -> web.Response:
        """Add or update a device."""
        body = await _body(request)
        try:
            operation = {
                "identifiers": self._path_identifiers(request),
                "device": checks.device(body.get("device"), "id"),
            }
        except Invalid as error:
            return v1_error(error.message)
        return self._accept(request, "person", "add_device", operation)

    async def delete_device(self, request: web.Request) -> web.Response:
        """Delete a device."""
        try:
            identifiers = self._path_identifiers(request)
        except Invalid as error:
            return v1_error(error.message)
        operation = {"identifiers": identifiers, "device": {"token": request.match_info["device_id"]}}
        return self._accept(request, "person", "delete_device", operation)

    async def event(self, request: web.Request) -> web.Response:
        """Record an event of a person."""
        body = await _body(request)
        try:
            operation = {"identifiers": self._path_identifiers(request), **self._event(body)}
        except Invalid as error:
            return v1_error(error.message)
        return self._accept(request, "person", _event_type(body), operation)

    async def anonymous_event(self, request: web.Request) -> web.Response:
        """Record an event of somebody not yet known; without an anonymous_id it can join nobody."""
        body = await _body(request)
        anonymous_id = body.get("anonymous_id")
        if anonymous_id is not None and not isinstance(anonymous_id, str):
            return v1_error("anonymous_id must be a string value")
        try:
            operation = {"identifiers": {"anonymous_id": anonymous_id or ""}, **self._event(body)}
        except Invalid as error:
            return v1_error(error.message)
        return self._accept(request, "person", _event_type(body), operation)

    def _event(self, body: dict[str, Any]) -> dict[str, Any]:
        return checks.event(self._workspace, {**body, "timestamp": _number(body.get("timestamp"))}, "data")

    async def merge(self, request: web.Request) -> web.Response:
        """Merge two people."""
        body = await _body(request, v1_single_error)
        try:
            operation = checks.check(self._workspace, {**body, "type": "person", "action": "merge"})
        except Invalid as error:
            return v1_single_error(error.message)
        return self._accept(request, "person", "merge", operation)

    async def add_to_segment(self, request: web.Request) -> web.Response:
        """Add people to a manual segment."""
        return await self._segment(request, "add")

    async def remove_from_segment(self, request: web.Request) -> web.Response:
        """Remove people from a manual segment."""
        return await self._segment(request, "remove")

    async def _segment(self, request: web.Request, action: str) -> web.Response:
        body = await _body(request)
        id, ids = request.match_info["segment_id"], body.get("ids")
        id_type = request.query.get("id_type", "id")
        segment = segments.find_segment(self._workspace, int(id)) if id.isdecimal() and len(id) < 19 else None
        if segment is None:
            return v1_error(f"segment {id} does not exist")
        if segment["type"] != "manual":
            return v1_error(f"segment {id} is not a manual segment")
        if id_type not in ("id", "email", "cio_id"):
            return v1_error("id_type must be one of id, email or cio_id")
        if not isinstance(ids, list) or not 1 <= len(ids) <= limits.SEGMENT_IDS:
            return v1_error(f"ids must be an array of 1 to {limits.SEGMENT_IDS} customer ids")
        operation = {"segment_id": segment["id"], "id_type": id_type, "ids": ids}
        request["operations"] = len(ids)
        return self._accept(request, "segment", action, operation)

    async def metrics(self, request: web.Request) -> web.Response:
        """Take a metric of a delivery; no credentials are asked for."""
        body = await _body(request)
        if not isinstance(body.get("delivery_id"), str) or body.get("metric") not in _METRICS:
            return v1_error(f"delivery_id and a metric, one of {', '.join(_METRICS)}, are required")
        return self._delivery(request, body["delivery_id"], body["metric"], body)

    async def push_events(self, request: web.Request) -> web.Response:
        """Take a push metric, the deprecated way; the contract requires nothing of it and declares no error."""
        body = await _body(request)
        return self._delivery(request, str(body.get("delivery_id", "")), str(body.get("event", "")), body)

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Take an unsubscription by delivery; the sandbox sends nothing, so nobody's delivery is known."""
        body = await _body(request)
        return self._delivery(request, request.match_info["delivery_id"], "unsubscribed", body)

    def _delivery(self, request: web.Request, id: str, metric: str, body: dict[str, Any]) -> web.Response:
        try:
            timestamp = checks.seconds(_number(body.get("timestamp")))
        except Invalid as error:
            return v1_error(error.message)
        operation = {"delivery_id": id, "metric": metric, "attributes": body, "timestamp": timestamp}
        return self._accept(request, "delivery", "event", operation)

    async def submit_form(self, request: web.Request) -> web.Response:
        """Take a form: its fields become attributes of the person whom its id or email names."""
        body = await _body(request)
        data = body.get("data")
        if not isinstance(data, dict) or len({"id", "email"} & set(data)) != 1:
            return v1_error("data must contain one of id or email, and only one")
        kind = "id" if "id" in data else "email"
        try:
            identifiers = checks.person_identifiers(self._workspace, {kind: data[kind]})
            attributes = checks.attributes({k: v for k, v in data.items() if k != kind and k not in _FORM_KEYS})
        except Invalid as error:
            return v1_error(error.message)
        operation: dict[str, Any] = {
            "identifiers": identifiers,
            "attributes": attributes,
            "timestamp": None,
            "cio_relationships": [],
            "surface": "v1",
        }
        self._accept(request, "person", "identify", operation)
        return web.Response(status=204)

    def _path_identifiers(self, request: web.Request) -> dict[str, str]:
        identifier = from_path(request.match_info["identifier"])
        if identifier.kind == "email" and "email" not in self._workspace.settings.enabled_identifiers:
            identifier = identifier._replace(kind="id")
        return checks.person_identifiers(self._workspace, {identifier.kind: identifier.value})

    def _accept(self, request: web.Request, type: str, action: str, operation: dict[str, Any]) -> web.Response:
        request.setdefault("operations", 1)
        self._intake.accept([{**operation, "type": type, "action": action}])
        return accepted()


async def _body(request: web.Request, error: Callable[[str], web.Response] = v1_error) -> dict[str, Any]:
    """The request's JSON object; no body at all counts as an empty one."""
    raw = await request.read()
    try:
        body = read_json(raw) if raw.strip() else {}
    except ValueError as reason:
        raise Refused(error("request body is not valid JSON")) from reason
    if not isinstance(body, dict):
        raise Refused(error("request body must be a JSON object"))
    return body


def _event_type(body: dict[str, Any]) -> str:
    """Anything but a page or a screen is an event."""
    return body["type"] if body.get("type") in ("page", "screen") else "event"


def _number(value: object) -> object:
    """A time that a v1 client wrote as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
