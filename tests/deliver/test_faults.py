"""Failures of the network and the server: what is tried again, for how long, and what is kept when it does not help."""

from __future__ import annotations

import email.utils
import threading
import time
import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from cio_dagster.deliver import Connection, check_connection
from cio_dagster.errors import CredentialsRefused, DeliveryError, RegionMismatch, RequestRefused, StateError, Unavailable
from cio_dagster.specs import Collection, Event, ManualSegment, Person
from cio_dagster.sync import sync
from tests.engine import APP_KEY, TRACK_KEY, Engine, frame_of

PERSON = Person()
EVENT = Event(row_id="id", column="id", name="seen", start="all")
BATCH = "/api/v2/batch"


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"p{n:03}", "plan": "free"} for n in range(first, first + count)]


def small(engine: Engine) -> dict[str, Any]:
    """Settings that make about ten operations a request."""
    return {"batch_bytes": 1_000}


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": True},
        {"drop_answer": True},
        {"reset_mid_body": True},
        {"garbage": True},
        {"status": 408},
        {"status": 429},
        {"status": 500},
        {"status": 502, "apply": True},
        {"status": 503, "body": "<html>maintenance</html>"},
        {"status": 504},
        {"status": 522},
        {"status": 599},
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again_and_no_event_comes_twice(engine: Engine, fault: dict[str, Any]) -> None:
    engine.sandbox.faults([{"path": BATCH, "times": 5, **fault}])
    report = engine.sync(EVENT, rows(40), **small(engine))
    assert report.error is None
    assert (report.sent, report.retries) == (40, 5)
    names = [each["id"] for each in engine.sandbox.get("events")]
    assert len(names) == len(set(names)) == 40


def test_a_slow_answer_is_not_waited_for(engine: Engine) -> None:
    engine.sandbox.faults([{"path": BATCH, "delay": 1.5, "times": 1}])
    begun = time.monotonic()
    report = engine.sync(EVENT, rows(5), timeout=0.3)
    assert (report.sent, report.retries) == (5, 1)
    assert time.monotonic() - begun < 1.5
    assert len(engine.sandbox.get("events")) == 5
    # The late answer goes into the sandbox's log, and that into this test.
    time.sleep(1.6)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"reset": True}, {"garbage": True}], ids=str)
def test_tries_are_counted(engine: Engine, fault: dict[str, Any]) -> None:
    engine.sandbox.faults([{"path": BATCH, **fault}])
    report = engine.sync(PERSON, rows(3), attempts=4)
    assert isinstance(report.error, Unavailable)
    assert "tried 4 times" in str(report.error)
    assert (report.pending, report.created) == (3, 0)
    assert len(engine.requests(BATCH)) == 4
    engine.sandbox.faults([])
    assert engine.sync(PERSON, rows(3)).created == 3


@pytest.mark.parametrize("status", [400, 404, 409, 410])
def test_other_4xx_are_not_tried_again(engine: Engine, status: int) -> None:
    engine.sandbox.faults([{"path": BATCH, "status": status}])
    report = engine.sync(PERSON, rows(1))
    assert len(engine.requests(BATCH)) == 1
    assert report.created == 0


def test_retry_after_in_seconds_holds_the_whole_api(engine: Engine) -> None:
    engine.sandbox.faults([{"path": BATCH, "status": 429, "headers": {"Retry-After": "1"}, "times": 1, "after": 1}])
    report = engine.sync(PERSON, rows(100), concurrency=1, **small(engine))
    assert report.created == 100
    log = engine.requests(BATCH)
    turned_away = next(each for each in log if each["status"] == 429)
    assert min(each["time"] for each in log if each["time"] > turned_away["time"]) - turned_away["time"] >= 0.95
    assert report.throttled_seconds >= 0.7


def test_retry_after_as_a_date(engine: Engine) -> None:
    when = email.utils.formatdate(time.time() + 2, usegmt=True)
    engine.sandbox.faults([{"path": BATCH, "status": 429, "headers": {"Retry-After": when}, "times": 1}])
    engine.sync(PERSON, rows(1))
    first, second = engine.requests(BATCH)
    assert 0.9 < second["time"] - first["time"] < 3


@pytest.mark.parametrize("after", ["0", "-3", "nan", "inf-ish", "", "soon"])
def test_an_odd_retry_after_is_as_none(engine: Engine, after: str) -> None:
    engine.sandbox.faults([{"path": BATCH, "status": 429, "headers": {"Retry-After": after}, "times": 2}])
    begun = time.monotonic()
    assert engine.sync(PERSON, rows(1)).created == 1
    assert time.monotonic() - begun < 2


def test_a_401_stops_the_run_and_keeps_what_was_accepted(engine: Engine) -> None:
    engine.sandbox.faults([{"path": BATCH, "status": 401, "after": 5}])
    report = engine.sync(PERSON, rows(2_000), concurrency=2, **small(engine))
    assert isinstance(report.error, CredentialsRefused)
    assert "CIO_TRACK_API_KEY" in str(report.error)
    assert report.created > 0
    assert report.created == len(engine.sandbox.get("people"))
    assert report.pending == 2_000 - report.created
    assert len(engine.requests(BATCH)) <= 5 + 2
    engine.sandbox.faults([])
    assert engine.sync(PERSON, rows(2_000)).created == 2_000 - report.created


def test_wrong_credentials_are_said_before_anything_is_sent(engine: Engine) -> None:
    with pytest.raises(CredentialsRefused, match="CIO_SITE_ID and CIO_TRACK_API_KEY"):
        engine.sync(PERSON, rows(1), track_api_key=SecretStr("wrong"))
    assert engine.requests(BATCH) == []
    assert engine.state().snapshot() is None


@pytest.mark.parametrize("changes", [{"site_id": ""}, {"site_id": "a:b"}, {"track_api_key": SecretStr(" ")}], ids=str)
def test_credentials_that_cannot_be_right_are_not_sent(engine: Engine, changes: dict[str, Any]) -> None:
    with pytest.raises(CredentialsRefused, match="CIO_SITE_ID"):
        check_connection(engine.connection(**changes))
    assert engine.requests() == []


def test_line_breaks_after_keys_do_no_harm(engine: Engine) -> None:
    keys = {"track_api_key": SecretStr(TRACK_KEY + "\n"), "app_api_key": SecretStr(APP_KEY + "\r\n")}
    assert engine.sync(Collection(name="c"), rows(1), **keys).created == 1
    assert engine.sync(PERSON, rows(1), asset="people", **keys).created == 1


def test_the_other_region_is_refused(engine: Engine) -> None:
    with pytest.raises(RegionMismatch, match="CIO_REGION=us"):
        engine.sync(PERSON, rows(1), region="eu")
    assert engine.requests(BATCH) == []


def test_a_redirect_is_not_followed(engine: Engine) -> None:
    location = {"Location": "https://track-eu.customer.io/api/v2/batch?x=1"}
    engine.sandbox.faults([{"path": BATCH, "status": 307, "headers": location}])
    report = engine.sync(PERSON, rows(3))
    assert isinstance(report.error, RegionMismatch)
    assert "https://track-eu.customer.io/api/v2/batch" in str(report.error)
    assert len(engine.requests(BATCH)) == 1
    engine.sandbox.faults([{"path": "/api/v1/accounts/region", "status": 302, "headers": location}])
    with pytest.raises(RegionMismatch):
        check_connection(engine.connection())


def test_an_address_that_is_not_customer_io_is_said(engine: Engine) -> None:
    engine.sandbox.faults([{"path": "/api/v1/accounts/region", "status": 200, "body": {"hello": "world"}}])
    with pytest.raises(RequestRefused, match="Check the address"):
        check_connection(engine.connection())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "http://[::1"])
def test_nobody_there(engine: Engine, url: str) -> None:
    with pytest.raises(DeliveryError):
        check_connection(engine.connection(track_url=url, attempts=2))


def test_a_certificate_that_proves_nothing_is_not_trusted(engine: Engine) -> None:
    """The sandbox speaks no TLS at all; to a client that insists on it, that is a server that cannot prove itself."""
    with pytest.raises(DeliveryError):
        check_connection(engine.connection(track_url=engine.sandbox.url.replace("http:", "https:"), attempts=2))
    assert engine.requests() == []


def test_the_app_key_matters_only_where_the_app_api_is_needed(engine: Engine) -> None:
    none = {"app_api_key": SecretStr("")}
    assert engine.sync(PERSON, rows(3), **none).created == 3
    segment = engine.sandbox.post("segments", {"name": "manual", "type": "manual"})
    assert engine.sync(ManualSegment(id=segment["id"]), rows(3)[:3], asset="by id", **none).created == 3
    for spec in (Collection(name="c"), ManualSegment(name="s")):
        report = engine.sync(spec, [{"id": "p000"}], asset=spec.object, **none)
        assert isinstance(report.error, CredentialsRefused)
        assert "CIO_APP_API_KEY" in str(report.error)
        assert report.pending == 1
    refused = engine.sync(Collection(name="c"), rows(1), asset="c2", app_api_key=SecretStr("wrong"))
    assert "CIO_APP_API_KEY" in str(refused.error)


def test_the_app_api_down_while_track_is_up(engine: Engine) -> None:
    segment = engine.sandbox.post("segments", {"name": "manual", "type": "manual"})
    engine.sandbox.faults([{"path": "/v1/", "status": 503}])
    assert engine.sync(PERSON, rows(3)).created == 3
    assert engine.sync(ManualSegment(id=segment["id"]), rows(3), asset="by id", attempts=2).created == 3
    for spec in (Collection(name="c"), ManualSegment(name="s")):
        report = engine.sync(spec, rows(1), asset=spec.object, attempts=3)
        assert isinstance(report.error, Unavailable)
        assert report.pending == 1
    assert len(engine.requests("/v1/collections")) == 3
    mirror = ManualSegment(name="s", behavior="mirror", baseline="customerio")
    with pytest.raises(Unavailable):
        engine.sync(mirror, rows(1), asset="baseline", attempts=2)


def test_no_error_holds_a_secret(engine: Engine) -> None:
    seen: list[str] = []
    faults: list[dict[str, Any]] = [{"status": 500}, {"status": 401}, {"reset": True}, {"garbage": True}, {"status": 404}]
    address = engine.sandbox.url.replace("http://", f"http://user:{TRACK_KEY}@")
    for fault in faults:
        engine.sandbox.faults([{"path": BATCH, **fault}])
        report = engine.sync(PERSON, rows(2), attempts=2)
        seen += [repr(report), str(report.to_json()), "".join(traceback.format_exception(report.error))]
    for changes in ({"site_id": "other"}, {"track_url": "http://127.0.0.1:9"}, {"track_url": address, "region": "eu"}):
        with pytest.raises(DeliveryError) as raised:
            check_connection(engine.connection(attempts=2, **changes))
        seen.append("".join(traceback.format_exception(raised.value)))
    connection: Connection = engine.connection()
    seen += [repr(connection), str(connection)]
    for text in seen:
        assert TRACK_KEY not in text
        assert APP_KEY not in text
    for path in engine.root.rglob("*"):
        if path.is_file():
            assert TRACK_KEY.encode() not in path.read_bytes()


def test_an_interrupted_delivery_ends_and_the_next_run_commits_what_was_answered(engine: Engine) -> None:
    class Stop(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done:
            raise Stop

    engine.sandbox.faults([{"path": BATCH, "delay": 2.0, "after": 4}])
    threads, begun = threading.active_count(), time.monotonic()
    with pytest.raises(Stop):
        sync(frame_of(rows(200)), PERSON, engine.state(), engine.connection(**small(engine)), run_id="r", progress=stop)
    assert time.monotonic() - begun < 1.9
    assert threading.active_count() == threads
    engine.sandbox.faults([])
    report = engine.sync(PERSON, rows(200))
    assert report.recovered > 0
    assert report.created == 200 - report.recovered
    assert len(engine.sandbox.get("people")) == 200
    time.sleep(2)


def test_an_error_of_ours_keeps_the_plan(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a full disk: what was answered is in the log, and the next run commits it."""
    from cio_dagster.answers import AnswerLog

    append, appended = AnswerLog.append, [0]

    def full(self: AnswerLog, *args: Any) -> None:
        appended[0] += 1
        if appended[0] > 3:
            raise OSError(28, "No space left on device")
        append(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(AnswerLog, "append", full)
        with pytest.raises(StateError, match="No space left"):
            engine.sync(EVENT, rows(100), **small(engine))
    assert (engine.state().plan_folder / "plan.json").exists()
    report = engine.sync(EVENT, rows(100))
    assert report.recovered > 0
    assert report.recovered + report.sent == 100
    assert len(engine.sandbox.get("events")) == 100
