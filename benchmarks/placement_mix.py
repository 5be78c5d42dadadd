"""A heavy-tailed mix with constraints on 10,000 hosts: decisions only.

Three quarters of the jobs are one task, the rest have Pareto sizes. A part of them asks for zones,
labels, GPUs, balance over zones, one task per host, other jobs kept away, or spreading; hosts are
of three sizes, some with GPUs. The baseline of the same run is first fit in plain Python without
any constraint, on as many hosts. Kubernetes' own floors for constrained pods are 180 to 680/s, with
the API server's work.
"""

import random
from dataclasses import replace
from functools import partial

from benchmarks.harness import Figure, report_values, say
from benchmarks.placement_shapes import GIB, ZONES, FirstFit, cpu_seconds, ticks
from fleetwide.containers.placement import (
    Amounts,
    Engine,
    Fit,
    Fleet,
    Host,
    Request,
    Shape,
    Traits,
    Wishes,
)

HOSTS, JOBS, TICK, RUNS = 10_000, 8_000, 500, 3
BASELINE_TASKS = 1_000
FIGURE = Figure(
    name="placement_mix",
    unit="tasks/s",
    goal=20_000,
    better="higher",
    baseline="first fit in plain Python without constraints in the same run, as many hosts",
)


def main() -> None:
    fleet = _fleet()
    rates, parts = [], []
    for run in range(RUNS):
        requests = _requests(seed=run)
        engine = Engine(fleet)
        seconds = cpu_seconds(partial(_place, engine, requests))
        say(f"  run {run + 1}: {len(requests):,} tasks, {len(requests) / seconds:,.0f}/s")
        rates.append(len(requests) / seconds)
        parts.append(int(engine.board.tasks.sum()) / len(requests))
    planner, some = FirstFit.on(fleet), _requests(seed=0)[:BASELINE_TASKS]
    for free in planner.free[: HOSTS // 2]:
        free[0] = 0
    simple = len(some) / cpu_seconds(lambda: [planner.place(each) for each in some])
    report_values(
        FIGURE,
        rates,
        {"tasks_per_second": round(simple), "placed": round(min(parts), 4), "hosts": HOSTS},
    )


def _place(engine: Engine, requests: list[Request]) -> None:
    for some in ticks(requests, TICK):
        engine.decide(some)


def _fleet() -> Fleet:
    draw = random.Random(7)
    sizes = ((16, 64, 0), (48, 192, 0), (96, 384, 8))
    hosts = []
    for number in range(HOSTS):
        cpu, memory, gpus = draw.choices(sizes, (60, 35, 5))[0]
        total = Amounts(cpu * 1000, memory * GIB, 1000 * GIB, 25_000, gpus)
        labels = frozenset({("disk", draw.choice(["ssd", "hdd"]))})
        traits = Traits(
            zone=ZONES[number % 3], machine_type=f"m{cpu}", labels=labels, machine_group="main"
        )
        hosts.append(Host(f"h{number:06d}", total, total, traits=traits))
    return Fleet.of(hosts)


def _requests(seed: int) -> list[Request]:
    draw = random.Random(seed)
    requests: list[Request] = []
    for job in range(JOBS):
        size = 1 if draw.random() < 0.75 else min(int(draw.paretovariate(1.05) * 3), 2_000)
        shape = _shape(draw)
        requests += [
            Request(len(requests) + number, shape, job=f"job/{job}") for number in range(size)
        ]
    return requests


def _shape(draw: random.Random) -> Shape:
    """One of a few sizes; one job in three has a constraint."""
    cpu = draw.choice([250, 500, 1000, 2000, 4000])
    plain = Shape(Amounts(cpu, draw.choice([1, 2, 4]) * GIB, GIB, 100))
    wanted = draw.choices(range(8), (66, 8, 8, 6, 4, 4, 2, 2))[0]
    constrained: dict[int, Shape] = {
        1: replace(plain, hard=Wishes(zones=frozenset({draw.choice(ZONES)}))),
        2: replace(plain, hard=Wishes(labels=frozenset({("disk", "ssd")}))),
        3: replace(plain, hard=Wishes(zone_balance=True)),
        4: replace(plain, soft=Wishes(zone_balance=True, machine_types=frozenset({"m48"}))),
        5: replace(plain, hard=Wishes(unique_host=True)),
        6: replace(plain, fit=Fit.SPREAD),
        7: replace(plain, amounts=replace(plain.amounts, gpus=1)),
    }
    return constrained.get(wanted, plain)


if __name__ == "__main__":
    main()
