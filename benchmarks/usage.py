"""CPU and memory of a running platform's processes, and figures as a table."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from benchmarks.harness import RunningPlatform, say
from fleetwide.dev.platform import status

MIB = 1024**2


@dataclass
class Spent:
    """What the processes used during a stretch of work; the seconds are those of CPU."""

    cpu: dict[str, float]
    wall: float = 0.0

    def above(self, idle: "Spent") -> "Spent":
        """Less what they would have used in the same time without the work."""
        share = self.wall / idle.wall
        kept = {name: max(0.0, cpu - idle.cpu[name] * share) for name, cpu in self.cpu.items()}
        return Spent(kept, self.wall)

    def milliseconds(self, name: str, count: int) -> float:
        """Of one process, for each of ``count`` things."""
        return round(self.cpu[name] * 1000 / count, 1)


def processes(running: RunningPlatform, names: Sequence[str]) -> dict[str, psutil.Process]:
    """Those of the platform's processes, by name."""
    pids = {item.name: item.pid for item in status(running.state) if item.pid}
    return {name: psutil.Process(pids[name]) for name in names}


def cpu_seconds(of: Mapping[str, psutil.Process]) -> dict[str, float]:
    """What each has used since it started, its children's that ended included."""
    return {name: sum(process.cpu_times()) for name, process in of.items()}


@contextmanager
def spending(of: Mapping[str, psutil.Process]) -> Iterator[Spent]:
    """What the processes use while the block runs; filled in at its end."""
    spent, before, started = Spent({}), cpu_seconds(of), time.perf_counter()
    yield spent
    spent.wall = time.perf_counter() - started
    spent.cpu = {name: after - before[name] for name, after in cpu_seconds(of).items()}


def memory_mib(of: Mapping[str, psutil.Process]) -> dict[str, int]:
    """What each holds in memory now."""
    return {name: process.memory_info().rss // MIB for name, process in of.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print figures for people; numbers to the right."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        first, *rest = zip(line, widths, strict=True)
        say("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]))
