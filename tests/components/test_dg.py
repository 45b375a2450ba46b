"""Dagster's own commands: they list the components, write them, and say what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable

import dagster as dg
import pytest
from dagster.components.component_scaffolding import scaffold_object

from cio_dagster.sandbox.process import RunningSandbox
from cio_dagster.testing import assert_people
from tests.components.conftest import Project

WRONG_SYNC = """\
type: cio_dagster.CustomerIOSync

attributes:
  sql: people.sql
  spec:
    object: person
    key: name
    behaviour: mirror
    nulls: maybe
    dates: {born: short}
    identity_checks: {shared_mail: reject}
    max_changed: 20%
    attributes: {plan: {valu: pro}}
  partitions_def:
    type: yearly
  translation:
    groups: crm
  schedule: 5
"""

FOUND = {
    7: "'name' is not one of ['id', 'email', 'cio_id', 'phone']",
    8: "Additional properties are not allowed ('behaviour' was unexpected)",
    9: "'maybe' does not match '^(omit|clear)$'",
    10: "'short' is not one of ['unix', 'iso']",
    11: "'shared_mail' is not one of ['shared_email', 'shared_id', 'changed_email', 'changed_id', 'similar_ids', 'id_like_email']",
    12: "'20%' is not of type 'integer', 'number', 'null'",
    13: "Additional properties are not allowed ('valu' was unexpected)",
    15: "'yearly' is not one of ['hourly', 'daily', 'weekly', 'monthly', 'time_window', 'static', 'hash', 'range']",
    17: "Additional properties are not allowed ('groups' was unexpected)",
    18: "5 is not of type 'string', 'null'",
}


def test_what_is_wrong_is_said_with_its_line_and_what_is_allowed(project: Callable[..., Project]) -> None:
    made = project({"warehouse/defs.yaml": "type: cio_dagster.WarehouseConnection\nattributes:\n  uri: duckdb://\n"})
    made.write({"people/defs.yaml": WRONG_SYNC})
    checked = made.dg("check", "yaml")
    assert checked.returncode == 1, checked.stderr
    said = re.findall(r"people/defs\.yaml:(\d+) - cio_dagster\.CustomerIOSync attributes[\w.]* (.*)", checked.stdout)
    found = {(int(line), message) for line, message in said}
    assert set(FOUND.items()) <= found
    assert {line for line, _ in found} == set(FOUND)
    assert re.search(r"warehouse/defs\.yaml:3 .*'uri' was unexpected", checked.stdout)
    assert re.search(r"warehouse/defs\.yaml:2 .*'url' is a required property", checked.stdout)


def test_they_are_listed(project: Callable[..., Project]) -> None:
    listed = project().dg("list", "components", "--package", "cio_dagster", "--json")
    assert listed.returncode == 0, listed.stderr
    for name in ("CustomerIOSync", "CustomerIOConnection", "WarehouseConnection"):
        assert f'"cio_dagster.{name}"' in listed.stdout


def test_what_is_scaffolded_runs(
    project: Callable[..., Project], sandbox: RunningSandbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project()
    scaffolded = made.dg("scaffold", "defs", "cio_dagster.CustomerIOSync", "my_sync")
    assert scaffolded.returncode == 0, scaffolded.stderr
    for name in ("CustomerIOConnection", "WarehouseConnection"):
        scaffold_object(made.defs / name.lower(), f"cio_dagster.{name}", None, "yaml", made.folder)
    workspace = made.defs / "customerioconnection" / "defs.yaml"
    workspace.write_text(
        workspace.read_text().rstrip() + '\n  track_url: "{{ env.CIO_TRACK_URL }}"\n  app_url: "{{ env.CIO_TRACK_URL }}"\n'
    )
    monkeypatch.setenv("CIO_WAREHOUSE", "duckdb://")
    defs = made.load()
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success
    assert_people(sandbox, [{"id": "customer-1", "email": "ada@example.com", "plan": "pro"}])
