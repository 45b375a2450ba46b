"""A server that answers Track v2 batches as a test says: for answers that the sandbox would never give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

REGION = {"url": "https://track.customer.io", "region": "us", "environment_id": 1}

Reply: TypeAlias = "tuple[int, Any]"
"""A status, and JSON (or bytes, sent as they are)."""


class Scripted:
    """What came: `batches` holds the operations of each batch request, `calls` method and path of every request but the region's."""

    def __init__(self, reply: Callable[[str, str, Any], Reply]) -> None:
        self.reply = reply
        self.calls: list[tuple[str, str]] = []
        self.batches: list[list[Any]] = []
        self.url = ""


@contextmanager
def scripted(reply: Callable[[str, str, Any], Reply]) -> Iterator[Scripted]:
    """Run a server that answers `reply(method, path, body)`."""
    script = Scripted(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(content) if content else None
            if self.path == "/api/v1/accounts/region":
                status, answer = 200, REGION
            else:
                script.calls.append((self.command, self.path))
                if isinstance(body, dict) and "batch" in body:
                    script.batches.append(body["batch"])
                status, answer = script.reply(self.command, self.path, body)
            sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
