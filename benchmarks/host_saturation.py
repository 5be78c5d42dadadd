"""How much of a full host's rate is left when its containers are tasks.

The host is kept full of containers that run for a second, by ``ContainerTask`` workflows that are
all submitted at once; Temporal, the workers and the database share its cores with them. The
baseline is a bare loop over the Docker API, with as many containers at a time as the scheduler
puts on the host. Both sides alternate in one run; the value is the ratio of their rates.
"""

from benchmarks.containers import BareDocker, Fleetwide, build_base, task
from benchmarks.harness import (
    Figure,
    RunningPlatform,
    alternate,
    report_values,
    running_platform,
    say,
)
from benchmarks.usage import table
from fleetwide.client import Client

CONTAINERS = 80
PAIRS = 5
WARM_UP = 8
FIGURE = Figure(
    name="host_saturation",
    unit="of the rate of a bare Docker API loop at the same parallelism",
    goal=0.75,
    better="higher",
    baseline=f"{CONTAINERS} containers of 1 s by docker create, start, wait, remove, as many at a "
    "time as the host has room for",
)


def room(running: RunningPlatform, cpu: float) -> int:
    """How many containers of that size the scheduler puts on the host."""
    with Client(running.url("api")) as client:
        [host] = client.hosts().items
    return int(host.cpu / cpu)


def main() -> None:
    with running_platform() as running:
        say("building a small OS release to run")
        spec = task(build_base(running), "sleep", "1")
        parallel = room(running, spec.container.resources.cpu)
        ours, bare = Fleetwide(running, spec, CONTAINERS), BareDocker(running, spec, parallel)
        ours.run(WARM_UP)
        bare.run(WARM_UP)
        say(f"{PAIRS} pairs of {CONTAINERS} containers of 1 s, {parallel} at a time")
        measured = alternate(lambda: ours.run(CONTAINERS), lambda: bare.run(CONTAINERS), PAIRS)
        bare.api.close()
    rates = [(CONTAINERS / mine, CONTAINERS / theirs) for mine, theirs in measured]
    rows = [
        [number + 1, f"{mine:.2f}/s", f"{theirs:.2f}/s", f"{mine / theirs:.2f}"]
        for number, (mine, theirs) in enumerate(rates)
    ]
    table(["pair", "tasks", "bare Docker", "ratio"], rows)
    report_values(
        FIGURE,
        [mine / theirs for mine, theirs in rates],
        {
            "parallel": parallel,
            "rates": [round(theirs, 2) for _, theirs in rates],
            "our_rates": [round(mine, 2) for mine, _ in rates],
        },
    )


if __name__ == "__main__":
    main()
