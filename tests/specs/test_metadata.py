"""Specs as asset metadata, and back."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import dagster as dg
import pytest

from cio_dagster import Collection, Constant, Device, Event, ManualSegment, Object, Person, Relationship
from cio_dagster.specs import METADATA_KEY, AnySpec, find_spec, read_spec

SPECS: list[AnySpec] = [
    Person(),
    Person(key="email", column="mail", behavior="mirror", delete_people=True, max_delete=0.5, nulls={"a": "clear"}),
    Person(attributes={"a.b": "c", "n": Constant(value=1), "t": Constant(value=True), "f": Constant(value=1.0)}),
    Person(max_delete=1.0, max_rejected=1, dates={"a": "iso"}, naive_timezone="Europe/Berlin", keep_newest_by="updated_at"),
    Person(max_new_people=1.0, max_changed=1, identity_checks={"shared_email": "reject", "changed_email": "send"}),
    Device(last_used="seen", behavior="mirror", max_delete=0),
    Event(row_id="r", name="x", timestamp="t", start=datetime(2026, 1, 1, tzinfo=timezone.utc)),
    Event(row_id="r", name_column="n", key="anonymous_id", kind="page", start="now", anonymous_endpoint="v2"),
    Collection(name="plans", max_delete=1),
    Collection(id=7),
    ManualSegment(id=3, key="cio_id", behavior="mirror", baseline="customerio", cio_id_prefix=False),
    Object(object_type_id=2, behavior="mirror", send="all"),
    Relationship(object_type_id=2, object_column="o", key="email", column="p", nulls="clear"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.object)
def test_a_spec_survives_json(spec: AnySpec) -> None:
    metadata = json.loads(json.dumps(spec.to_metadata()))
    found = find_spec({"owner": "me"} | metadata)
    assert found == spec
    assert type(found) is type(spec)
    assert json.dumps(found.to_metadata()) == json.dumps(metadata), "1, 1.0 and true are told apart"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.object)
def test_a_spec_survives_dagster(spec: AnySpec) -> None:
    assert find_spec(dg.AssetSpec("a", metadata=spec.to_metadata()).metadata) == spec
    assert find_spec({METADATA_KEY: dg.MetadataValue.json(spec.to_metadata()[METADATA_KEY])}) == spec


def test_a_spec_under_any_key_is_found() -> None:
    assert find_spec({"whatever": Person(), "x": 1}) == Person()
    assert find_spec({"x": 1}) is None
    assert find_spec({}) is None


def test_metadata_that_is_no_spec_is_an_error() -> None:
    with pytest.raises(ValueError, match="object"):
        find_spec({METADATA_KEY: {"key": "id"}})
    with pytest.raises(ValueError, match="'person'"):
        read_spec({"object": "people"})
