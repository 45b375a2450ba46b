"""What the tests of the official clients share: which methods a client offers, and what a sandbox holds afterwards."""

from __future__ import annotations

import inspect
from typing import Any

from cio_dagster.sandbox.process import RunningSandbox


def public_methods(cls: type) -> set[str]:
    """The names of a class's own and inherited public methods."""
    return {name for name, _ in inspect.getmembers(cls, callable) if not name.startswith("_")}


class Held:
    """What a sandbox holds, in few words."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self._sandbox = sandbox

    def people(self) -> dict[str | None, dict[str, Any]]:
        """Attributes of the people by id, and by email where they have none."""
        people = self._sandbox.get("people")
        return {person["id"] or person["email"]: person["attributes"] for person in people}

    def person(self, id: str) -> dict[str, Any]:
        """Everything about the person with an id or email."""
        [found] = [each for each in self._sandbox.get("people") if id in (each["id"], each["email"])]
        person: dict[str, Any] = found
        return person

    def devices(self) -> dict[str, dict[str, Any]]:
        """The devices by token."""
        return {device["token"]: device for device in self._sandbox.get("devices")}

    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Type, name and data of the events, in order."""
        return [(event["type"], event["name"], event["attributes"]) for event in self._sandbox.get("events")]

    def event(self) -> dict[str, Any]:
        """The one event there is."""
        [event] = self._sandbox.get("events")
        found: dict[str, Any] = event
        return found

    def members(self, segment_id: int) -> list[str | None]:
        """The ids of a segment's members."""
        [segment] = [each for each in self._sandbox.get("segments") if each["id"] == segment_id]
        return [member["id"] for member in segment["members"]]

    def objects(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Attributes of the objects by type and id."""
        objects = self._sandbox.get("objects")
        return {(each["object_type_id"], each["object_id"]): each["attributes"] for each in objects}

    def relationships(self) -> list[tuple[str | None, str, dict[str, Any]]]:
        """Person, object and attributes of the relationships."""
        related = self._sandbox.get("relationships")
        return [(each["person"]["id"], each["object_id"], each["attributes"]) for each in related]

    def suppressed(self) -> list[tuple[str, str]]:
        """The suppressed identifiers."""
        return [(each["kind"], each["value"]) for each in self._sandbox.get("suppressed")]

    def deliveries(self) -> list[tuple[str, str]]:
        """Delivery and metric of what was reported."""
        return [(each["delivery_id"], each["metric"]) for each in self._sandbox.get("deliveries")]

    def requests(self) -> list[tuple[str, str, int | None]]:
        """Method, path and status of the requests so far."""
        return [(each["method"], each["path"], each["status"]) for each in self._sandbox.get("requests")]

    def statuses(self) -> list[int | None]:
        """The statuses of the requests so far."""
        return [status for _, _, status in self.requests()]
