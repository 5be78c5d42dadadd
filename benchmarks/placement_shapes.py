"""What the benchmarks of placement share: fleets, Fenzo's workload, the planner to compare with."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import process_time

from fleetwide.containers.placement import Amounts, Fleet, Host, Request, Shape, Traits

GIB = 1024**3
ZONES = ("a", "b", "c")


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of this process: others share the machine."""
    before = process_time()
    work()
    return process_time() - before


def equal_fleet(count: int, cores: int = 8) -> Fleet:
    """Hosts as in Fenzo's test: 8 cores, memory and the rest in plenty."""
    total = Amounts(cores * 1000, cores * 4 * GIB, 1000 * GIB, 10_000)
    return Fleet.of(
        Host(f"h{number:06d}", total, total, traits=Traits(zone=ZONES[number % 3]))
        for number in range(count)
    )


def fenzo_tasks(hosts: int, cores: int, seed: int) -> list[Request]:
    """Fenzo's fill: by cores, 20 % single cores, 40 % half hosts, 40 % three-quarter hosts."""
    whole = hosts * cores
    parts = ((1, 0.2), (cores // 2, 0.4), (cores * 3 // 4, 0.4))
    sizes: list[int] = []
    for size, part in parts:
        sizes += [size] * int(whole * part / size)
    random.Random(seed).shuffle(sizes)
    shapes = {size: Shape(Amounts(size * 1000, size * GIB)) for size, _ in parts}
    return [Request(number, shapes[size]) for number, size in enumerate(sizes)]


def ticks(requests: Sequence[Request], size: int) -> Iterable[Sequence[Request]]:
    """The requests as they reach the scheduler, so many at a time."""
    return (requests[first : first + size] for first in range(0, len(requests), size))


@dataclass
class FirstFit:
    """The obvious planner in plain Python: each task on the first host that has room for it."""

    free: list[list[int]]

    @classmethod
    def on(cls, fleet: Fleet) -> "FirstFit":
        return cls([list(host.free.vector) for host in fleet.hosts])

    def place(self, request: Request) -> int | None:
        need = request.shape.amounts.vector
        for number, free in enumerate(self.free):
            if all(has >= asked for has, asked in zip(free, need, strict=True)):
                self.free[number] = [has - asked for has, asked in zip(free, need, strict=True)]
                return number
        return None
