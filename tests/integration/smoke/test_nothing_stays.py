"""Cancel, and ``kill -9`` of the process that tests: nothing of a container stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetwide.providers import cgroups
from fleetwide.providers.cgroups import limited
from tests.integration.os_builds.conftest import mounts_below, processes_about
from tests.integration.smoke.conftest import ROOT, Bench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HEALTH = {"command": ["/bin/sleep", "987654"], "timeout_seconds": 60}
LONG = ["/bin/sh", "-c", "echo up; sleep 987653 & trap '' TERM; sleep 987653"]


class CancelledError(Exception):
    """What an activity's progress raises."""


def groups(pid: int) -> list[Path]:
    """The control groups of smoke tests that a process made: others may run tests meanwhile."""
    patterns = (f"fleetwide-smoke-{pid}-*", f"*/fleetwide-smoke-{pid}-*")
    return [path for pattern in patterns for path in cgroups.MOUNT.glob(pattern)]


def sleepers() -> list[list[str]]:
    """Processes of the containers that these tests start, wherever they run.

    They are told by the tests' own numbers of seconds; one that ends meanwhile is none.
    """
    running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [
        words
        for words in running
        if words and Path(words[0]).name == "sleep" and any("98765" in word for word in words)
    ]


def assert_nothing_stays(bench: Bench) -> None:
    assert mounts_below(bench.folder) == []
    assert processes_about(bench.folder) == []
    assert sleepers() == []


@pytest.mark.parametrize(
    ("phrase", "health"),
    [
        ("unpacking the layer", None),
        ("mounting the image", None),
        ("starting the image", None),
        ("stopping the image", None),
        ("waiting for the health check", HEALTH),
        ("checking its health", HEALTH),
    ],
)
def test_cancel_in_any_stage_leaves_nothing(
    bench: Bench, phrase: str, health: dict[str, Any] | None
) -> None:
    def cancel(told: str, _fraction: float | None) -> None:
        if told == phrase:
            raise CancelledError

    with pytest.raises(CancelledError):
        bench.test(cancel, command=LONG, healthcheck=health)
    assert_nothing_stays(bench)
    assert groups(os.getpid()) == []


def test_a_log_that_fails_ends_the_test_too(bench: Bench) -> None:
    class FullError(Exception):
        pass

    class Full(bytearray):
        def extend(self, _data: Any) -> None:
            raise FullError

    bench.written = Full()
    with pytest.raises(FullError):
        bench.test(command=LONG)
    assert_nothing_stays(bench)


@pytest.mark.parametrize("health", [None, HEALTH])
def test_kill_9_of_the_tester_ends_the_container(
    bench: Bench, health: dict[str, Any] | None
) -> None:
    request = bench.request(command=LONG, healthcheck=health)
    command = [sys.executable, "-m", "tests.integration.smoke.driver"]
    command += [request.bake.model_dump_json(), str(request.base), str(request.layer)]
    with subprocess.Popen(
        [*command, str(request.workdir)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        while len(sleepers()) < (2 if health is None else 3):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The kernel ends them all, but does not do it while we are told of the death.
    while sleepers() or mounts_below(bench.folder) or processes_about(bench.folder):
        time.sleep(0.05)
    with limited("smoke", memory=1024**3, processes=10):
        assert groups(process.pid) == []
    assert groups(os.getpid()) == []
