"""``fleetwide task exec|files|fetch|stats`` as people type them."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.errands.conftest import RunningTask

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
Ran = subprocess.CompletedProcess[bytes]


@pytest.fixture
def fleetwide(api_url: str, tmp_path: Path) -> Callable[..., Ran]:
    def run(*words: str, stdin: bytes = b"") -> Ran:
        # An empty pipe is an input that has ended.
        return subprocess.run(
            [Path(sys.executable).with_name("fleetwide"), "task", *words],
            env={**os.environ, "FLEETWIDE_API_URL": api_url},
            cwd=tmp_path,
            capture_output=True,
            check=False,
            input=stdin,
        )

    return run


def test_a_command_is_as_if_it_ran_here(fleetwide: Callable[..., Ran], task: RunningTask) -> None:
    script = "cat; echo err >&2; exit 5"
    ran = fleetwide("exec", task.id, "--", "/bin/sh", "-c", script, stdin=b"\0in\xff")
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"\0in\xff", b"err\n", 5)


def test_what_was_dropped_or_killed_is_told_on_stderr(
    fleetwide: Callable[..., Ran], task: RunningTask
) -> None:
    ran = fleetwide("exec", task.id, "--limit", "3", "--", "seq", "9")
    assert (ran.stdout, ran.returncode) == (b"1\n2", 0)
    assert b"stdout was longer than 3" in ran.stderr
    ran = fleetwide("exec", task.id, "--timeout", "1", "--", "sleep", "60")
    assert ran.returncode == 1
    assert b"ran longer than 1 s" in ran.stderr


def test_a_task_that_is_not_there(fleetwide: Callable[..., Ran], task: RunningTask) -> None:
    ran = fleetwide("exec", f"{task.id}x", "--", "true")
    assert ran.returncode != 0
    assert b"there is no task" in ran.stderr


def test_files_are_listed_and_fetched(
    fleetwide: Callable[..., Ran], task: RunningTask, tmp_path: Path
) -> None:
    fleetwide("exec", task.id, "--", "/bin/sh", "-c", "echo hello > '/tmp-\033[2J'; : > /etc/x")
    listed = fleetwide("files", task.id)
    assert b"\033" not in listed.stdout
    assert b"tmp-\\x1b[2J" in listed.stdout
    names = {entry["name"] for entry in json.loads(_json(fleetwide, task))["entries"]}
    assert names == {"passwd", "x"} | names
    assert fleetwide("fetch", task.id, "/etc/passwd").returncode == 0
    assert (tmp_path / "passwd").read_bytes() == b"root:x:0:0:root:/:/bin/sh\n"
    assert fleetwide("fetch", task.id, "/etc", "-o", "mine.tar").returncode == 0
    with tarfile.open(tmp_path / "mine.tar") as tar:
        assert {"passwd", "x"} <= set(tar.getnames())
    out = fleetwide("fetch", task.id, "/etc/passwd", "-o", "-")
    assert out.stdout == b"root:x:0:0:root:/:/bin/sh\n"
    assert fleetwide("fetch", task.id, "/nothing").returncode != 0
    assert {path.name for path in tmp_path.iterdir()} == {"passwd", "mine.tar"}


def _json(fleetwide: Callable[..., Ran], task: RunningTask) -> bytes:
    return fleetwide("files", task.id, "/etc", "-o", "json").stdout


def test_stats_once_and_followed(
    fleetwide: Callable[..., Ran], task: RunningTask, api_url: str
) -> None:
    shown = fleetwide("stats", task.id).stdout.decode()
    assert "64.0 MiB" in shown
    assert "throttled" in shown
    with subprocess.Popen(
        [Path(sys.executable).with_name("fleetwide"), "task", "stats", "-f", task.id],
        env={**os.environ, "FLEETWIDE_API_URL": api_url},
        stdout=subprocess.PIPE,
    ) as following:
        assert following.stdout
        lines = [following.stdout.readline() for _ in range(2)]
        task.plane.host.stop(task.name)
        assert following.wait(60) == 0
    assert all(b"cpu" in line and b"pids" in line for line in lines)
