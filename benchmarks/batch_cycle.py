"""One round of batch: 50,000 jobs wait in 1,000 queues for 1,500 hosts; then after 40 changes each.

Kueue's own large test (50,000 workloads, 1,000 queues) publishes 42.4 admissions/s, its simulated
runs included. The baseline of the same run is dominant-resource fairness over flat queues with
first fit, in plain Python, timed on its first decisions. All in processor seconds, as others share
the machine; ``loop_seconds`` (ten million additions) tells how fast it was meanwhile.
"""

from random import Random
from statistics import median

from benchmarks.batch_shapes import full_house
from benchmarks.harness import Figure, report_values, say
from benchmarks.placement_shapes import cpu_seconds
from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.work import Pending, Snapshot

SHAPE = (50_000, 1_000, 1_500)
LARGE = (100_000, 1_000, 5_000)
RUNS, CHANGED, INCREMENTAL = 3, 20, 15
DECISIONS = 150
FIGURE = Figure(
    name="batch_cycle",
    unit="CPU seconds for a full round",
    goal=2.0,
    better="lower",
    baseline="flat DRF with first fit in plain Python in the same run; Kueue published 42.4/s",
)


def main() -> None:
    full, incremental, rates = [], [], []
    for run in range(RUNS):
        snapshot = full_house(*SHAPE, seed=run)
        scheduler = Scheduler(snapshot)
        full.append(cpu_seconds(lambda: scheduler.round(0.0)))  # noqa: B023 - runs at once
        rates.append(len(scheduler.state.tasks) / full[-1])
        incremental += _incremental(scheduler, snapshot, run)
        say(f"  run {run + 1}: {full[-1]:.2f} s, then {median(incremental) * 1000:.0f} ms")
    large = Scheduler(full_house(*LARGE, seed=9))
    large_seconds = cpu_seconds(lambda: large.round(0.0))
    report_values(
        FIGURE,
        full,
        {
            "starts_per_second": round(median(rates)),
            "plain_python_per_second": round(_plain(full_house(*SHAPE, seed=0)), 1),
            "kueue_published_per_second": 42.4,
            "incremental_ms": round(median(incremental) * 1000, 1),
            "large_seconds": round(large_seconds, 2),
            "large_starts_per_second": round(len(large.state.tasks) / large_seconds),
            "loop_seconds": round(cpu_seconds(lambda: sum(each * 2 for each in range(10**7))), 2),
        },
    )


def _incremental(scheduler: Scheduler, snapshot: Snapshot, seed: int) -> list[float]:
    """Rounds after some tasks have ended and as many jobs have come."""
    random, seconds = Random(seed), list[float]()
    leaves = [node.path for node in snapshot.tree.leaves]
    for number in range(INCREMENTAL):
        now = 20.0 + number
        for key in random.sample(sorted(scheduler.state.tasks), CHANGED):
            scheduler.end(key)
        for each in range(CHANGED):
            shape = random.choice(snapshot.pending).shape
            name = f"n{number}-{each}"
            row = Pending(name, random.choice(leaves), shape, submitted=now, seconds=60.0)
            scheduler.add(row)
        seconds.append(cpu_seconds(lambda: scheduler.round(now)))  # noqa: B023 - runs at once
    return seconds


def _plain(snapshot: Snapshot) -> float:
    """Decisions a second of the obvious loop: the poorest queue's oldest job, the first host."""
    queues: dict[str, list[Pending]] = {}
    for row in sorted(snapshot.pending, key=lambda row: row.submitted, reverse=True):
        queues.setdefault(row.queue, []).append(row)
    free = [list(amounts.vector) for amounts in snapshot.hosts.values()]
    whole = [sum(column) or 1 for column in zip(*free, strict=True)]
    used = {queue: [0] * len(whole) for queue in queues}

    def share(queue: str) -> float:
        return max(amount / there for amount, there in zip(used[queue], whole, strict=True))

    def decide() -> None:
        for _ in range(DECISIONS):
            queue = min(queues, key=share)
            need = queues[queue].pop().shape.amounts.vector
            for host in free:
                if all(has >= asked for has, asked in zip(host, need, strict=True)):
                    for each, asked in enumerate(need):
                        host[each] -= asked
                        used[queue][each] += asked
                    break

    return DECISIONS / cpu_seconds(decide)


if __name__ == "__main__":
    main()
