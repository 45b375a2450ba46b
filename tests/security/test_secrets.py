"""Secrets are in nothing that runs write, whether they succeed or fail."""

from __future__ import annotations

import base64
import os
import pickletools
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr, ValidationError

from cio_dagster import CustomerIO, CustomerIOIOManager, SpecError, Warehouse
from cio_dagster.deliver import Client, Connection
from cio_dagster.sandbox.process import run_sandbox
from tests.security.found import where, written

SITE, TRACK, APP, WRONG, PASSWORD = "site-31", "track-4e1d9b", "app-77c02a", "wrong-5b0f6e", "pg-90ffa1"
SECRETS = [TRACK, APP, WRONG, PASSWORD, *(base64.b64encode(f"{SITE}:{key}".encode()).decode()[-12:] for key in (TRACK, WRONG))]
SHIPPED = Path(__file__).parent.parent.parent / "dagster.yaml"
FAILING = {
    "guarded": "would be removed",
    "refused": "refused the credentials",
    "unavailable": "got no usable answer",
    "unreachable": "Connection refused",
    "bad_sql": "nowhere",
    "crash": "crashed with",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Home, state and output of two runs of everything, in processes of their own."""
    folder = tmp_path_factory.mktemp("secrets")
    home, state = folder / "home", folder / "state"
    home.mkdir()
    (home / "dagster.yaml").write_text(SHIPPED.read_text())
    flags = ("--site-id", SITE, "--track-key", TRACK, "--app-key", APP)
    output = ""
    with run_sandbox(*flags) as sandbox, run_sandbox(*flags) as down:
        down.faults([{"path": "/api/v2/batch", "status": 500}])
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "TEST_SITE": SITE,
            "TEST_TRACK_KEY": TRACK,
            "TEST_APP_KEY": APP,
            "TEST_WRONG_KEY": WRONG,
            "TEST_POSTGRES": f"postgresql://user:{PASSWORD}@127.0.0.1:1/db",
            "TEST_URL": sandbox.url,
            "TEST_DOWN_URL": down.url,
            "TEST_STATE": str(state),
        }
        project = str(Path(__file__).with_name("project.py"))
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-f", project, "-j", "everything"]
        for rows in ("2", "0"):
            done = subprocess.run(
                command, env=environment | {"TEST_ROWS": rows}, cwd=home, capture_output=True, text=True, check=False
            )
            output += done.stdout + done.stderr
    return home, state, output


def test_the_runs_went_as_meant(ran: tuple[Path, Path, str]) -> None:
    home, state, output = ran
    for words in FAILING.values():
        assert words in output
        assert where(words, home)
    for asset in FAILING:
        assert f'STEP_FAILURE - Execution of step "{asset}" failed' in output or f"{asset} - STEP_FAILURE" in output
    for asset in ("good", "good_segment"):
        assert (state / "customerio" / asset / "whole" / "snapshot").exists()


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_written(ran: tuple[Path, Path, str], secret: str) -> None:
    home, state, output = ran
    assert where(secret, home, state) == []
    assert secret not in output


def test_no_data_is_pickled(ran: tuple[Path, Path, str]) -> None:
    """Our IO manager keeps data in the state folder, as Delta tables; Dagster's own storage has none of it."""
    home, state, _ = ran
    for name, content in written(home, state):
        assert not is_pickle(content), name
    assert not (home / "storage" / "good").exists()


def is_pickle(content: bytes) -> bool:
    if content[:1] != b"\x80":
        return False
    try:
        return any(operation.name == "STOP" for operation, _, _ in pickletools.genops(content))
    except ValueError:
        return False


def test_objects_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", TRACK)
    literal = CustomerIO(site_id=SITE, track_api_key=TRACK, app_api_key=APP)
    named = CustomerIO(site_id=SITE, track_api_key=dg.EnvVar("A_KEY"), app_api_key=APP)
    connection = Connection(SITE, SecretStr(TRACK), SecretStr(APP))
    everything = [
        literal,
        named,
        literal.connection(),
        connection,
        Client(connection),
        CustomerIOIOManager(customerio=literal, state="state"),
        Warehouse(url=f"postgresql://user:{PASSWORD}@h/d"),
    ]
    for each in everything:
        for text in (repr(each), str(each), f"{[each]}"):
            assert not [secret for secret in SECRETS if secret in text], text


def test_errors_of_the_resource_do_not_quote_its_settings() -> None:
    wrong: list[dict[str, object]] = [
        {"track_api_key": TRACK},
        {"site_id": SITE, "track_api_key": [TRACK]},
        {"site_id": SITE, "track_api_key": TRACK, "app_api_key": {"key": APP}},
        {"site_id": SITE, "track_api_key": TRACK, "burst": 0},
    ]
    for settings in wrong:
        with pytest.raises(ValidationError) as raised:
            CustomerIO(**settings)
        assert not [secret for secret in SECRETS if secret in str(raised.value)]
    with pytest.raises(SpecError, match="region is 'mars'") as refused:
        CustomerIO(site_id=SITE, track_api_key=TRACK, app_api_key=APP, region="mars").connection()
    assert not [secret for secret in SECRETS if secret in str(refused.value)]
