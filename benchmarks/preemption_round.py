"""What a round of preemption costs the scheduler's loop: 5,000 hosts, 40,000 tasks on lent places.

Decisions only, in processor time of this process; every host is full of what was lent, and 200
guaranteed requests wait. The value is the median round. The baseline in the same run sorts the
running tasks by who is asked first, all of them at once, as rounds did before: a part of what a
round once was, and more than all of it shall be.
"""

import random
from functools import partial

from benchmarks.harness import Figure, report_values, say
from benchmarks.placement_shapes import GIB, ZONES, cpu_seconds
from fleetwide.containers.placement import (
    Amounts,
    CapacityGroup,
    Dimension,
    Engine,
    Fleet,
    Host,
    Ledger,
    Request,
    RunningTask,
    Shape,
    Tier,
    Traits,
    propose,
)

HOSTS, TASKS_A_HOST, WAITING, RUNS = 5_000, 8, 200, 5
FIGURE = Figure(
    name="preemption_round",
    unit="milliseconds",
    goal=150,
    better="lower",
    baseline="one sort of all running tasks in the same run",
)
TASK = Amounts(1000, 4 * GIB, GIB, 100)
NEED = Shape(Amounts(3000, 12 * GIB, GIB, 100))


def main() -> None:
    fleet, running = lent_out()
    groups = (
        CapacityGroup("owner", Tier.CRITICAL, guarantee={Dimension.CPU: 8000 * HOSTS}),
        CapacityGroup("borrower", used=Amounts(1000 * len(running))),
    )
    waiting = [Request(number, NEED, group="owner") for number in range(WAITING)]
    rounds, sorts = [], []
    for number in range(RUNS):
        engine, ledger = Engine(fleet), Ledger(fleet, groups)
        work = partial(propose, engine.board, ledger, waiting, running, engine.kind_of)
        rounds.append(cpu_seconds(work) * 1000)
        sorts.append(cpu_seconds(partial(sort, running)) * 1000)
        say(f"  round {number + 1}: {rounds[-1]:.0f} ms, one sort {sorts[-1]:.0f} ms")
    engine = Engine(fleet)
    found, _ = propose(engine.board, Ledger(fleet, groups), waiting, running, engine.kind_of)
    report_values(
        FIGURE,
        rounds,
        {"milliseconds": round(sorted(sorts)[RUNS // 2], 1), "hosts": HOSTS, "found": len(found)},
    )


def sort(running: list[RunningTask]) -> list[RunningTask]:
    return sorted(
        running, key=lambda one: (not one.announced, one.priority, -one.started, one.task_id)
    )


def lent_out() -> tuple[Fleet, list[RunningTask]]:
    """Full hosts, and who fills them."""
    draw, hosts = random.Random(7), list[Host]()
    running = list[RunningTask]()
    total = Amounts(8000, 32 * GIB, 100 * GIB, 10_000)
    free = Amounts(0, 0, 92 * GIB, 9_200)
    for number in range(HOSTS):
        name = f"h{number:06d}"
        hosts.append(
            Host(name, total, free, traits=Traits(zone=ZONES[number % 3]), tasks=TASKS_A_HOST)
        )
        running += [
            RunningTask(
                str(len(running) + more), name, TASK, "borrower", draw.random() * 1e6, priority=more
            )
            for more in range(TASKS_A_HOST)
        ]
    return Fleet.of(hosts), running


if __name__ == "__main__":
    main()
