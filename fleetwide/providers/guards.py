"""Keeps the guard of a host at work: starts it, and starts it again when it died or hangs."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from fleetwide.errors import ServiceUnavailable
from fleetwide.providers.lease_folder import GUARD_LOCK, LeaseFolder, boot_time

LOOK_SECONDS = 2.0
SILENT_SECONDS = 10.0
START_SECONDS = 10.0
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "FLEETWIDE_DEV_STATE")
LOG = "guard.log"
_log = logging.getLogger(__name__)


class GuardKeeper:
    """One host's guard, as its worker sees it."""

    def __init__(self, folder: LeaseFolder, docker_url: str) -> None:
        self._folder = folder.folder
        self._docker_url = docker_url
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Return when a guard is at work.

        Raises:
            ServiceUnavailable: none could be started.
        """
        for _ in range(int(START_SECONDS / 0.1)):
            if await asyncio.to_thread(self.ensure):
                return
            await asyncio.sleep(0.1)
        raise ServiceUnavailable(
            f"the guard of this host's containers does not start; see {self._folder / LOG}",
            hint=f"tail {self._folder / LOG}",
        )

    async def keep(self) -> None:
        """Look after the guard until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.ensure)
            except OSError:
                _log.exception("could not look after the guard")

    def close(self) -> None:
        """Leave the guard to itself: it goes on for as long as there are leases."""
        if self._process is not None and self._process.poll() is None:
            # It is not this process's to wait for.
            self._process.returncode = 0
        self._process = None

    def ensure(self) -> bool:
        """Whether a guard is at work; starts one if not."""
        if self._process is not None:
            self._process.poll()  # or a dead one stays a zombie
        pid, silent = self._last_beat()
        if pid and _is_guard(pid):
            if silent < SILENT_SECONDS:
                return True
            _log.warning("the guard (pid %d) is silent for %.0f s: starting another", pid, silent)
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if self._process is None or self._process.poll() is not None:
            self._process = self._launch()
        return False

    def _last_beat(self) -> tuple[int, float]:
        """The guard's pid and for how long it is silent; 0 when there was none in this boot."""
        try:
            pid, at = (self._folder / GUARD_LOCK).read_text().split()
            silent = boot_time() - float(at)
        except (OSError, ValueError):
            return 0, 0.0
        return (int(pid), silent) if silent >= 0 else (0, 0.0)

    def _launch(self) -> subprocess.Popen[bytes]:
        # A session of its own: it outlives the worker, and what ends the worker's group.
        environment = {key: os.environ[key] for key in KEPT_VARIABLES if key in os.environ}
        with (self._folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "workers.guard", str(self._folder), self._docker_url],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )


def _is_guard(pid: int) -> bool:
    try:
        return b"workers.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
