"""Alerts of real runs, and the webhook against a real receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import polars as pl
import pytest

from cio_dagster import Alert, AlertError, ManualSegment, Person, Webhook, build_customerio_alerts, customerio_asset
from cio_dagster.sandbox.process import RunningSandbox
from tests.assets.conftest import Dagster, dagster, instance, running, sandbox

__all__ = ["dagster", "instance", "running", "sandbox"]

ROWS = pl.DataFrame({"id": ["a", "b", "b", None], "email": ["a@x.io", None, None, "secret@x.io"]})


def asset_of(frame: pl.DataFrame, spec: Any = None, name: str = "people", **options: Any) -> dg.AssetsDefinition:
    @customerio_asset(spec or Person(), name=name, retry_policy=None, pool=None, **options)
    def asset() -> pl.DataFrame:
        if frame.is_empty():
            raise ValueError("no rows like secret@x.io")
        return frame

    return asset


def alerts_of(
    result: dg.ExecuteInProcessResult, assets: list[Any], instance: dg.DagsterInstance, **options: Any
) -> list[Alert]:
    """What the two sensors tell of a run."""
    told: list[Alert] = []
    for sensor in build_customerio_alerts(assets, told.append, **options):
        [kind] = [kind for kind in ("success", "failure") if sensor.name.endswith(f"_on_{kind}")]
        if result.success == (kind == "success"):
            run = instance.get_run_by_id(result.run_id)
            assert run is not None
            *_, event = (
                each for each in result.all_events if each.event_type_value in ("PIPELINE_SUCCESS", "PIPELINE_FAILURE")
            )
            context = dg.build_run_status_sensor_context(
                sensor_name=sensor.name, dagster_instance=instance, dagster_run=run, dagster_event=event
            )
            sensor(context)
    return told


def test_rejected_rows(dagster: Callable[..., Dagster], instance: dg.DagsterInstance) -> None:
    people, others = asset_of(ROWS), asset_of(ROWS.head(1), name="others")

    @dg.asset
    def stranger() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"rejected": 7})

    result = dagster().run([people, others, stranger])
    [alert] = alerts_of(result, [people, others, stranger], instance, webserver_url="https://dagster.example.com/")
    assert (alert.kind, alert.assets, alert.reasons) == ("rejected", ("people",), {"duplicate_key": 2, "missing_key": 1})
    assert (alert.counts["rejected"], alert.counts["created"]) == (3, 1)
    assert str(alert) == (
        f"people: 3 of 4 rows were rejected (duplicate_key 2, missing_key 1). https://dagster.example.com/runs/{result.run_id}"
    )
    assert "secret" not in repr(alert)


def test_rejected_rows_of_partitions_are_added_up(dagster: Callable[..., Dagster], instance: dg.DagsterInstance) -> None:
    parts = dg.StaticPartitionsDefinition(["x", "y"])
    frame = pl.DataFrame({"id": ["a", None, None], "part": ["x", "x", "y"]})
    people = asset_of(frame, partitions_def=parts, partition_expr="part")
    [alert] = alerts_of(dagster().run([people], partitions=("x", "y")), [people], instance)
    assert alert.text == "2 of 3 rows were rejected (missing_key 2)."


def test_a_guard_and_a_crash(dagster: Callable[..., Dagster], instance: dg.DagsterInstance) -> None:
    vips = asset_of(ROWS.head(1), ManualSegment(name="VIP", behavior="mirror", max_delete=0), "vips")
    assert dagster().run([vips]).success
    vips = asset_of(ROWS.slice(1, 1), ManualSegment(name="VIP", behavior="mirror", max_delete=0), "vips")
    crash = asset_of(ROWS.clear(), name="crash")
    result = dagster().run([vips, crash])
    guard, crashed = sorted(alerts_of(result, [vips, crash], instance), key=lambda alert: alert.assets, reverse=True)
    assert (guard.kind, guard.assets, guard.counts) == ("failed", ("vips",), {"would_remove": 1, "known_rows": 1})
    assert "Nothing was sent: 1 of 1 rows would be removed, more than max_delete=0." in guard.text
    assert (crashed.assets, crashed.text) == (("crash",), "The run failed. ValueError: no rows like secret@x.io")
    assert str(crashed).endswith(f"Run {result.run_id} of __ephemeral_asset_job__.")
    hidden = alerts_of(result, [vips, crash], instance, show_values=False)
    assert {alert.assets[0]: alert.text.split(",")[0] for alert in hidden} == {
        "vips": "The run failed. max_delete",
        "crash": "The run failed. ValueError",
    }
    assert "secret" not in repr(hidden)


def test_refused_by_customerio(dagster: Callable[..., Dagster], sandbox: RunningSandbox, instance: dg.DagsterInstance) -> None:
    people = asset_of(ROWS)
    [alert] = alerts_of(dagster(track_api_key="").run([people]), [people], instance)
    assert alert.kind == "failed"
    assert "CIO_TRACK_API_KEY" in alert.text


def test_what_did_not_run_because_something_else_failed(dagster: Callable[..., Dagster], instance: dg.DagsterInstance) -> None:
    @dg.asset
    def model() -> None:
        raise RuntimeError("broken")

    people, vips = asset_of(ROWS, deps=[model]), asset_of(ROWS, name="vips", deps=[model])
    [alert] = alerts_of(dagster().run([model, people, vips]), [people, vips], instance)
    assert (alert.kind, alert.assets) == ("failed", ("people", "vips"))
    assert "Steps failed: ['model']" in alert.text
    # Nothing of ours was in this run.
    assert alerts_of(dagster().run([model]), [people, vips], instance) == []


def test_a_red_check(dagster: Callable[..., Dagster], instance: dg.DagsterInstance) -> None:
    people = asset_of(ROWS.head(1))

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec("mine", asset=people.key), dg.AssetCheckSpec("mild", asset=people.key)])
    def checks() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(
            check_name="mine", passed=False, description="It holds secret@x.io.", metadata={"differences": 2}
        )
        yield dg.AssetCheckResult(check_name="mild", passed=False, severity=dg.AssetCheckSeverity.WARN)

    result = dagster().run([people, checks])
    [alert] = alerts_of(result, [people], instance)
    assert (alert.kind, alert.assets, alert.counts) == ("check", ("people",), {"differences": 2})
    assert alert.text == "The check mine is red. It holds secret@x.io."
    [hidden] = alerts_of(result, [people], instance, show_values=False)
    assert hidden.text == "The check mine is red."


def test_the_sensors_find_the_runs_themselves_and_a_broken_target_keeps_no_alert_back(
    dagster: Callable[..., Dagster], instance: dg.DagsterInstance
) -> None:
    told: list[str] = []

    def notify(alert: Alert) -> None:
        told.append(alert.assets[0])
        raise OSError("down")

    people, vips = asset_of(ROWS), asset_of(ROWS, name="vips")
    [success] = [
        each for each in build_customerio_alerts([people, vips], notify) if each.name == "customerio_alerts_on_success"
    ]
    with dg.build_sensor_context(instance=instance) as context:
        cursor = success.evaluate_tick(context).cursor
    assert dagster().run([people, vips]).success
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        tick = success.evaluate_tick(context)
    assert told == ["people", "vips"]
    [reaction] = tick.dagster_run_reactions or ()
    assert reaction.error is not None
    assert "down" in reaction.error.message


@dataclass
class Receiver:
    """Answers posts with the statuses it is told to, and 200 after them."""

    url: str
    statuses: list[int] = field(default_factory=list)
    got: list[Any] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}/services/T0KEN")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


ALERT = Alert(
    "rejected",
    ("people",),
    "sync_all",
    "1234",
    "3 of 4 rows were rejected (missing_key 3).",
    {"rejected": 3},
    {"missing_key": 3},
)
SAID = "people: 3 of 4 rows were rejected (missing_key 3). Run 1234 of sync_all."


def test_a_webhook(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS", receiver.url)
    receiver.statuses = [503]
    Webhook(dg.EnvVar("ALERTS"))(ALERT)
    assert receiver.got == [{"text": SAID}] * 2
    Webhook(receiver.url, details=True)(ALERT)
    assert receiver.got[2]["text"] == SAID
    assert receiver.got[2]["alert"]["reasons"] == {"missing_key": 3}
    assert "T0KEN" not in repr(Webhook(receiver.url))


def test_a_webhook_that_does_not_take_it(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.statuses = [404]
    with pytest.raises(AlertError, match=r"^The webhook at 127.0.0.1 did not take an alert: HTTP Error 404: Not Found$"):
        Webhook(receiver.url)(ALERT)
    assert len(receiver.got) == 1
    monkeypatch.delenv("ALERTS", raising=False)
    with pytest.raises(AlertError, match="the variable ALERTS is not set"):
        Webhook(dg.EnvVar("ALERTS"))(ALERT)
    with pytest.raises(AlertError) as caught:
        Webhook("http://127.0.0.1:1/T0KEN with a blank")(ALERT)
    assert "T0KEN" not in str(caught.getrepr(chain=True).reprcrash)
