"""HTTPS in front of a sandbox: the Python clients know no other scheme.

A certificate for 127.0.0.1 is made for each run, and every byte is passed on as it is, resets included.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SECONDS_TO_START = 10


@dataclass(frozen=True)
class Front:
    """Where the front listens, and the file with the certificate that clients have to trust."""

    host: str
    port: int
    certificate: Path

    @property
    def url(self) -> str:
        """The front's address."""
        return f"https://{self.host}:{self.port}"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate and its key.

    Raises:
        RuntimeError: openssl is not installed.
    """
    if shutil.which("openssl") is None:
        raise RuntimeError("these tests need the openssl command; install it with: apt-get install openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=cio-sandbox", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return certificate, key


@contextmanager
def run_front(url: str, folder: Path) -> Iterator[Front]:
    """Listen with TLS on a free port and pass everything on to ``url``."""
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    behind = urlsplit(url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tls-front", daemon=True)
    thread.start()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(behind.hostname, behind.port)
        await asyncio.gather(_pump(reader, onward_writer), _pump(onward_reader, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(SECONDS_TO_START)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield Front(host, port, certificate)
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # Connections that a client keeps open end with the loop.
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except ConnectionError:
        _reset(writer)
    except ssl.SSLError:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
