"""What the benchmarks of batch scheduling share: trees, loads of work, the planner to compare with.

The loads follow published statistics; no trace is shipped. ``lublin_like`` has the widths and run
times of the Lublin-Feitelson model (most jobs small and short, widths often powers of two, a long
tail); ``openb_like`` the mix of cpu, memory and GPUs of a GPU cluster.
"""

import math
from dataclasses import dataclass
from random import Random

from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.batch.scheduling.work import Pending, Snapshot
from fleetwide.containers.placement import MIB, Amounts, Shape

GIB = 1024 * MIB
PER_TEAM = 50
WIDTH = 256
"""Processors of the machine that the Lublin-like load is for."""


@dataclass(frozen=True)
class Job:
    """A job that comes at a time, and for how long it really runs."""

    row: Pending
    runs: float


def teams(queues: int, random: Random) -> Tree:
    """Fifty queues to a team."""
    nodes = [QueueNode("root", None)]
    for number in range(queues):
        team = f"root/t{number // PER_TEAM:03d}"
        if number % PER_TEAM == 0:
            nodes.append(QueueNode(team, "root", weight=random.choice([1.0, 2.0])))
        weight = random.choice([1.0, 1.0, 2.0])
        nodes.append(QueueNode(f"{team}/q{number % PER_TEAM:02d}", team, weight=weight))
    return Tree(nodes)


def full_house(pending: int, queues: int, hosts: int, seed: int) -> Snapshot:
    """Empty hosts, and much more work than they take: six shapes, some priorities and owners."""
    random = Random(seed)
    tree = teams(queues, random)
    leaves = [node.path for node in tree.leaves]
    total = {
        f"h{number:05d}": Amounts(96_000, 384 * GIB, 0, 0, random.choice([0, 0, 8]))
        for number in range(hosts)
    }
    sizes = ((4, 16, 0), (8, 32, 0), (16, 50, 0), (12, 40, 1), (32, 57, 1), (64, 128, 0))
    shapes = [Shape(Amounts(cpu * 1000, gib * GIB, 0, 0, gpus)) for cpu, gib, gpus in sizes]
    rows = tuple(
        Pending(
            f"j{number:06d}",
            leaves[number % len(leaves)],
            random.choice(shapes),
            owner=f"o{number % 7}",
            submitted=number % 1000 - 1000.0,
            seconds=random.choice([60.0, 600.0, 7200.0]),
            priority=random.choice([0, 0, 0, 10]),
        )
        for number in range(pending)
    )
    return Snapshot(tree, total, rows)


def lublin_like(jobs: int, load: float, seed: int) -> list[Job]:
    """Jobs of one resource for ``WIDTH`` processors; ``load`` is the part of them that is asked."""
    random = Random(seed)
    drawn = [(_width(random), _seconds(random)) for _ in range(jobs)]
    asked = sum(width * seconds for width, seconds in drawn)
    span = asked / (WIDTH * load)
    at = sorted(random.uniform(0, span) for _ in drawn)
    one = Shape(Amounts(1))
    return [
        Job(
            Pending(
                f"j{number:05d}",
                "root/all",
                one,
                count=width,
                gang=True,
                submitted=when,
                seconds=seconds * random.uniform(1.0, 3.0),
            ),
            seconds,
        )
        for number, (when, (width, seconds)) in enumerate(zip(at, drawn, strict=True))
    ]


def _width(random: Random) -> int:
    if random.random() < 0.24:
        return 1
    exponent = random.triangular(0.8, math.log2(WIDTH), 3.5)
    return 2 ** round(exponent) if random.random() < 0.6 else max(1, round(2**exponent))


def _seconds(random: Random) -> float:
    """Two gamma distributions of the logarithm: short jobs and long ones."""
    short = random.random() < 0.55
    logarithm = random.gammavariate(4.2, 0.94) if short else random.gammavariate(312.0, 0.03)
    return max(1.0, min(math.exp(logarithm), 100_000.0))


def openb_like(jobs: int, load: float, queues: list[str], hosts: int, seed: int) -> list[Job]:
    """Single tasks of several resources: most ask for one GPU, run times have a long tail."""
    random = Random(seed)
    drawn = []
    for _ in range(jobs):
        gpus = random.choices([0, 1, 2, 8], [13, 86, 0.6, 0.4])[0]
        cpu = min(max(round(random.lognormvariate(2.3, 0.5)), 1), 64)
        gib = min(max(round(random.lognormvariate(3.5, 0.5)), 1), 256)
        seconds = min(max(random.lognormvariate(6.4, 1.6), 5.0), 40_000.0)
        drawn.append((Shape(Amounts(cpu * 1000, gib * GIB, 0, 0, gpus)), seconds))
    share = [
        max(shape.amounts.cpu_milli / 96_000, shape.amounts.gpus / 8) * seconds
        for shape, seconds in drawn
    ]
    span = sum(share) / (hosts * load)
    at = sorted(random.uniform(0, span) for _ in drawn)
    return [
        Job(
            Pending(
                f"j{number:05d}",
                random.choice(queues),
                shape,
                submitted=when,
                seconds=seconds * random.uniform(1.0, 3.0),
            ),
            seconds,
        )
        for number, (when, (shape, seconds)) in enumerate(zip(at, drawn, strict=True))
    ]
