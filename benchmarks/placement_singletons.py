"""One task at a time, each decided before the next one is known, on fleets of growing size.

As many tasks end as are placed, so that the fleet stays 80 % full. Times are processor time of the
decision alone. The baseline of the same run is first fit in plain Python on 5,000 hosts; Titus's
own loop had a ceiling of about 1,000 placements/s by its settings.
"""

import random
import statistics
from collections import deque
from time import process_time_ns

from benchmarks.harness import Figure, report_values, say
from benchmarks.placement_shapes import GIB, FirstFit, cpu_seconds, equal_fleet
from fleetwide.containers.placement import Amounts, Engine, Request, Shape

SIZES = (1_000, 5_000, 10_000, 40_000)
TASKS, SHAPES, FULL = 4_000, 20, 0.8
BASELINE_TASKS = 500
FIGURE = Figure(
    name="placement_singletons",
    unit="tasks/s, slowest of all sizes of fleet",
    goal=10_000,
    better="higher",
    baseline="first fit in plain Python in the same run, 5,000 hosts 80 % full",
)


def main() -> None:
    told = {}
    for size in SIZES:
        times = _times(size)
        rate = len(times) / (sum(times) / 1e9)
        p99 = statistics.quantiles(times, n=100)[98] / 1e6
        say(f"  {size:,} hosts: {rate:,.0f} tasks/s, p99 {p99:.3f} ms")
        told[size] = (rate, p99)
    rates = [rate for rate, _ in told.values()]
    report_values(
        FIGURE,
        [min(rates)],
        {
            "tasks_per_second": round(_first_fit()),
            "by_hosts": {size: round(rate) for size, (rate, _) in told.items()},
            "p99_ms": {size: round(p99, 3) for size, (_, p99) in told.items()},
            "slowest_by_fastest": round(min(rates) / max(rates), 2),
        },
    )


def _shapes() -> list[Shape]:
    draw = random.Random(1)
    return [
        Shape(Amounts(draw.choice([500, 1000, 2000, 3000]), draw.randint(1, 8) * GIB // 2))
        for _ in range(SHAPES)
    ]


def _times(size: int) -> list[int]:
    """Nanoseconds of processor time that each decision took."""
    engine, draw, shapes = Engine(equal_fleet(size)), random.Random(2), _shapes()
    running: deque[tuple[Request, str]] = deque()
    number = 0

    def request() -> Request:
        nonlocal number
        number += 1
        return Request(number, draw.choice(shapes), job=f"task/{number}")

    def keep(some: list[Request]) -> None:
        by_id = {each.request_id: each for each in some}
        running.extend((by_id[n], host) for n, host, _ in engine.decide(some).decisions)

    whole = engine.board.fleet.total[0].sum()
    while engine.board.free[0].sum() > (1 - FULL) * whole:
        keep([request() for _ in range(size)])
    times = []
    for _ in range(TASKS):
        one = [request()]
        began = process_time_ns()
        made = engine.decide(one)
        times.append(process_time_ns() - began)
        running.extend((one[0], host) for _, host, _ in made.decisions)
        place = draw.randrange(len(running))
        running.rotate(-place)
        engine.finish(*running.popleft())
    return times


def _first_fit() -> float:
    planner = FirstFit.on(equal_fleet(5_000))
    for free in planner.free[: int(len(planner.free) * FULL)]:
        free[0] = 0
    draw, shapes = random.Random(3), _shapes()
    some = [Request(number, draw.choice(shapes)) for number in range(BASELINE_TASKS)]
    return len(some) / cpu_seconds(lambda: [planner.place(each) for each in some])


if __name__ == "__main__":
    main()
