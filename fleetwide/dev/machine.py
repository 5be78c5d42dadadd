"""What this machine runs: who holds a port, which processes are a platform's."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from fleetwide.dev.plan import MARKER

_TERM_SECONDS = 10


@dataclass(frozen=True)
class TakenPort:
    """A port that someone listens on; pid and command are None where they may not be seen."""

    port: int
    pid: int | None
    command: str | None
    platform: str | None
    """State folder of the development platform that it belongs to, if any."""

    def __str__(self) -> str:
        if self.pid is None:
            return f"port {self.port} is taken by a process of another user"
        return f"port {self.port} is taken by pid {self.pid}: {self.command}"


def taken_ports(ports: Iterable[int]) -> list[TakenPort]:
    """Those of ``ports`` that a process listens on, in order."""
    wanted = set(ports)
    holders: dict[int, int | None] = {}
    for connection in psutil.net_connections(kind="tcp"):
        port = connection.laddr.port if connection.laddr else None
        if connection.status == psutil.CONN_LISTEN and port in wanted:
            holders.setdefault(port, connection.pid)
    return [_taken(port, holders[port]) for port in sorted(holders)]


def _taken(port: int, pid: int | None) -> TakenPort:
    try:
        process = psutil.Process(pid) if pid else None
        command = " ".join(process.cmdline())[:160] if process else None
    except psutil.Error:
        return TakenPort(port, None, None, None)
    return TakenPort(port, pid, command, _marker(process) if process else None)


def marked_processes(within: Callable[[Path], bool]) -> list[psutil.Process]:
    """Processes that a platform started whose state folder ``within`` accepts.

    The asking process and those above it never count.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in mine and (state := _marker(process)) and within(Path(state))
    ]


def _marker(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):
        return None


def end(processes: list[psutil.Process]) -> int:
    """Ask each process to end, kill those that do not; return how many there were."""
    for process in processes:
        _signal(process.terminate)
    _, stubborn = psutil.wait_procs(processes, timeout=_TERM_SECONDS)
    for process in stubborn:
        _signal(process.kill)
    psutil.wait_procs(stubborn, timeout=_TERM_SECONDS)
    return len(processes)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return
