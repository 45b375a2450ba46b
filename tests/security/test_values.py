"""`show_values=False`: what rows hold is in nothing that Dagster keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import CustomerIO, CustomerIOIOManager, ManualSegment, Person, customerio_asset, outcomes
from cio_dagster.report import hashed
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from tests.deliver.scripted import scripted
from tests.security.found import where

KEY, VALUE, CHANGED, BAD, GONE, EMAIL = (
    "zq-person-1",
    "zq-value-free",
    "zq-value-pro",
    "zq-bad-2",
    "zq-gone-3",
    "zq@example.com",
)
SECRETS = (KEY, VALUE, CHANGED, BAD, GONE, EMAIL)
# Two rows with one key, one without; two people with one email; two ids that differ by case only.
PEOPLE = pl.DataFrame(
    {"id": [KEY, BAD, BAD, None, GONE, GONE.upper()], "plan": [VALUE] * 6, "email": [EMAIL, None, None, None, EMAIL, None]}
)
ENUM = pl.Enum([VALUE, CHANGED])


def everything(
    frames: list[pl.LazyFrame], url: str, state: Path, home: Path, *, shown: bool
) -> list[dg.ExecuteInProcessResult]:
    """Run the frames one after the other, each dry first; then a mirror that a guard stops."""

    @customerio_asset(Person(nulls="clear"), retry_policy=None)
    def people() -> pl.LazyFrame:
        return frames[0]

    @customerio_asset(ManualSegment(name="s", behavior="mirror", max_delete=0), retry_policy=None)
    def members() -> pl.LazyFrame:
        return frames[0].select("id")

    workspace = CustomerIO(site_id="s", track_api_key="k", app_api_key="a", track_url=url, app_url=url, attempts=1)
    manager = CustomerIOIOManager(customerio=workspace, state=str(state), show_values=shown)
    results: list[dg.ExecuteInProcessResult] = []
    with dg.instance_for_test(temp_dir=str(home)) as instance:
        while frames:
            for dry in (True, False):
                config = {"ops": {name: {"config": {"dry_run": dry}} for name in ("people", "members")}}
                results.append(
                    dg.materialize(
                        [people, members],
                        instance=instance,
                        resources={"customerio": manager},
                        run_config=config,
                        raise_on_error=False,
                    )
                )
            frames.pop(0)
    return results


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with run_sandbox() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


FRAMES = [
    PEOPLE.lazy().with_columns(plan=pl.col("plan").cast(ENUM)),
    pl.LazyFrame({"id": [KEY], "plan": [CHANGED]}),
    # A frame that fails when it is read, and says on which value.
    pl.LazyFrame({"id": [KEY], "plan": [VALUE]}).with_columns(pl.col("plan").cast(pl.Int64)),
]


def test_no_value_is_in_dagsters_home(sandbox: RunningSandbox, tmp_path: Path, home: Path, capfd: Any) -> None:
    sandbox.reset()
    results = everything(list(FRAMES), sandbox.url, tmp_path / "state", home, shown=False)
    assert [result.success for result in results] == [True, True, True, False, False, False]
    assert [each["attributes"]["plan"] for each in sandbox.get("people") if each["id"] == KEY] == [CHANGED]
    said = capfd.readouterr()
    for value in (*SECRETS, GONE.upper()):
        assert where(value, home) == []
        assert value not in said.out + said.err
        # The state has it all the same.
        assert value == BAD or where(value, tmp_path / "state")
    assert where(hashed(KEY), home)
    assert where("duplicate", home)
    assert outcomes(tmp_path / "state").filter(pl.col("key") == KEY).collect().height
    update = results[2].asset_observations_for_node("people")[0].metadata["changes"]
    assert isinstance(update, dg.TableMetadataValue)
    shown = {"operation": "update", "key": hashed(KEY), "attribute": "plan", "before": "", "after": ""}
    assert [record.data for record in update.records] == [shown]


def test_with_values_they_are_there(sandbox: RunningSandbox, tmp_path: Path, home: Path) -> None:
    """The same runs without the setting: what the test above looks for would be found."""
    sandbox.reset()
    everything(FRAMES[:2], sandbox.url, tmp_path / "state", home, shown=True)
    for value in SECRETS:
        assert where(value, home)


@pytest.mark.parametrize("status", [207, 400, 402])
def test_customerios_words_are_not_shown(tmp_path: Path, home: Path, status: int) -> None:
    """They quote what was sent."""
    error = {"batch_index": 0, "reason": "invalid", "field": "id", "message": f"{KEY} has {VALUE}"}

    def reply(method: str, path: str, body: Any) -> tuple[int, Any]:
        return status, {"errors": [error], "meta": {"error": f"{KEY} has {VALUE}"}}

    with scripted(reply) as server:
        everything([pl.LazyFrame({"id": [KEY], "plan": [VALUE]})], server.url, tmp_path / "state", home, shown=False)
    for value in (KEY, VALUE):
        assert where(value, home) == []
    assert where("status 402" if status == 402 else "invalid", home)
