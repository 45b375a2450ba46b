"""TLS is verified, and the sandbox is for this machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cio_dagster.deliver import check_connection
from cio_dagster.errors import Unavailable
from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from tests.contract.tls import Front, run_front
from tests.engine import connection

CHECK = """
import sys
from tests.engine import connection
from cio_dagster.deliver import check_connection
print(check_connection(connection(sys.argv[1], attempts=2)))
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def front(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with run_front(sandbox.url, tmp_path_factory.mktemp("tls")) as running:
        yield running


def test_a_certificate_that_nobody_vouches_for_is_refused(sandbox: RunningSandbox, front: Front) -> None:
    with pytest.raises(Unavailable, match=r"could not be reached safely, so nothing was sent to it: .*certificate"):
        check_connection(connection(front.url, attempts=8, longest_backoff=30))
    assert sandbox.get("requests") == []


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", None), ("127.0.0.2", "certificate is not valid for '127.0.0.2'")])
def test_a_certificate_that_the_system_trusts_is_taken_for_its_own_host(front: Front, host: str, words: str | None) -> None:
    environment = os.environ | {"SSL_CERT_FILE": str(front.certificate)}
    root = Path(__file__).parent.parent.parent
    url = f"https://{host}:{front.port}"
    command = [sys.executable, "-c", CHECK, url]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if words is None:
        assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
    else:
        assert done.returncode == 1
        assert "could not be reached safely" in done.stderr or "Connect call failed" in done.stderr


def test_the_sandbox_listens_on_loopback(sandbox: RunningSandbox) -> None:
    port = urlsplit(sandbox.url).port
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [address for address in listening if int(address.partition(":")[2], 16) == port] == [f"0100007F:{port:04X}"]
