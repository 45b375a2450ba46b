"""The image and the Compose file: linted, by their schemas, and as the code has what they name."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import validate

from cio_dagster.plan import FORMAT as PLAN_FORMAT
from cio_dagster.state import FORMAT as STATE_FORMAT
from tests.deployment.files import COMPOSE, DEPLOY, ROOT, VALUES, environment, read
from tests.docs.commands import check
from tests.docs.pages import DOCS, section

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def test_the_dockerfile_is_without_a_finding() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--strict-labels", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_the_image_copies_is_there_and_gets_past_dockerignore() -> None:
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]]
    assert copied
    let_past = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.removeprefix("./") in let_past


def test_the_image_is_no_root_and_has_the_extras() -> None:
    assert re.search(r"^USER (\d+):\1$", LAST_STAGE, re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text()
    [extras] = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    assert [extra for extra in extras.split(",") if not re.search(rf"^{extra} = \[", project, re.MULTILINE)] == []


def test_compose_is_by_its_schema() -> None:
    validate(COMPOSE, get_builtin_schema("vendor.compose-spec"))


def test_what_compose_names_is_there() -> None:
    services, volumes = COMPOSE["services"], COMPOSE["volumes"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert "healthcheck" in services[other], (name, other)
            assert how["condition"] != "service_healthy" or services[other]["healthcheck"] != {"disable": True}
            assert not services[other].get("profiles") or how["required"] is False
        for volume in service.get("volumes", []):
            source, target = volume.split(":")
            assert source in volumes
            assert name == "postgres" or re.search(rf"\s{target}\b", LAST_STAGE), "the image's user owns it"
        for config in service.get("configs", []):
            assert (DEPLOY / COMPOSE["configs"][config["source"]]["file"]).exists()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), (
            "nothing that asks for no password is open"
        )


def commands() -> list[list[str]]:
    """Every command and check of the files, but of programs that are not Dagster's or ours."""
    found = [json.loads(each) for each in re.findall(r"CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)]
    for service in COMPOSE["services"].values():
        found += [service["command"]] if "command" in service else []
        found += [service["healthcheck"]["test"][1:]] if "test" in service["healthcheck"] else []
    deployment: dict[str, Any]
    for deployment in VALUES["dagster-user-deployments"]["deployments"]:
        found.append(
            ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", str(deployment["port"]), *deployment["dagsterApiGrpcArgs"]]
        )
    return [each for each in found if each[0] not in ("python", "sh", "pg_isready")]


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_the_commands_exist(command: list[str]) -> None:
    check(shlex.join(command))


def test_the_documentation_names_the_services_and_their_checks() -> None:
    text = (DOCS / "deployment.md").read_text()
    services = re.findall(r"^\| `(\w+)` \|", section(text, "## Docker Compose"), re.MULTILINE)
    assert set(services) == {name for name, service in COMPOSE["services"].items() if "profiles" not in service}
    for service in ("code", "daemon"):
        assert shlex.join(COMPOSE["services"][service]["healthcheck"]["test"][1:]) in section(text, "## Health")


def test_the_ports_are_those_that_are_asked() -> None:
    code = COMPOSE["services"]["code"]
    assert code["command"][code["command"].index("--port") + 1] == code["healthcheck"]["test"][-1] == "4000"
    workspace = (DEPLOY / "workspace.yaml").read_text()
    assert "host: code\n" in workspace
    assert "port: 4000\n" in workspace


def test_compose_and_helm_run_dagster_alike() -> None:
    instance, daemon = read("dagster.yaml"), VALUES["dagsterDaemon"]
    pools = VALUES["concurrency"]["pools"]
    assert instance["concurrency"]["pools"] == {"granularity": pools["granularity"], "default_limit": pools["defaultLimit"]}
    monitoring, retries = daemon["runMonitoring"], daemon["runRetries"]
    assert instance["run_monitoring"]["free_slots_after_run_end_seconds"] == monitoring["freeSlotsAfterRunEndSeconds"]
    assert instance["run_retries"]["max_retries"] == retries["maxRetries"]
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is retries["retryOnAssetOrOpFailure"] is False
    assert instance["storage"]["postgres"]["postgres_db"]["scheme"] == VALUES["postgresql"]["postgresqlScheme"]
    assert instance["telemetry"] == VALUES["telemetry"] == {"enabled": False}


def test_the_variables_are_those_that_are_read() -> None:
    definitions = set(re.findall(r'"(CIO_\w+)"', (ROOT / "definitions.py").read_text()))
    assert {name for name in environment("env.example") if name.startswith("CIO_")} == definitions
    instance = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text()))
    assert set(COMPOSE["x-postgres"]) == instance
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    given = {each["name"] for each in deployment["env"] if each["name"].startswith("CIO_")}
    given |= set(re.findall(r"^  (CIO_\w+):", (DEPLOY / "kubernetes" / "secrets.yaml").read_text(), re.MULTILINE))
    assert given == definitions - {"CIO_TRACK_URL", "CIO_APP_URL"}
    assert re.search(r"DAGSTER_HOME=(\S+)", LAST_STAGE)[1] == "/opt/dagster"  # type: ignore[index]


def test_no_secret_is_written_down() -> None:
    for value in re.findall(
        r'^  \S*(?:KEY|ID|password|WAREHOUSE)\S*: "(.*)"$', (DEPLOY / "kubernetes" / "secrets.yaml").read_text(), re.M
    ):
        assert value == ""
    assert all(value.startswith("demo-") for name, value in environment("env.example").items() if re.search("KEY|SITE", name))
    assert environment("env.example")["DAGSTER_PG_PASSWORD"] == "change-me"


def test_the_changelog_names_the_version_and_its_formats() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    [version] = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    newest = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
    assert newest.splitlines()[0] == version
    [dagster] = re.findall(r'"dagster>=(\d+\.\d+)', project)
    assert f"state format {STATE_FORMAT}, plan format {PLAN_FORMAT}. Dagster {dagster}," in newest
