"""Ctrl-C, in a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.cli.conftest import Project


def test_ctrl_c_keeps_what_was_answered(project: Project) -> None:
    sandbox = project.engine.sandbox
    project.source("people", [{"id": f"person-{n:03}", "plan": "free"} for n in range(100)])
    sandbox.faults([{"path": "/api/v2/batch", "delay": 120, "after": 2}])
    command = [sys.executable, "-m", "cio_dagster.cli.main", "sync", "people", "--yes"]
    process = subprocess.Popen(
        command, env=os.environ | project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    # The log has requests that were answered: the third is under way.
    while len(project.engine.requests("/batch")) < 2:
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "interrupted" in output
    assert "Traceback" not in output
    assert 0 < len(sandbox.get("people")) < 100

    [line] = project.json("status", "people", status=1)["syncs"]
    assert "100 operations of run" in line["plan_under_way"]
    assert line["lock"] == ""

    sandbox.faults([])
    [report] = project.json("sync", "people")["reports"]
    assert report["recovered"] > 0
    assert report["recovered"] + report["created"] == 100
    assert len(sandbox.get("people")) == 100
    assert project.json("status", "people")["syncs"][0]["outcome"] == "done"
