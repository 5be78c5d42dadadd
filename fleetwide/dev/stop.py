"""Stop a platform: in order when supervisord runs, by its marker when it was killed."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from fleetwide.dev import docker
from fleetwide.dev.machine import end, marked_processes
from fleetwide.dev.plan import Plan
from fleetwide.dev.supervisor import ProcessInfo, Supervisor

Report = Callable[[str], None]

DOCKERD = "dockerd"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 180.0
_DOCKER_PROGRAMS = frozenset(
    {"dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy"}
)


def stop_all(plan: Plan | None, state: Path, supervisor: Supervisor, report: Report) -> int:
    """Stop all that the platform in ``state`` started; return how many things there were.

    Workers stop first, then their containers, then a Docker daemon of our own.
    """
    count = _stop_in_order(plan, supervisor, report) if plan else 0
    count += sweep(state, report, docker_too=False)
    if plan and (stopped := docker.stop_containers(plan.docker_url, state)):
        report(f"{stopped} containers stopped")
        count += stopped
    _shut_down(supervisor)
    return count + sweep(state, report)


def _stop_in_order(plan: Plan, supervisor: Supervisor, report: Report) -> int:
    """Stop each process once nothing that needs it runs; a Docker daemon is left for later."""
    known = supervisor.info()
    running = {name for name, info in known.items() if not info.gone} - {DOCKERD}
    count, asked = len(running), set[str]()
    deadline = time.monotonic() + _STOP_SECONDS
    while running and time.monotonic() < deadline:
        needed = {need for name in running for need in plan.process(name).needs}
        for name in running - needed - asked:
            supervisor.stop(name)
            asked.add(name)
        time.sleep(_POLL_SECONDS)
        running -= _ended(running, supervisor.info(), report)
    return count


def _ended(running: set[str], known: dict[str, ProcessInfo], report: Report) -> set[str]:
    ended = {name for name in running if name not in known or known[name].gone}
    for name in sorted(ended):
        report(f"{name:<10} stopped")
    return ended


def _shut_down(supervisor: Supervisor) -> None:
    if supervisor.alive():
        pid = supervisor.pid()
        supervisor.shut_down()
        if psutil.pid_exists(pid):
            psutil.wait_procs([psutil.Process(pid)], timeout=_STOP_SECONDS)


def sweep(state: Path, report: Report, *, docker_too: bool = True) -> int:
    """End what a killed supervisord left behind; while one runs, that is only strays."""
    left = [
        process
        for process in marked_processes(lambda other: other == state)
        if docker_too or not _kept_for_later(process)
    ]
    if left:
        report(f"ending {len(left)} processes that lost their supervisor")
    return end(left)


def _kept_for_later(process: psutil.Process) -> bool:
    try:
        return process.name() in _DOCKER_PROGRAMS or "supervisor.supervisord" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
