"""A way to the sandbox that notes every request as it came over the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
from pydantic import SecretStr

from cio_dagster.answers import read_answers
from cio_dagster.deliver import Connection, Traffic, deliver
from cio_dagster.plan import Plan
from cio_dagster.specs import AnySpec
from tests.contract.wire import APP_KEY, NOTHING, SITE_ID, TRACK_KEY, Call, Wire

PASSED_ON = ("Authorization", "Content-Type")


class Relay:
    """Where the relay listens, and the calls that came."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []

    @property
    def writes(self) -> list[Call]:
        """The calls that change something."""
        return [call for call in self.calls if call.method != "GET"]

    def deliver(self, plan: Plan, spec: AnySpec) -> pl.DataFrame:
        """Send a plan as a run does, and return what became of its operations."""
        connection = Connection(
            site_id=SITE_ID,
            track_api_key=SecretStr(TRACK_KEY),
            app_api_key=SecretStr(APP_KEY),
            track_url=self.url,
            app_url=self.url,
            app_requests_per_second=1_000,
            # One request after the other: what is sent first is applied first.
            concurrency=1,
        )
        deliver(plan, spec, connection, Traffic())
        operations = plan.operations()
        count = operations.select(pl.len()).collect().item()
        return read_answers(plan.answers_path, count).outcomes(operations).collect()


@contextmanager
def run_relay(url: str) -> Iterator[Relay]:
    """Listen on a free port and pass every request on to ``url``."""
    relay, onward = Relay(), Wire(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def pass_on(self) -> None:
            length = self.headers.get("Content-Length")
            body = NOTHING if length is None else self.rfile.read(int(length))
            headers = {name: self.headers.get(name, "") for name in PASSED_ON}
            call = Call(self.command, self.path, body, headers)
            relay.calls.append(call)
            answer = onward.send(call)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = pass_on

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        relay.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield relay
        finally:
            server.shutdown()
            thread.join()
