"""What every benchmark shares: a platform of its own, alternating runs, the result line.

The last line that a benchmark prints is one JSON object: name, value, unit, goal, better,
baseline, runs, spread, machine.
"""

import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import docker
import psutil
from docker.errors import DockerException

from fleetwide.dev.config import DevConfig, with_ports
from fleetwide.dev.machine import taken_ports
from fleetwide.dev.parse import load
from fleetwide.dev.platform import UpOptions, down, up

ROOT = Path(__file__).parents[1]


def say(text: str) -> None:
    """Progress goes to stderr; stdout is for the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class RunningPlatform:
    """A development platform that this benchmark brought up for itself."""

    config: DevConfig
    state: Path

    def url(self, process: str) -> str:
        return f"http://127.0.0.1:{self.config.processes[process].port}"


def shipped() -> DevConfig:
    """The development platform as it is shipped."""
    return load(ROOT / "temporal-dev.yaml")


@contextmanager
def running_platform(config: DevConfig | None = None) -> Iterator[RunningPlatform]:
    """The shipped platform, or another, on free ports and an empty state folder, gone afterwards.

    SIGTERM, which ``timeout`` sends, ends the benchmark by an exception, so that it is gone then
    too.
    """
    unwind_on_sigterm()
    config = config or shipped()
    while True:
        base = random.randrange(20000, 30000)
        if not taken_ports(range(base, base + 40)):
            break
    config = with_ports(config, base)
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as folder:
        state = Path(folder) / "state"
        try:
            up(config, state, UpOptions(report=say))
            yield RunningPlatform(config, state.resolve())
        finally:
            down(state)


def unwind_on_sigterm() -> None:
    """Let SIGTERM raise, so that what was started is ended and cleared up."""
    signal.signal(signal.SIGTERM, _unwind)


def _unwind(_signal: int, _frame: FrameType | None) -> None:
    # A second signal must not break off the clearing up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("ended by SIGTERM")


@dataclass(frozen=True)
class Figure:
    """What is measured, in which unit, and what it is measured against in the same run."""

    name: str
    unit: str
    goal: float
    better: str
    baseline: str


def alternate(
    ours: Callable[[], float], baseline: Callable[[], float], pairs: int
) -> list[tuple[float, float]]:
    """Run both sides in turn, and swap who goes first each time; seconds of each."""
    measured = []
    for number in range(pairs):
        if number % 2:
            theirs = baseline()
            mine = ours()
        else:
            mine = ours()
            theirs = baseline()
        say(f"  pair {number + 1}: ours {mine:.2f} s, baseline {theirs:.2f} s")
        measured.append((mine, theirs))
    return measured


def report(figure: Figure, measured: list[tuple[float, float]]) -> None:
    """Print the result line: the median of the pairs' ratios, and how far they spread."""
    seconds = {
        "median_seconds": round(statistics.median(theirs for _, theirs in measured), 3),
        "our_median_seconds": round(statistics.median(mine for mine, _ in measured), 3),
    }
    report_values(figure, [mine / theirs for mine, theirs in measured], seconds)


def report_values(figure: Figure, values: Sequence[float], baseline: Mapping[str, object]) -> None:
    """Print the result line of a figure with a unit of its own: the median of ``values``."""
    line = {
        "name": figure.name,
        "value": round(statistics.median(values), 3),
        "unit": figure.unit,
        "goal": figure.goal,
        "better": figure.better,
        "baseline": {"what": figure.baseline, **baseline},
        "runs": len(values),
        "spread": [round(min(values), 3), round(max(values), 3)],
        "machine": asdict(machine()),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    docker: str | None
    """None where no daemon answers: most figures need none."""
    load_average: float


def machine() -> Machine:
    """The machine at hand."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        cpu=models[0] if models else platform.machine(),
        cores=psutil.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        docker=_docker_version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _docker_version() -> str | None:
    try:
        api = docker.APIClient()
    except DockerException:
        return None
    try:
        return str(api.version()["Version"])
    finally:
        api.close()
