"""Filling 10,000 empty hosts with Fenzo's own workload, 200 tasks a tick: decisions only.

Published by Netflix for Fenzo (2015 hardware, Java): 813 to 3,570 tasks/s at 97.2 % fill; Nomad's
C1M 3,750/s and Kubernetes' floors of 680 to 810 pods/s include the work after the decision. The
baseline of the same run is first fit in plain Python, timed on 2,000 tasks of the same fill.
"""

from benchmarks.harness import Figure, report_values, say
from benchmarks.placement_shapes import FirstFit, cpu_seconds, equal_fleet, fenzo_tasks, ticks
from fleetwide.containers.placement import Engine, Fleet, Request

HOSTS, CORES, TICK, RUNS = 10_000, 8, 200, 5
BASELINE_TASKS = 2_000
FIGURE = Figure(
    name="placement_fill",
    unit="tasks/s",
    goal=100_000,
    better="higher",
    baseline="first fit in plain Python in the same run; Fenzo published 813-3,570 tasks/s",
)


def main() -> None:
    fleet = equal_fleet(HOSTS, CORES)
    rates, fills = [], []
    for run in range(RUNS):
        requests = fenzo_tasks(HOSTS, CORES, seed=run)
        rate, fill = _fill(fleet, requests)
        say(f"  run {run + 1}: {rate:,.0f} tasks/s, {fill:.3%} of the cores")
        rates.append(rate)
        fills.append(fill)
    simple = _first_fit(fleet, fenzo_tasks(HOSTS, CORES, seed=0))
    report_values(
        FIGURE,
        rates,
        {"tasks_per_second": round(simple), "worst_fill": round(min(fills), 5), "hosts": HOSTS},
    )


def _fill(fleet: Fleet, requests: list[Request]) -> tuple[float, float]:
    """Tasks a second of processor time, and the part of all cores that is taken then."""
    engine = Engine(fleet)
    seconds = cpu_seconds(lambda: [engine.decide(some) for some in ticks(requests, TICK)])
    placed = int(engine.board.tasks.sum())
    taken = 1 - engine.board.free[0].sum() / fleet.total[0].sum()
    return placed / seconds, float(taken)


def _first_fit(fleet: Fleet, requests: list[Request]) -> float:
    """Tasks a second when the fleet is half full: it gets slower as it fills."""
    planner = FirstFit.on(fleet)
    for free in planner.free[: HOSTS // 2]:
        free[0] = 0
    some = requests[:BASELINE_TASKS]
    return len(some) / cpu_seconds(lambda: [planner.place(request) for request in some])


if __name__ == "__main__":
    main()
