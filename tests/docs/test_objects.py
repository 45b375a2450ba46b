"""The pages on objects: their examples arrive, what they say is sent is what is sent, and no setting is left out."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import polars as pl
import pytest

import cio_dagster
from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.specs import AnySpec, find_spec
from cio_dagster.testing import MaterializeToSandbox, assert_no_failures
from tests.docs.pages import DOCS, blocks, fields, prose, section, settings
from tests.plans import Planned, planned

SPECS = {
    "people": "Person",
    "devices": "Device",
    "events": "Event",
    "collections": "Collection",
    "segments": "ManualSegment",
    "objects": "Object",
    "relationships": "Relationship",
}


def example(page: str) -> tuple[dg.AssetsDefinition, AnySpec, pl.DataFrame]:
    """The page's first block: its asset, and the rows that it gives."""
    names: dict[str, Any] = {}
    exec(next(each.text for each in blocks(DOCS / "objects" / f"{page}.md") if each.language == "python"), names)
    [asset] = [each for each in names.values() if isinstance(each, dg.AssetsDefinition)]
    spec = find_spec(asset.metadata_by_key[asset.key])
    assert spec is not None
    return asset, spec, names["rows"]


def bodies(page: str, title: str) -> list[Any]:
    """The operations in the page's block of JSON with this title."""
    [text] = [each.text for each in blocks(DOCS / "objects" / f"{page}.md") if (each.language, each.title) == ("json", title)]
    request = json.loads(text)
    [operations] = [request[name] for name in ("batch", "ids", "data") if name in request]
    return list(operations)


@pytest.mark.parametrize(("page", "spec"), SPECS.items())
def test_every_setting_is_described_with_its_default(page: str, spec: str) -> None:
    described = settings(section(prose(DOCS / "objects" / f"{page}.md"), "## Settings"))
    assert described == {name: default for name, default in fields(getattr(cio_dagster, spec)).items() if name != "object"}


@pytest.mark.parametrize("page", SPECS)
def test_what_is_said_to_be_sent_is_sent(page: str) -> None:
    _, spec, rows = example(page)
    first = planned(rows, spec)
    assert first.bodies() == bodies(page, "")
    if page == "people" or (spec.removes and page != "collections"):
        assert removals(spec, rows, first) == bodies(page, "mirror")


def removals(spec: AnySpec, rows: pl.DataFrame, first: Planned) -> list[Any]:
    """What a mirror sends when the last row has left."""
    mirror = spec.model_copy(update={"behavior": "mirror", "delete_people": True})
    return planned(rows.head(len(rows) - 1), mirror, snapshot=first.snapshot(None, spec)).bodies("delete")


def test_the_examples_arrive(materialize_to_sandbox: MaterializeToSandbox, customerio_sandbox: RunningSandbox) -> None:
    # In the order of the pages: people first.
    materialize_to_sandbox([example(page)[0] for page in SPECS])
    assert_no_failures(customerio_sandbox)
    held = {
        kind: len(customerio_sandbox.get(kind))
        for kind in ("people", "devices", "events", "collections", "objects", "relationships")
    }
    assert held == {"people": 2, "devices": 2, "events": 2, "collections": 1, "objects": 2, "relationships": 2}
    assert len(customerio_sandbox.get("segments")[0]["members"]) == 2
