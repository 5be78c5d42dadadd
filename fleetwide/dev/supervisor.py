"""supervisord, which keeps a platform's processes running after ``dev up`` has ended."""

import hashlib
import http.client
import os
import re
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections import Counter
from pathlib import Path
from typing import Any, cast

from fleetwide.dev.unix import UnixTransport
from fleetwide.errors import ServiceUnavailable
from fleetwide.models.base import Record

_SOCKET_PATH_LIMIT = 90  # of the kernel's 108 bytes; supervisord adds a dot and its pid
_RPC_SECONDS = 15.0
_START_SECONDS = 15.0
_SPAWNED = re.compile(r"spawned: '([^']+)' with pid")


class ProcessInfo(Record):
    """What supervisord says of one process; times are seconds since the epoch."""

    name: str
    statename: str
    pid: int
    start: int
    now: int
    exitstatus: int

    @property
    def runs(self) -> bool:
        return self.statename in {"STARTING", "RUNNING"}

    @property
    def ended_well(self) -> bool:
        return self.statename == "EXITED" and self.exitstatus == 0

    @property
    def gone(self) -> bool:
        return self.statename in {"STOPPED", "EXITED", "FATAL"}


def socket_path(state: Path) -> Path:
    """Where supervisord listens: in the state folder, or in a short private one when too deep."""
    inside = state / "supervisor.sock"
    if len(os.fsencode(inside)) <= _SOCKET_PATH_LIMIT:
        return inside
    short = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    runtime = Path(f"/run/user/{os.getuid()}")
    folder = runtime if runtime.is_dir() else Path(tempfile.gettempdir())
    return folder / f"fleetwide-{os.getuid()}" / f"{short}.sock"


def private_folder(folder: Path) -> None:
    """Make ``folder`` for this user alone; refuse one that someone else has made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat().st_uid
    if owner != os.getuid():
        raise ServiceUnavailable(f"{folder} belongs to user {owner}, not to {os.getuid()}")


class Supervisor:
    """A client of the supervisord that listens on ``socket``."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def call(self, method: str, *arguments: object) -> Any:
        transport = UnixTransport(self._socket, _RPC_SECONDS)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
            return getattr(server, method)(*arguments)

    def alive(self) -> bool:
        try:
            state = cast("dict[str, object]", self.call("supervisor.getState"))
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return state["statename"] == "RUNNING"

    def info(self) -> dict[str, ProcessInfo]:
        """Every process that supervisord knows, by name; empty when it does not run."""
        try:
            answers = cast("list[object]", self.call("supervisor.getAllProcessInfo"))
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}
        return {info.name: info for info in map(ProcessInfo.model_validate, answers)}

    def start(self, name: str) -> None:
        """Start a process; one that runs already stays as it is.

        Raises:
            ServiceUnavailable: supervisord cannot start it.
        """
        self._ask("supervisor.startProcess", name, fine="ALREADY_STARTED")

    def stop(self, name: str) -> None:
        """Ask a process to stop, without waiting; one that is down stays down."""
        self._ask("supervisor.stopProcess", name, fine="NOT_RUNNING")

    def _ask(self, method: str, name: str, *, fine: str) -> None:
        wait = False
        try:
            self.call(method, name, wait)
        except xmlrpc.client.Fault as fault:
            if not fault.faultString.startswith(fine):
                raise ServiceUnavailable(f"{name}: {fault.faultString}") from None

    def pid(self) -> int:
        return cast("int", self.call("supervisor.getPID"))

    def shut_down(self) -> None:
        self.call("supervisor.shutdown")


def launch(config: Path, socket: Path, environment: dict[str, str]) -> Supervisor:
    """Start supervisord, free of the terminal, and wait until it answers.

    Raises:
        ServiceUnavailable: it did not start; the message says why.
    """
    private_folder(socket.parent)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_START_SECONDS,
    )
    if done.returncode:
        raise ServiceUnavailable(f"supervisord did not start: {done.stderr.strip()[-400:]}")
    supervisor = Supervisor(socket)
    deadline = time.monotonic() + _START_SECONDS
    while not supervisor.alive():
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"supervisord does not answer on {socket}")
        time.sleep(0.02)
    return supervisor


def restarts(log: Path) -> Counter[str]:
    """How often each process was started again, from supervisord's own log."""
    if not log.exists():
        return Counter()
    started = Counter(_SPAWNED.findall(log.read_text(encoding="utf-8", errors="replace")))
    return Counter({name: times - 1 for name, times in started.items()})


def last_exit(log: Path, name: str) -> str:
    """How process ``name`` last ended, in supervisord's words, such as ``exit status 3``."""
    text = log.read_text(encoding="utf-8", errors="replace")
    ends = re.findall(rf"exited: {re.escape(name)} \(([^;)]*)", text)
    return str(ends[-1]) if ends else "it could not be started"
