"""How long after a host has been missed the service that it ran has its copies again.

A host with both copies of a service dies at once: its worker, its guard and its containers get
SIGKILL. Another host goes on and has room. Two moments are looked for in SQL, where all of the
platform finds them, every 20 ms:

- the host is Disconnected. This detection is the baseline. It is a heartbeat time-out of Temporal:
  10 s after the last heartbeat (``report_seconds`` times 10), which was up to a second before the
  end, and the time to write that down;
- both replacements are Started, as far as the platform knows: the service was woken, has started
  tasks, they were placed, their containers started, and their host has told of it.

The value is the second less the first, in seconds; the median of some hosts.
``python -m benchmarks.host_loss 2`` kills two.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from docker import APIClient
from sqlmodel import col, select

from benchmarks.containers import build_base
from benchmarks.harness import Figure, RunningPlatform, report_values, running_platform, say
from benchmarks.usage import table
from fleetwide.client import Client
from fleetwide.containers.launch import HOST_LABEL, PLATFORM_LABEL
from fleetwide.dev.platform import status
from fleetwide.models.host_moves import HostMove, HostRemoval
from fleetwide.models.hosts import HostState
from fleetwide.models.service_documents import NewService
from fleetwide.models.service_moves import ServiceMove
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_states import TaskState
from fleetwide.providers.lease_folder import GUARD_LOCK
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow, JobRow

KILLS = 7
COPIES = 2
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
FIGURE = Figure(
    name="host_loss",
    unit="s from a lost host's detection to the start of all replacements",
    goal=2.0,
    better="lower",
    baseline="detection: from the kill until the host is Disconnected",
)
Found = TypeVar("Found")


@dataclass(frozen=True)
class Loss:
    """What one kill led to; seconds since the kill."""

    detected: float
    replaced: float


def until(look: Callable[[], Found | None], what: str) -> Found:
    """The first answer that is one; ends the benchmark when none comes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        if time.monotonic() >= deadline:
            sys.exit(f"waited in vain until {what}")
        time.sleep(LOOK_SECONDS)
    return found


@dataclass(frozen=True)
class Bench:
    """A platform with a host of its own that stays; others are started and killed beside it."""

    running: RunningPlatform
    client: Client
    store: Store
    image: str
    other: str
    """The host that stays."""

    def lose(self, number: int) -> Loss:
        """Start a host, have a service use it, kill it, and clear up."""
        host_id, service_id = f"lost-{number}", f"loss-{number}"
        with self._host(host_id) as worker:
            until(lambda: self._host_state(host_id) == HostState.ACTIVE, f"{host_id} is there")
            self.client.fleet.cordon(self.other, HostMove(reason="copies go to another"))
            self.client.services.create(NewService(name=service_id, spec=self._service()))
            until(lambda: len(self._started(service_id)) == COPIES, "the copies have started")
            self.client.fleet.uncordon(self.other, HostMove(reason="copies may come"))
            loss = self._kill(worker, host_id, service_id)
        self.client.services.delete(service_id, ServiceMove(reason="it was measured"))
        gone = HostRemoval(gone=True, reason="it was killed")
        self.client.fleet.remove(host_id, gone)
        until(lambda: not self._started(service_id), f"{service_id} has ended")
        return loss

    def _kill(self, worker: subprocess.Popen[bytes], host_id: str, service_id: str) -> Loss:
        before = self._started(service_id)
        guard = self.running.state / "leases" / host_id / GUARD_LOCK
        killed = time.monotonic()
        worker.kill()
        os.kill(int(guard.read_text().split()[0]), signal.SIGKILL)
        self._remove_containers(host_id)
        until(lambda: self._host_state(host_id) == HostState.DISCONNECTED, f"{host_id} is missed")
        detected = time.monotonic()
        until(
            lambda: len(self._started(service_id) - before) == COPIES,
            "the replacements have started",
        )
        return Loss(detected - killed, time.monotonic() - killed)

    @contextmanager
    def _host(self, host_id: str) -> Iterator[subprocess.Popen[bytes]]:
        """A further host on the same daemon, with the settings of the platform's own."""
        [pid] = [one.pid for one in status(self.running.state) if one.name == "host"]
        variables = psutil.Process(pid).environ() | {
            "FLEETWIDE_HOST_ID": host_id,
            "FLEETWIDE_HOST_CPU": "1",
            "FLEETWIDE_HOST_MEMORY": str(2**30),
        }
        variables.pop("FLEETWIDE_METRICS_ADDRESS", None)  # it is the other's
        command = [str(Path(sys.executable).with_name("fleetwide")), "worker", "host"]
        with (self.running.state / "logs" / f"{host_id}.log").open("ab") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _remove_containers(self, host_id: str) -> None:
        """Killed, and gone: nobody comes back to clear them up."""
        labels = [f"{PLATFORM_LABEL}={self.running.state}", f"{HOST_LABEL}={host_id}"]
        api = APIClient()
        for found in api.containers(filters={"label": labels}):
            api.remove_container(found["Id"], force=True)
        api.close()

    def _service(self) -> ContainerServiceSpec:
        return ContainerServiceSpec.model_validate(
            {
                "app": "loss",
                "capacity": {"desired": COPIES},
                "container": {
                    "image": self.image,
                    "command": ["sleep", "1000"],
                    "resources": {"cpu": 0.1, "memory": "32MiB"},
                    "stop_grace_seconds": 0,
                },
            }
        )

    def _host_state(self, host_id: str) -> str:
        with self.store.read() as session:
            return (
                session.exec(select(HostRow.state).where(HostRow.host_id == host_id)).first() or ""
            )

    def _started(self, service_id: str) -> set[str]:
        """Its copies that have started and not ended, by their workflows' ids."""
        query = (
            select(JobRow.workflow_id)
            .join(AttemptRow, col(AttemptRow.job_id) == JobRow.id)
            .where(JobRow.service_id == service_id, AttemptRow.state == TaskState.STARTED)
        )
        with self.store.read() as session:
            return set(session.exec(query))


def main() -> None:
    kills = int(sys.argv[1]) if sys.argv[1:] else KILLS
    with running_platform() as running, Client(running.url("api")) as client:
        say("building a small OS release to run")
        store = Store.open(f"sqlite:///{running.state}/fleetwide.db")
        image = build_base(running)
        [other] = until(lambda: client.hosts().items, "the host that stays is there")
        bench = Bench(running, client, store, image, other.host_id)
        losses = list[Loss]()
        for number in range(kills):
            losses.append(bench.lose(number))
            say(f"  {number + 1}: {losses[-1]}")
        store.engine.dispose()
    tell(losses)


def tell(losses: list[Loss]) -> None:
    rows = [
        [f"{one.detected:.2f}", f"{one.replaced:.2f}", f"{one.replaced - one.detected:.2f}"]
        for one in losses
    ]
    table(["s: detected", "replaced", "between"], rows)
    detected = [one.detected for one in losses]
    report_values(
        FIGURE,
        [one.replaced - one.detected for one in losses],
        {
            "median_seconds": round(statistics.median(detected), 2),
            "spread": [round(min(detected), 2), round(max(detected), 2)],
            "our_median_seconds": round(statistics.median(one.replaced for one in losses), 2),
        },
    )


if __name__ == "__main__":
    main()
