"""Run a program so that nothing of it outlives us: no process, no mount.

The program gets its own mount and process namespaces. When it ends, is cancelled, or when the
thread that started it dies (even by ``kill -9`` of the worker), the kernel ends every process of
the process namespace, and with the last one the mounts of the mount namespace go.
"""

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from fleetwide.providers.progress import INTERVAL_SECONDS, Progress, Throttled

KEPT_LINES = 200
MAX_LINE = 2000

LineReader = Callable[[str], tuple[str, float | None] | None]
"""Reads a line of output; answers progress when the line tells some."""


@dataclass(frozen=True)
class Finished:
    """How a program ended, with the last lines that it wrote to either stream."""

    returncode: int
    lines: list[str]


def isolation(*, network: bool = True) -> list[str]:
    """The command prefix that puts a program into namespaces of its own."""
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
        *([] if network else ["--net", "--ipc", "--uts"]),
        "--",
    ]


def run_isolated(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    progress: Progress,
    read: LineReader,
    network: bool = True,
) -> Finished:
    """Run ``command`` to its end, calling ``progress`` a few times a second.

    ``env`` is the whole environment. An exception from ``progress`` kills everything the program
    started, waits until it is gone, and comes through.
    """
    with subprocess.Popen(
        [*isolation(network=network), *command],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            lines = _follow(process, Throttled(progress), read)
            return Finished(process.wait(), lines)
        finally:
            end_isolated(process)


def _follow(process: "subprocess.Popen[bytes]", progress: Progress, read: LineReader) -> list[str]:
    assert process.stdout is not None
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    told: tuple[str, float | None] = ("starting", 0.0)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            progress(*told)
            if not selector.select(INTERVAL_SECONDS):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            *complete, rest = (rest + data).split(b"\n") if data else (rest, b"")
            for raw in complete:
                line = raw[:MAX_LINE].decode(errors="replace").rstrip()
                kept.append(line)
                told = read(line) or told
            if not data:
                return [line for line in kept if line]
            rest = rest[:MAX_LINE]


def end_isolated(process: "subprocess.Popen[bytes]") -> None:
    """End an isolated program and wait; its namespace's first process takes all others along."""
    while process.poll() is None:
        try:
            inner = psutil.Process(process.pid).children()
            for child in inner:
                child.kill()
            if not inner:
                process.kill()
            process.wait(timeout=INTERVAL_SECONDS)
        except psutil.NoSuchProcess:
            continue
        except subprocess.TimeoutExpired:
            continue
