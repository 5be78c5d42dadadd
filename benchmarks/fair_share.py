"""Shares of queues over time, beside what weighted fairness gives each: the largest difference.

A tree of two levels, queues of several weights that always have work of different shapes and run
times, hosts that are full. After a time for convergence, what each queue has used is compared with
weighted max-min of dominant shares. The baseline is the same work first come, first served.
"""

from random import Random

from benchmarks.harness import Figure, report_values, say
from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.simulation import Simulation
from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.batch.scheduling.work import Pending, Rules, Snapshot
from fleetwide.containers.placement import Amounts, Shape

HOSTS, CORES, RUNS = 6, 32, 2
JOBS, WARM, UNTIL = 800, 60.0, 360.0
WEIGHTS = {"root/a/x": 1.0, "root/a/y": 2.0, "root/b/x": 1.0, "root/b/y": 1.0, "root/b/z": 3.0}
TEAMS = {"root/a": 2.0, "root/b": 3.0}
FIGURE = Figure(
    name="fair_share",
    unit="largest difference from the ideal share, in percent of everything",
    goal=2.0,
    better="lower",
    baseline="the same work first come, first served, in the same run",
)


def main() -> None:
    ours, plain = [], []
    for seed in range(RUNS):
        ours.append(_difference(seed, _tree()))
        plain.append(_difference(seed, Tree([QueueNode("root", None)])))
        say(f"  run {seed + 1}: {ours[-1]:.2f} %, without fairness {plain[-1]:.2f} %")
    report_values(FIGURE, ours, {"without_fairness_percent": round(max(plain), 2)})


def _tree() -> Tree:
    teams = [QueueNode(path, "root", weight=weight) for path, weight in TEAMS.items()]
    queues = [QueueNode(path, path[:6], weight=weight) for path, weight in WEIGHTS.items()]
    return Tree([QueueNode("root", None), *teams, *queues])


def _ideal(path: str) -> float:
    """A queue's part of everything: its team's by weight, and of that its own."""
    siblings = sum(weight for other, weight in WEIGHTS.items() if other[:6] == path[:6])
    return TEAMS[path[:6]] / sum(TEAMS.values()) * WEIGHTS[path] / siblings


def _difference(seed: int, tree: Tree) -> float:
    random = Random(seed)
    hosts = {f"h{number:02d}": Amounts(CORES, 4 * CORES) for number in range(HOSTS)}
    rules = Rules(preempt_share_per_minute=0.0, overdue_seconds=float("inf"), history_weight=0.0)
    simulation = Simulation(
        Scheduler(Snapshot(tree, hosts, rules=rules)), lambda row, _: row.seconds or 1.0
    )
    shapes = [Shape(Amounts(cpu, memory)) for cpu, memory in ((1, 1), (1, 2), (2, 4), (4, 4))]
    names = [path for path in WEIGHTS for _ in range(JOBS)]
    random.shuffle(names)
    simulation.arrive(
        Pending(
            f"{number:06d}",
            path if path in tree else "root",
            random.choice(shapes),
            owner=path,
            submitted=0.0 if path in tree else number * 1e-9,
            seconds=random.choice([10.0, 20.0, 40.0]),
        )
        for number, path in enumerate(names)
    )
    used = dict.fromkeys(WEIGHTS, 0.0)
    for span in simulation.run(UNTIL):
        seconds = min(span.ended, UNTIL) - max(span.started, WARM)
        used[span.row.owner] += max(seconds, 0.0) * span.row.shape.amounts.cpu_milli
    whole = sum(used.values())
    return 100 * max(abs(amount / whole - _ideal(path)) for path, amount in used.items())


if __name__ == "__main__":
    main()
