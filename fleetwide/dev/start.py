"""Start a plan's processes in order, each as soon as those before it are healthy."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fleetwide.dev.attributes import register_search_attributes
from fleetwide.dev.health import healthy
from fleetwide.dev.logs import tail
from fleetwide.dev.plan import Plan, PlannedProcess
from fleetwide.dev.supervisor import ProcessInfo, Supervisor, last_exit
from fleetwide.errors import ServiceUnavailable

Report = Callable[[str], None]

_POLL_SECONDS = 0.05
_LOG_LINES = 20


@dataclass
class Start:
    """One run of ``dev up`` over the processes ``waiting``."""

    plan: Plan
    supervisor: Supervisor
    path: str
    report: Report
    waiting: dict[str, PlannedProcess]
    ready: set[str] = field(default_factory=set)
    begun: dict[str, float] = field(default_factory=dict)
    """When each process was started, in monotonic seconds."""

    def run(self) -> int:
        """Start all and wait until each is healthy; return how many had to be started.

        Raises:
            ServiceUnavailable: a process ended or did not become healthy in time; the message
                has the last lines of its log. The others keep running.
        """
        self._skip_ready()
        while self.waiting:
            known = self.supervisor.info()
            for process in list(self.waiting.values()):
                if process.name not in known:
                    raise ServiceUnavailable("supervisord went away", hint="fleetwide dev up")
                self._advance(process, known[process.name])
            time.sleep(_POLL_SECONDS if self.waiting else 0)
        return len(self.begun)

    def _skip_ready(self) -> None:
        known = self.supervisor.info()
        for name, process in list(self.waiting.items()):
            if name in known and is_ready(process, known[name]):
                self._done(name)

    def _done(self, name: str) -> None:
        del self.waiting[name]
        self.ready.add(name)

    def _advance(self, process: PlannedProcess, info: ProcessInfo) -> None:
        name = process.name
        if name not in self.begun:
            self._begin(process, info)
        elif is_ready(process, info):
            self._finish(process)
        elif info.statename in {"BACKOFF", "FATAL", "EXITED"}:
            log = self.plan.logs / "supervisord.log"
            raise self._failure(process, f"ended ({last_exit(log, name)})")
        elif time.monotonic() - self.begun[name] > process.start_seconds:
            raise self._failure(process, f"was not healthy within {process.start_seconds} s")

    def _begin(self, process: PlannedProcess, info: ProcessInfo) -> None:
        if not self.ready.issuperset(process.needs):
            return
        if info.statename == "BACKOFF":  # left by a start that failed; begin anew
            self.supervisor.stop(process.name)
            return
        self.supervisor.start(process.name)
        self.begun[process.name] = time.monotonic()

    def _finish(self, process: PlannedProcess) -> None:
        if process.name == "temporal":
            register_search_attributes(self.plan, self.path)
        seconds = time.monotonic() - self.begun[process.name]
        word = "done" if process.one_shot else "ready"
        self.report(f"{process.name:<10} {word} in {seconds:.1f} s")
        self._done(process.name)

    def _failure(self, process: PlannedProcess, what: str) -> ServiceUnavailable:
        log = self.plan.logs / f"{process.name}.log"
        lines = tail(log, _LOG_LINES) or ["(nothing)"]
        evidence = "\n".join(f"  {line}" for line in lines)
        return ServiceUnavailable(
            f"{process.name} {what}; last lines of {log}:\n{evidence}",
            hint=f"fleetwide dev logs {process.name}; to stop the others: fleetwide dev down",
        )


def is_ready(process: PlannedProcess, info: ProcessInfo) -> bool:
    """Whether what comes after ``process`` may start."""
    if process.one_shot:
        return info.ended_well
    if process.health is None:
        return info.statename == "RUNNING"
    return info.runs and healthy(process.health)
