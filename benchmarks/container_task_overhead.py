"""What a container costs through Fleetwide, against the same container through Docker alone.

40 no-op ``ContainerTask`` workflows end to end, 4 at a time, against a bare loop of the same
containers through the Docker API, 4 at a time: create, start, wait, remove. Both sides alternate
in one run on one machine; the value is the ratio of wall times.
"""

from benchmarks.containers import BareDocker, Fleetwide, build_base, task
from benchmarks.harness import Figure, alternate, report, running_platform, say

CONTAINERS = 40
PARALLEL = 4
PAIRS = 7
WARM_UP = 8
FIGURE = Figure(
    name="container_task_overhead",
    unit="ratio of wall times",
    goal=1.4,
    better="lower",
    baseline=f"{CONTAINERS} of the same containers by docker create, start, wait, remove, "
    f"{PARALLEL} at a time",
)


def main() -> None:
    with running_platform() as running:
        say("building a small OS release to run")
        spec = task(build_base(running), "true")
        ours, bare = Fleetwide(running, spec, PARALLEL), BareDocker(running, spec, PARALLEL)
        ours.run(WARM_UP)
        bare.run(WARM_UP)
        say(f"{PAIRS} pairs of {CONTAINERS} containers, {PARALLEL} at a time")
        measured = alternate(lambda: ours.run(CONTAINERS), lambda: bare.run(CONTAINERS), PAIRS)
        bare.api.close()
    report(FIGURE, measured)


if __name__ == "__main__":
    main()
