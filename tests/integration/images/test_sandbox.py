import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fleetwide.providers.progress import no_progress
from fleetwide.providers.sandbox import run_isolated

pytestmark = pytest.mark.integration
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Cancelled(Exception):
    pass


def test_output_and_exit_code_come_back() -> None:
    done = run_isolated(
        ["sh", "-c", "echo one; echo two >&2; exit 3"],
        env=ENV,
        progress=no_progress,
        read=lambda line: (line, None),
    )
    assert (done.returncode, done.lines) == (3, ["one", "two"])


def test_mounts_are_seen_by_the_program_alone(tmp_path: Path) -> None:
    script = f"mount -t tmpfs tmpfs {tmp_path} && touch {tmp_path}/inside && echo mounted"
    done = run_isolated(
        ["sh", "-c", script], env=ENV, progress=no_progress, read=lambda _line: None
    )
    assert done.lines == ["mounted"]
    assert list(tmp_path.iterdir()) == []


def test_without_network_there_is_no_interface_but_loopback() -> None:
    done = run_isolated(
        ["ls", "/sys/class/net", "/proc/self/net/dev"],
        env=ENV,
        progress=no_progress,
        read=lambda _line: None,
        network=False,
    )
    assert done.returncode == 0
    devices = run_isolated(
        ["cat", "/proc/self/net/dev"],
        env=ENV,
        progress=no_progress,
        read=lambda _line: None,
        network=False,
    )
    assert [line for line in devices.lines if ":" in line and "lo:" not in line] == []


def marked(marker: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]


def test_cancel_ends_even_what_hides_in_a_session_of_its_own() -> None:
    marker = f"hidden-{os.getpid()}"
    script = f"trap '' TERM INT; setsid sh -c 'sleep 300; :' {marker} & echo ready; wait"

    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "ready" and marked(marker):
            raise Cancelled

    with pytest.raises(Cancelled):
        run_isolated(["sh", "-c", script], env=ENV, progress=stop, read=lambda line: (line, None))
    assert marked(marker) == []


def test_a_killed_worker_leaves_nothing_running() -> None:
    marker = f"orphan-{os.getpid()}"
    program = f"""
from fleetwide.providers.sandbox import run_isolated
run_isolated(["sh", "-c", "echo ready; sleep 300; :", "{marker}"], env={ENV!r},
             progress=lambda phrase, _: print(phrase, flush=True), read=lambda l: (l, None))
"""
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker.stdout:
        while "ready" not in worker.stdout.readline():
            assert worker.poll() is None
        inside = marked(marker)
        assert inside
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    _, alive = psutil.wait_procs(inside, timeout=20)
    assert alive == []
