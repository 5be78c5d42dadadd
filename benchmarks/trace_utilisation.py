"""Generated loads through the real rounds: how much of the hosts is used, and how long jobs wait.

Lublin-like jobs on 256 processors at three loads, and an openb-like mix of cpu, memory and GPUs.
The baseline of the same run is EASY backfill, first come, first served, on the same jobs: for one
resource the published algorithm, written here without anything of ours; for the mix it is our own
engine with one queue, and so marked. The figure is our mean wait as a part of EASY's.
"""

import heapq
from dataclasses import dataclass, replace
from statistics import mean

from benchmarks.batch_shapes import GIB, WIDTH, Job, lublin_like, openb_like
from benchmarks.harness import Figure, report_values, say
from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.simulation import Simulation
from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.batch.scheduling.work import Rules, Snapshot
from fleetwide.containers.placement import Amounts

LOADS, JOBS, MIXED, HOSTS = (0.7, 0.9, 1.06), 1500, 1500, 12
RULES = Rules(preempt_share_per_minute=0.0)
FIGURE = Figure(
    name="trace_utilisation",
    unit="mean wait as a part of EASY's at a load of 1.06",
    goal=1.0,
    better="lower",
    baseline="EASY backfill on the same jobs in the same run",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a load: mean wait in hours, and the used part until the last job came."""

    wait: float
    used: float


def main() -> None:
    told: dict[str, object] = {}
    ratio = 1.0
    for load in LOADS:
        jobs = lublin_like(JOBS, load, seed=1)
        mine, theirs = _ours(jobs, _one_queue(), {"all": Amounts(WIDTH)}), _easy(jobs)
        ratio = mine.wait / max(theirs.wait, 1e-9)
        told[f"lublin_{load}"] = _told(mine, theirs)
    queues = [f"root/q{number:02d}" for number in range(20)]
    hosts = {f"h{number:02d}": Amounts(96_000, 768 * GIB, 0, 0, 8) for number in range(HOSTS)}
    mix = openb_like(MIXED, 1.4, queues, HOSTS, seed=1)
    tree = Tree([QueueNode("root", None), *(QueueNode(path, "root") for path in queues)])
    alone = [Job(replace(job.row, queue="root/all"), job.runs) for job in mix]
    told["openb_1.4"] = _told(_ours(mix, tree, hosts), _ours(alone, _one_queue(), hosts))
    report_values(FIGURE, [ratio], told)


def _told(mine: Outcome, theirs: Outcome) -> dict[str, float]:
    found = {
        "wait_hours": round(mine.wait, 3),
        "easy_wait_hours": round(theirs.wait, 3),
        "used": round(mine.used, 4),
        "easy_used": round(theirs.used, 4),
    }
    say(f"  {found}")
    return found


def _one_queue() -> Tree:
    return Tree([QueueNode("root", None), QueueNode("root/all", "root")])


def _ours(jobs: list[Job], tree: Tree, hosts: dict[str, Amounts]) -> Outcome:
    runs = {job.row.job: job.runs for job in jobs}
    simulation = Simulation(
        Scheduler(Snapshot(tree, hosts, rules=RULES)), lambda row, _: runs[row.job]
    )
    simulation.arrive(job.row for job in jobs)
    starts = {span.row.job: span.started for span in simulation.run()}
    return _outcome(jobs, starts, sum(host.cpu_milli for host in hosts.values()))


def _outcome(jobs: list[Job], starts: dict[str, float], processors: int) -> Outcome:
    last = max(job.row.submitted for job in jobs)
    used = sum(
        max(min(starts[job.row.job] + job.runs, last) - starts[job.row.job], 0.0)
        * job.row.count
        * job.row.shape.amounts.cpu_milli
        for job in jobs
    )
    waits = [starts[job.row.job] - job.row.submitted for job in jobs]
    return Outcome(mean(waits) / 3600, used / (processors * last))


def _easy(jobs: list[Job]) -> Outcome:
    """First come, first served; others may pass the head where they do not delay it."""
    free, waiting, starts = WIDTH, list[Job](), dict[str, float]()
    running: list[tuple[float, float, int]] = []  # the real end, the expected end, the width
    coming = sorted(jobs, key=lambda job: job.row.submitted, reverse=True)
    while coming or running:
        now = min(
            coming[-1].row.submitted if coming else float("inf"),
            running[0][0] if running else float("inf"),
        )
        while running and running[0][0] <= now:
            free += heapq.heappop(running)[2]
        while coming and coming[-1].row.submitted <= now:
            waiting.append(coming.pop())
        for job in _easy_starts(waiting, running, free, now):
            waiting.remove(job)
            free -= job.row.count
            starts[job.row.job] = now
            expected = now + (job.row.seconds or 0.0)
            heapq.heappush(running, (now + job.runs, expected, job.row.count))
    return _outcome(jobs, starts, WIDTH)


def _easy_starts(
    waiting: list[Job], running: list[tuple[float, float, int]], free: int, now: float
) -> list[Job]:
    chosen: list[Job] = []
    ends = sorted((max(expected, now), width) for _, expected, width in running)
    rest = list(waiting)
    while rest and rest[0].row.count <= free:
        job = rest.pop(0)
        chosen.append(job)
        free -= job.row.count
        ends.append((now + (job.row.seconds or 0.0), job.row.count))
    if not rest:
        return chosen
    room, shadow = free, now
    for end, width in sorted(ends):
        room, shadow = room + width, end
        if room >= rest[0].row.count:
            break
    extra = room - rest[0].row.count
    for job in rest[1:]:
        ends_before = now + (job.row.seconds or 0.0) <= shadow
        if job.row.count <= free and (ends_before or job.row.count <= extra):
            chosen.append(job)
            free -= job.row.count
            extra -= 0 if ends_before else job.row.count
    return chosen


if __name__ == "__main__":
    main()
