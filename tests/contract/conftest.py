from __future__ import annotations

from collections.abc import Iterator

import pytest

from cio_dagster.sandbox.process import RunningSandbox, run_sandbox
from cio_dagster.sandbox.settings import Settings

from . import app_contract, openapi
from .judge import Court, Judge
from .node import NodeClient, run_node
from .official import Held
from .tls import Front, run_front
from .wire import APP_KEY, SITE_ID, TRACK_KEY, Wire


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[RunningSandbox]:
    with run_sandbox("--site-id", SITE_ID, "--track-key", TRACK_KEY, "--app-key", APP_KEY) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: RunningSandbox) -> RunningSandbox:
    """A sandbox with nothing in it and every setting at its default, but no limit on the App API's requests."""
    running_sandbox.reset()
    running_sandbox.settings(**{**Settings().as_dict(), "app_requests_per_second": 0})
    return running_sandbox


@pytest.fixture
def wire(sandbox: RunningSandbox) -> Wire:
    return Wire(sandbox.url)


@pytest.fixture(scope="session")
def track_judge() -> Judge:
    return Judge(openapi.corrected())


@pytest.fixture
def track(wire: Wire, track_judge: Judge) -> Court:
    """Sends Track calls to the sandbox and holds the answers to Customer.io's contract."""
    return Court(wire, track_judge)


@pytest.fixture(scope="session")
def app_judge() -> Judge:
    return Judge(app_contract.document())


@pytest.fixture
def app(wire: Wire, app_judge: Judge) -> Court:
    """Sends App calls to the sandbox and holds the answers to our contract of them."""
    return Court(wire, app_judge)


@pytest.fixture
def held(sandbox: RunningSandbox) -> Held:
    return Held(sandbox)


@pytest.fixture(scope="session")
def running_front(running_sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with run_front(running_sandbox.url, tmp_path_factory.mktemp("tls")) as front:
        yield front


@pytest.fixture
def front(running_front: Front, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> Front:
    """HTTPS in front of an empty sandbox, trusted by requests and by httpx."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running_front.certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(running_front.certificate))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return running_front


@pytest.fixture(scope="session")
def running_node(running_sandbox: RunningSandbox) -> Iterator[NodeClient]:
    with run_node(running_sandbox.url) as node:
        yield node


@pytest.fixture
def node(running_node: NodeClient, sandbox: RunningSandbox) -> NodeClient:
    """Customer.io's Node client, and an empty sandbox that it calls."""
    return running_node
