"""Alerts: what went wrong in a run, told to whoever should know, by run-status sensors."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from typing import Any, Literal, TypeAlias
from urllib.error import HTTPError
from urllib.parse import urlsplit

import dagster as dg
import stamina

from cio_dagster.errors import SyncError
from cio_dagster.io_manager import WITHHELD
from cio_dagster.specs import find_spec

COUNTED = ("no_rejected_rows", "delivered_as_planned")
"""Checks that are red for what the counts of a run say already."""

EVENTS = {
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
}


@dataclass(frozen=True)
class Alert:
    """Something that went wrong in a run.

    kind
        `failed`: the run of an asset failed. `rejected`: it went well, but for some rows. `check`: a check of it is red.
    assets
        The asset; where a run broke down before or after its assets, all of the run's.
    text
        What happened, in a sentence or a few.
    counts
        The numbers of the materialisation, of the failure, or of the check.
    reasons
        Rejected rows by reason.
    link
        The run in Dagster's UI; None where `webserver_url` was not given.
    """

    kind: Literal["failed", "rejected", "check"]
    assets: tuple[str, ...]
    job: str
    run_id: str
    text: str
    counts: dict[str, int | float] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    link: str | None = None

    def __str__(self) -> str:
        return f"{', '.join(self.assets)}: {self.text} {self.link or f'Run {self.run_id} of {self.job}.'}"


Notify: TypeAlias = Callable[[Alert], None]


class AlertError(SyncError):
    """An alert could not be sent. Never holds the address, which may be a secret."""


@dataclass(frozen=True)
class Webhook:
    """Posts alerts to a URL, as JSON: `text`, as Slack's incoming webhooks and those like them take it.

    url
        The address; as `dagster.EnvVar` if it is a secret, as Slack's are.
    details
        Whether to add the alert itself, as `alert`. For receivers of your own.
    timeout
        Seconds for an answer. Three tries are made.

    Raises AlertError.
    """

    url: str = field(repr=False)
    details: bool = False
    timeout: float = 10

    def __call__(self, alert: Alert) -> None:
        """Send an alert."""
        url = self.url.get_value() if isinstance(self.url, dg.EnvVar) else self.url
        if not url or not url.startswith(("https://", "http://")):
            named = f"the variable {self.url.env_var_name} is" if isinstance(self.url, dg.EnvVar) else "url is"
            raise AlertError(
                f"There is no webhook to send the alert to: {named} not set, or no address with https:// or http://."
            )
        body = {"text": str(alert), **({"alert": asdict(alert)} if self.details else {})}
        headers = {"Content-Type": "application/json"}
        try:
            for attempt in stamina.retry_context(on=_may_pass, attempts=3, wait_initial=0.5, wait_max=5):
                with attempt:
                    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
                    with urllib.request.urlopen(request, timeout=self.timeout):
                        return
        except (OSError, HTTPException) as error:
            # An HTTPException may quote the address.
            said = error if isinstance(error, OSError) else type(error).__name__
            raise AlertError(f"The webhook at {urlsplit(url).hostname} did not take an alert: {said}") from None


def _may_pass(error: Exception) -> bool:
    """Whether another try may help. (HTTPError is an OSError, as time-outs and lost connections are.)"""
    if isinstance(error, HTTPError):
        return error.code == 429 or error.code >= 500
    return isinstance(error, (OSError, HTTPException))


def build_customerio_alerts(
    assets: Iterable[Any],
    notify: Notify,
    *,
    name: str = "customerio_alerts",
    webserver_url: str | None = None,
    show_values: bool = True,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> list[dg.SensorDefinition]:
    """Two sensors, NAME_on_failure and NAME_on_success, that tell of failed runs, rejected rows and red checks of the Customer.io assets among these.

    notify
        What is called with each Alert: a Webhook, or any function. Where it raises, the rest are told all the same, and the sensor's tick
        fails; Dagster does not tell of that run again.
    webserver_url
        Where Dagster's UI is, such as `https://dagster.example.com`, for links.
    show_values
        Whether an alert may quote errors and checks, which may hold what rows hold. With False it says of them no more than their kind. Rejected rows
        are told by number and reason in any case.
    """
    keys = {
        key
        for asset in assets
        if isinstance(asset, dg.AssetsDefinition)
        for key in asset.keys
        if find_spec(asset.metadata_by_key.get(key) or {}) is not None
    }

    def tell(context: dg.RunStatusSensorContext) -> None:
        run = context.dagster_run
        link = f"{webserver_url.rstrip('/')}/runs/{run.run_id}" if webserver_url else None
        alerts = list(_alerts(_Run(context.instance, run, context.dagster_event, keys, link, show_values)))
        with ExitStack() as stack:  # Calls them all, and then raises what one raised.
            for alert in reversed(alerts):
                stack.callback(notify, alert)

    return [
        dg.run_status_sensor(
            run_status=status,
            name=f"{name}_on_{status.value.lower()}",
            description=f"Tells of {what} of Customer.io assets.",
            default_status=default_status,
        )(tell)
        for status, what in (
            (dg.DagsterRunStatus.FAILURE, "failed runs"),
            (dg.DagsterRunStatus.SUCCESS, "rejected rows and red checks"),
        )
    ]


@dataclass(frozen=True)
class _Run:
    """A run that has ended, and what may be said of it."""

    instance: dg.DagsterInstance
    run: dg.DagsterRun
    last_event: dg.DagsterEvent
    keys: set[dg.AssetKey]
    link: str | None
    show_values: bool

    def alert(
        self, kind: Literal["failed", "rejected", "check"], assets: Iterable[dg.AssetKey], text: str, **more: Any
    ) -> Alert:
        names = tuple(sorted(key.to_user_string() for key in assets))
        return Alert(kind, names, self.run.job_name, self.run.run_id, text, link=self.link, **more)


def _alerts(run: _Run) -> Iterator[Alert]:
    events = [entry.dagster_event for entry in run.instance.all_logs(run.run.run_id, of_type=EVENTS) if entry.dagster_event]
    of_type = {kind: [event for event in events if event.event_type == kind] for kind in EVENTS}
    steps: dict[str | None, set[dg.AssetKey]] = {}
    for event in of_type[dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED]:
        if event.asset_key in run.keys:
            steps.setdefault(event.step_key, set()).add(event.asset_key)
    failures = [event for event in of_type[dg.DagsterEventType.STEP_FAILURE] if event.step_key in steps]
    yield from (_failed(run, event, steps[event.step_key]) for event in failures)
    if run.run.status == dg.DagsterRunStatus.FAILURE and steps and not failures:
        yield run.alert("failed", set().union(*steps.values()), f"The run failed. {run.last_event.message or ''}".strip())
    yield from _rejected(run, of_type[dg.DagsterEventType.ASSET_MATERIALIZATION])
    for event in of_type[dg.DagsterEventType.ASSET_CHECK_EVALUATION]:
        check = event.asset_check_evaluation_data
        red = not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
        if red and check.asset_key in run.keys and check.check_name not in COUNTED:
            said = f" {check.description}" if check.description and run.show_values else ""
            yield run.alert(
                "check", [check.asset_key], f"The check {check.check_name} is red.{said}", counts=_numbers(check.metadata)
            )


def _failed(run: _Run, event: dg.DagsterEvent, assets: Iterable[dg.AssetKey]) -> Alert:
    data = event.step_failure_data
    ours = data.user_failure_data
    metadata = (ours.metadata if ours else None) or {}
    error = (data.error.cause or data.error) if data.error else None
    if run.show_values:
        said = (ours.description if ours else None) or (error.message.strip() if error else "There is no error; see the run.")
    else:
        kind = metadata["guard"].value if "guard" in metadata else (error.cls_name if error else None) or "an error"
        said = f"{kind}, {WITHHELD}"
    return run.alert("failed", assets, f"The run failed. {said}", counts=_numbers(metadata), reasons=_reasons([metadata]))


def _rejected(run: _Run, events: Iterable[dg.DagsterEvent]) -> Iterator[Alert]:
    found: dict[dg.AssetKey, list[Any]] = {}
    for event in events:
        key = event.step_materialization_data.materialization.asset_key
        if key in run.keys:
            found.setdefault(key, []).append(event.step_materialization_data.materialization.metadata)
    for key, partitions in found.items():
        counts: dict[str, int | float] = {}
        for metadata in partitions:
            for name, number in _numbers(metadata).items():
                counts[name] = counts.get(name, 0) + number
        if not counts.get("rejected"):
            continue
        reasons = _reasons(partitions)
        said = ", ".join(f"{reason} {rows:,}" for reason, rows in reasons.items())
        text = f"{counts['rejected']:,} of {counts.get('source_rows', 0):,} rows were rejected ({said})."
        yield run.alert("rejected", [key], text, counts=counts, reasons=reasons)


def _numbers(metadata: Any) -> dict[str, int | float]:
    return {name: each.value for name, each in metadata.items() if isinstance(each.value, (int, float))}


def _reasons(metadata: Iterable[Any]) -> dict[str, int]:
    """Rejected rows by reason, most first."""
    found: dict[str, int] = {}
    for each in metadata:
        table = each.get("rejects")
        for record in table.records if isinstance(table, dg.TableMetadataValue) else []:
            reason = str(record.data["reason"])
            found[reason] = found.get(reason, 0) + int(str(record.data["rows"]))
    return dict(sorted(found.items(), key=lambda each: -each[1]))
