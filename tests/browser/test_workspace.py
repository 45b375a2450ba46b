"""The shipped workspace under a real `dagster dev`: through GraphQL as the UI asks it, and in a browser as a user sees it.

The tests are one story on one server: it loads, everything is synced, a day passes in the warehouse, and somebody looks at what changed, tries it
dry, runs it, and reads what became of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.warehouse import advance_one_day

from .chromium import open_browser, picture
from .dagster_dev import LOCATION, DagsterDev, run_dagster_dev

pytestmark = pytest.mark.timeout(600)

SYNCS = ["people", "devices", "orders", "plans", "vip_customers", "accounts", "account_members"]
SENSOR = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "sensorName": "warehouse_changes"}


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    with run_dagster_dev(tmp_path_factory.mktemp("dagster")) as running:
        yield running


@pytest.fixture(scope="module")
def synced(dagster: DagsterDev) -> DagsterDev:
    """After everything was synced once; of the orders, yesterday's."""
    runs = [
        dagster.launch([name for name in SYNCS if name != "orders"]),
        dagster.launch(["orders"], partition=str(date.today() - timedelta(days=1))),
    ]
    assert [dagster.wait(run) for run in runs] == ["SUCCESS", "SUCCESS"]
    return dagster


@pytest.fixture(scope="module")
def a_day_later(synced: DagsterDev) -> DagsterDev:
    """After a day passed in the warehouse. The sensor has seen the day before, and is stopped, so that it runs nothing by itself."""
    state = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
      ... on Sensor { sensorState { id status ticks(limit: 1) { cursor } } } } }"""
    for _ in range(300):
        found = synced.query(state, selector=SENSOR)["sensorOrError"]["sensorState"]
        if found["ticks"] and found["ticks"][0]["cursor"]:
            break
        time.sleep(0.2)
    assert found["status"] == "RUNNING"
    stopped = synced.query("mutation($id: String) { stopSensor(id: $id) { __typename } }", id=found["id"])
    assert stopped["stopSensor"]["__typename"] == "StopSensorMutationResult"
    advance_one_day(synced.warehouse)
    return synced


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_browser() as opened:
        yield opened


def test_it_loads_without_a_warning(dagster: DagsterDev) -> None:
    entries = dagster.query(
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename ... on PythonError { message } } } } } }"
    )["workspaceOrError"]["locationEntries"]
    assert [(entry["name"], entry["locationOrLoadError"]["__typename"]) for entry in entries] == [
        (LOCATION, "RepositoryLocation")
    ]
    # Dagster's own word that `dagster dev` has a successor is not about what it loads.
    lines = [line for line in dagster.log.read_text().splitlines() if "superseded" not in line]
    assert not [line for line in lines if re.search("warning", line, re.IGNORECASE)]


def test_the_lineage_reads_table_asset_customerio(dagster: DagsterDev) -> None:
    nodes = dagster.query("{ assetNodes { assetKey { path } dependencyKeys { path } kinds } }")["assetNodes"]
    upstream = {"/".join(node["assetKey"]["path"]): {"/".join(key["path"]) for key in node["dependencyKeys"]} for node in nodes}
    assert upstream["people"] == {"raw/customers"}
    assert upstream["orders"] == {"raw/orders", "people"}
    assert upstream["customerio_workspace"] == set(SYNCS)
    assert all("customerio" in node["kinds"] for node in nodes if node["assetKey"]["path"] in [[name] for name in SYNCS])


def test_everything_materializes_and_no_secret_is_shown(synced: DagsterDev) -> None:
    counts = synced.sandbox.get("counts")
    assert all(
        counts[name] for name in ("people", "devices", "events", "segment_members", "objects", "relationships", "collections")
    )
    events = synced.query(
        "{ assetsOrError { ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) "
        "{ metadataEntries { label ... on IntMetadataEntry { intValue } } } } } } }"
    )["assetsOrError"]["nodes"]
    rejected = {
        node["key"]["path"][-1]: entry["intValue"]
        for node in events
        for event in node["assetMaterializations"]
        for entry in event["metadataEntries"]
        if entry["label"] == "rejected"
    }
    assert rejected["people"] == 9
    everything = synced.log.read_text() + json.dumps(events)
    assert "a-secret-track-key" not in everything
    assert "a-secret-app-key" not in everything


def test_the_sensor_asks_for_the_syncs_of_changed_tables(a_day_later: DagsterDev) -> None:
    tick = """mutation($selector: SensorSelector!, $cursor: String) { sensorDryRun(selectorData: $selector, cursor: $cursor) {
      __typename ... on PythonError { message } ... on DryRunInstigationTick { evaluationResult {
        cursor skipReason error { message } runRequests { runKey assetSelection { path } } } } } }"""
    state = "query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { ticks(limit: 1) { cursor } } } } }"
    seen = a_day_later.query(state, selector=SENSOR)["sensorOrError"]["sensorState"]["ticks"][0]["cursor"]
    first = a_day_later.query(tick, selector=SENSOR, cursor=None)["sensorDryRun"]["evaluationResult"]
    assert first["skipReason"] == "This is the first look: what is there now counts as known."
    second = a_day_later.query(tick, selector=SENSOR, cursor=seen)["sensorDryRun"]["evaluationResult"]
    assert second["error"] is None
    requested = [{key["path"][-1] for key in request["assetSelection"]} for request in second["runRequests"]]
    assert requested == [set(SYNCS) - {"orders"}]
    # The orders come once the people are there: no run was launched here that they would have to wait for.
    third = a_day_later.query(tick, selector=SENSOR, cursor=second["cursor"])["sensorDryRun"]["evaluationResult"]
    assert [key["path"][-1] for request in third["runRequests"] for key in request["assetSelection"]] == ["orders"]


def test_the_lineage_is_drawn_from_tables_to_customerio(page: Page, synced: DagsterDev) -> None:
    page.goto(f"{synced.url}/assets/customerio_workspace?view=lineage&lineageScope=upstream&lineageDepth=2")
    # There is nothing further upstream.
    expect(page.get_by_role("button", name="All", exact=True)).to_be_disabled()
    page.get_by_role("button", name="settings", exact=True).last.click()
    page.get_by_role("menuitem", name="Change graph to vertical orientation").click()
    # A table and its sync have one name, and are in two groups.
    for name in ("accounts", "account_members", "devices", "orders", "plans"):
        expect(page.get_by_text(name, exact=True)).to_have_count(2)
    for name in ("customerio", "warehouse", "customers", "people", "vip_customers"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    picture(page, "lineage")


def test_a_preview_of_the_sensor_asks_for_runs(page: Page, a_day_later: DagsterDev) -> None:
    page.goto(f"{a_day_later.url}/locations/{LOCATION}/sensors/warehouse_changes")
    expect(page.get_by_role("row", name="Running").get_by_role("checkbox")).not_to_be_checked()
    page.get_by_role("button", name="Preview tick result").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.get_by_text("1 run request")).to_be_visible()


def test_a_dry_run_shows_what_would_change(page: Page, a_day_later: DagsterDev) -> None:
    before = a_day_later.sandbox.get("people")
    launchpad = open_launchpad(page, a_day_later, "people")
    line = launchpad.locator("pre").filter(has_text="dry_run:")
    line.click()
    for key in ("End", "Control+Shift+ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.type("true")
    expect(line).to_have_text("dry_run: true")
    watch(page, launchpad)

    page.goto(f"{a_day_later.url}/assets/people?view=events")
    expect(page.get_by_text("Observed in run")).to_be_visible()
    assert int(number(page, "would_create")) == 3
    assert int(number(page, "would_update")) > 0
    expect(page.get_by_role("columnheader", name="operation").first).to_be_visible()
    picture(page, "dry_run")
    assert a_day_later.sandbox.get("people") == before


def test_a_run_from_the_launchpad_is_watched_and_read(page: Page, a_day_later: DagsterDev) -> None:
    before = len(a_day_later.sandbox.get("people"))
    watch(page, open_launchpad(page, a_day_later, "people"))
    page.reload()
    expect(page.get_by_text("ASSET_MATERIALIZATION", exact=True)).to_be_visible()
    picture(page, "run")
    assert len(a_day_later.sandbox.get("people")) == before + 3

    page.goto(f"{a_day_later.url}/assets/people")
    expect(page.get_by_role("row").filter(has_text="created").first).to_be_visible()
    page.get_by_role("button", name="Plots").click()
    expect(page.locator("canvas").first).to_be_visible()
    picture(page, "plots")

    page.goto(f"{a_day_later.url}/assets/people?view=events")
    expect(page.get_by_text("Materialized in run")).to_be_visible()
    assert int(number(page, "created")) == 3
    rejects = page.get_by_role("row").filter(has=page.get_by_role("cell", name="invalid_email")).last
    expect(rejects).to_contain_text("is no email address")
    picture(page, "rejects", at=rejects)


def test_the_sandboxs_page_shows_what_arrived(page: Page, a_day_later: DagsterDev) -> None:
    sandbox = a_day_later.sandbox
    counts = sandbox.get("counts")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(sandbox.url)
    page.get_by_role("link", name=f"{counts['people']} people").click()
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    page.get_by_role("searchbox", name="Id, email or phone").fill("cus_000042")
    page.keyboard.press("Enter")
    page.get_by_role("table", name="People").get_by_role("link", name="cus_000042").click()
    attributes = page.get_by_role("table", name="Attributes")
    expect(attributes.get_by_role("row").filter(has=page.get_by_role("rowheader", name="full_name"))).to_contain_text("string")
    page.get_by_role("link", name="Segments").click()
    page.get_by_role("link", name="VIP customers").click()
    expect(page.get_by_text(f"{counts['segment_members']} members.")).to_be_visible()
    page.get_by_role("link", name="cio-sandbox").click()
    expect(page.get_by_role("img", name="Requests over time")).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table", name="Requests and operations over time").get_by_role("row").nth(1)).to_be_visible()
    page.get_by_text("The same as a table").click()
    picture(page, "sandbox")
    # By the keyboard alone: past the navigation, to the content.
    page.keyboard.press("Home")
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    assert problems == []


def open_launchpad(page: Page, dagster: DagsterDev, asset: str) -> Locator:
    """The launchpad of an asset, with its configuration scaffolded."""
    page.goto(f"{dagster.url}/assets/{asset}")
    page.get_by_role("button", name="arrow_drop_down", exact=True).click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    launchpad = page.get_by_role("dialog").filter(has_text="Launchpad")
    expect(launchpad.get_by_text("No errors")).to_be_visible()
    expect(launchpad.locator("pre").filter(has_text="dry_run:")).to_be_visible()
    return launchpad


def watch(page: Page, launchpad: Locator) -> None:
    """Launch, and watch the run until it has succeeded."""
    launchpad.get_by_role("button", name="Materialize").click()
    page.wait_for_url("**/runs/*")
    expect(page.get_by_text("Success", exact=True)).to_be_visible()


def number(page: Page, name: str) -> str:
    """The value of a metadata entry on the page."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True)).first
    expect(row).to_be_visible()
    text: Any = row.get_by_role("cell").nth(1).inner_text()
    return str(text)
