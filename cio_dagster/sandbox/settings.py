"""The sandbox's settings: each one names a behaviour, most of them behaviours that Customer.io does not document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints


class InvalidSetting(ValueError):
    """A setting that does not exist, or a value that it does not take."""


def _setting(default: Any, why: str, *choices: str) -> Any:
    return field(default=default, metadata={"why": why, "choices": choices})


@dataclass
class Settings:
    """Every switch of the sandbox with its default. The reasons are in each field's metadata and in docs/sandbox.md."""

    # The workspace
    region: str = _setting("us", "Answered by the region call.", "us", "eu")
    environment_id: int = _setting(1, "The workspace's id, answered by the region call.")
    object_types: str = _setting(
        "1:Accounts,2:Courses", "Object types are made in the UI only, so the sandbox is told of them as ID:NAME."
    )
    identifiers: str = _setting(
        "id,email,phone", "Which identifiers the workspace has enabled, of id, email and phone, separated by commas."
    )
    email_update_by_id: bool = _setting(
        False, "The workspace setting 'Allow updates to email using ID'; without it only cio_id may change an email."
    )
    anonymous_merge: bool = _setting(True, "Whether anonymous events join the person who gets their anonymous_id.")

    # Limits
    app_requests_per_second: int = _setting(10, "The App API's limit; 0 turns it off.")
    entity_bytes: int = _setting(32_000, "The most bytes of one v2 operation ('32kb', taken as the smaller reading).")
    batch_bytes: int = _setting(500_000, "The most bytes of a v2 batch ('500kb', taken as the smaller reading).")
    collections: int = _setting(50, "The most collections of a workspace.")
    oversize: str = _setting(
        "400", "What a Track v2 request or operation over its bytes gets; discard answers 200.", "400", "413", "discard"
    )

    # When accepted operations apply
    apply_delay: float = _setting(0.0, "Seconds between the answer and the change; 0 applies before the answer.")
    apply_jitter: float = _setting(0.0, "Up to so many seconds are added to the delay of each operation, which reorders them.")
    apply_seed: int = _setting(0, "Seeds the jitter.")
    clock_offset: float = _setting(0.0, "Seconds added to the sandbox's clock, to look at what time does.")

    # People
    person_unset: str = _setting(
        "both",
        "Which values remove a person's attribute. Documented for objects and relationships (both), not for people.",
        "both",
        "null",
        "empty",
        "none",
    )
    nested_attributes: str = _setting(
        "replace", "Whether a nested value replaces or merges into the one that was there.", "replace", "merge"
    )
    stale_timestamps: str = _setting(
        "attribute",
        "What an update older than the last one loses: the attributes set later, everything, or nothing.",
        "attribute",
        "profile",
        "apply",
    )
    update_miss_activity: str = _setting(
        "v1", "Which surfaces log a failed_attribute_change when _update finds nobody.", "v1", "both", "none"
    )
    device_owner: str = _setting(
        "move", "What happens to a token that another person registers: it moves, or both keep it.", "move", "share"
    )

    # People, objects and types that a call names but that do not exist
    event_unknown_person: str = _setting("create", "An event, page or screen of an unknown person.", "create", "drop", "hold")
    device_unknown_person: str = _setting("create", "A device of an unknown person.", "create", "ignore")
    segment_unknown_people: str = _setting("ignore", "Unknown people added to a segment.", "ignore", "create")
    relationship_unknown_person: str = _setting("create", "A relationship to an unknown person.", "create", "ignore")
    relationship_unknown_object: str = _setting("create", "A relationship to an unknown object.", "create", "ignore")
    unknown_object_type: str = _setting(
        "reject", "A write to an object type that does not exist.", "reject", "ignore", "create"
    )

    # Events
    future_events: str = _setting(
        "accept", "An event whose time has not come: kept, given the receipt time, or refused.", "accept", "now", "reject"
    )
    dedupe_scope: str = _setting("workspace", "Whose events an event id is unique among.", "workspace", "person")
    dedupe_hours: float = _setting(0.0, "How long an event id is remembered; 0 is for ever.")
    invalid_event_id: str = _setting(
        "accept",
        "An event id that is no ULID: stored but never deduplicated, deduplicated all the same, or refused.",
        "accept",
        "dedupe",
        "reject",
    )

    # Requests
    empty_batch: str = _setting("400", "A v2 batch of no operations.", "400", "200")
    duplicate_segment_names: str = _setting("allow", "A second segment of one name.", "allow", "reject")
    duplicate_collection_names: str = _setting("reject", "A second collection of one name.", "reject", "allow")
    page_repeats: int = _setting(0, "How many entries of a page of objects or relationships the next page repeats.")
    export_delay: float = _setting(0.0, "Seconds that an export or a keyed collection write stays pending.")

    def update(self, values: Mapping[str, object]) -> None:
        """Change settings by name; strings are read as the setting's type.

        Raises:
            InvalidSetting: A name or value is not one of ours; nothing is changed.
        """
        types = get_type_hints(type(self))
        known = {each.name: each for each in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InvalidSetting(f"no setting is named {name!r}; there are {', '.join(known)}")
            changes[name] = _read(name, value, types[name], known[name].metadata["choices"])
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Every setting and its value."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def enabled_identifiers(self) -> frozenset[str]:
        """The identifiers of the workspace; ``cio_id`` is always among them."""
        return frozenset(self.identifiers.split(",")) | {"cio_id"}

    @property
    def track_url(self) -> str:
        """The Track API's address in this region, as the region call gives it."""
        return "https://track-eu.customer.io" if self.region == "eu" else "https://track.customer.io"


def _read(name: str, value: object, kind: type, choices: tuple[str, ...]) -> object:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if choices:
        if text not in choices:
            raise InvalidSetting(f"{name} is one of {', '.join(choices)}, not {value!r}")
        return text
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if name == "identifiers":
            return ",".join(_identifiers(text))
        if name == "object_types":
            return ",".join(f"{id}:{label}" for id, label in object_types(text).items())
        read: object = kind(text)
    except (KeyError, ValueError) as error:
        raise InvalidSetting(f"{name} is of type {kind.__name__}, not {value!r}") from error
    if isinstance(read, (int, float)) and read < 0 and name != "clock_offset":
        raise InvalidSetting(f"{name} cannot be negative, not {value!r}")
    return read


def _identifiers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not names or set(names) - {"id", "email", "phone"}:
        raise InvalidSetting(f"identifiers are some of id,email,phone, not {text!r}")
    return names


def object_types(text: str) -> dict[str, str]:
    """Read ``1:Accounts,2:Courses`` as ids and names.

    Raises:
        InvalidSetting: An id is not a positive integer; those are what Customer.io gives them.
    """
    types: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        id, _, name = entry.partition(":")
        if not id.isdecimal() or int(id) < 1:
            raise InvalidSetting(f"an object type is ID:NAME with a positive integer ID, not {entry!r}")
        types[str(int(id))] = name or f"Objects {id}"
    return types
