"""The smoke test of a container image: what is started, and what comes of it means."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetwide.bakery.oci_runtime import SCRATCH_BYTES
from fleetwide.bakery.requirements import MACHINES
from fleetwide.errors import SmokeTestFailed
from fleetwide.models.bakery import BakeSpec, HealthCheck
from fleetwide.models.bakes import ResolvedBake

RUN_SECONDS = 3.0
"""How long a workload without a health check must run, unless it ends with 0 before."""
_MACHINES = {architecture.value: machine for architecture, machine in MACHINES.items()}
INIT = ("/usr/bin/tini", "--")
FIRST_CHECK_SECONDS = 0.25
START_INTERVAL_SECONDS = 1.0
"""Between health checks in the start period, whatever the interval: nobody waits in vain."""
KEPT_LINES = 20
MEMORY_BYTES = 2 * 1024**3
"""What all processes of the container may take together, where the machine can limit it."""
PROCESSES = 1024
SIGNALLED = 128

# What crun says when the image, not the machine, is why a container cannot start.
_EXEC_COMPLAINTS = (
    "executable file `",
    "open executable:",
    "exec container process",
)
_ROOT_COMPLAINTS = ("No space left on device", "`etc/hosts`")
_QUOTED = re.compile(r"`/*([^`]+)`")
_READ_ONLY = re.compile(r"read-only file ?system|\bEROFS\b", re.IGNORECASE)


@dataclass(frozen=True)
class Ending:
    """How a container came to its end: exit code (128 + signal), and what it wrote last."""

    code: int
    lines: Sequence[str]
    out_of_memory: bool = False


@dataclass
class HealthTally:
    """When a health check is due, and what its tries have told; times are in seconds.

    As with container engines, a try that fails in the start period does not count.
    """

    check: HealthCheck
    started: float
    next_try: float = field(init=False)
    tries: int = 0
    failures: int = 0
    said: str = ""

    def __post_init__(self) -> None:
        self.next_try = self.started + FIRST_CHECK_SECONDS

    @property
    def is_unhealthy(self) -> bool:
        return self.failures >= self.check.retries

    def note_failure(self, begun: float, said: str) -> None:
        """A try that began at ``begun`` did not pass; ``said`` is the last that it wrote."""
        starting = begun < self.started + self.check.start_period_seconds
        self.failures += not starting
        interval = self.check.interval_seconds
        self.next_try = begun + (min(interval, START_INTERVAL_SECONDS) if starting else interval)
        self.said = said

    def explain(self) -> str:
        """Why it is not healthy, when nothing more is waited for."""
        told = f"; it said: {self.said}" if self.said else ""
        check = f"its health check `{' '.join(self.check.command)}`"
        if self.is_unhealthy:
            times = f" {self.failures} times in a row" if self.failures > 1 else ""
            return f"{check} failed{times}{told}"
        return f"{check} did not pass in time, after {counted(self.tries)}{told}"


def counted(tries: int) -> str:
    """``1 try``, ``2 tries``."""
    return f"{tries} try" if tries == 1 else f"{tries} tries"


def reason_not_to_run(bake: ResolvedBake, machine: str) -> str | None:
    """Why there is nothing to be tested on this kind of ``machine`` (``uname -m``), or None."""
    built_for = bake.base.architecture
    if not bake.spec.smoke.enabled:
        return "not run: switched off"
    if machine != _MACHINES.get(built_for):
        return f"not run: built for {built_for}, this builder is {machine}"
    if not words_of(bake.spec):
        return "not run: there is neither an entry point nor a command to start"
    return None


def words_of(spec: BakeSpec) -> list[str]:
    """The program and arguments that the smoke test starts; none where the image starts none."""
    words = spec.smoke.command or [*spec.entrypoint, *spec.command]
    starts_init = spec.init and words and not spec.smoke.command
    return [*INIT, *words] if starts_init else list(words)


def is_fault_of_image(spec: BakeSpec, complaint: str) -> bool:
    """Whether crun could not start the container because of what the image holds or asks for."""
    if complaint.startswith(_EXEC_COMPLAINTS) or any(one in complaint for one in _ROOT_COMPLAINTS):
        return True
    asked = [f"{path.strip('/')}/" for path in (spec.workdir, *spec.volumes)]
    named = [f"{path.rstrip('/')}/" for path in _QUOTED.findall(complaint)]
    return any(path.startswith(folder) for path in asked for folder in named)


def explain_refusal(spec: BakeSpec, complaint: str) -> SmokeTestFailed:
    """Why an image failed of which crun could not even make a container."""
    if complaint.startswith(_EXEC_COMPLAINTS):
        return failure(spec, _explain_exec(spec, complaint), [])
    hint = (
        "look at `workdir` and `volumes`: each must be a folder of the image or missing there, and "
        f"a volume may hold {SCRATCH_BYTES // 1024**2} MiB"
    )
    return failure(spec, f"no container can be made of it: {complaint}", [], hint)


def explain_ending(spec: BakeSpec, ending: Ending) -> SmokeTestFailed:
    """Why an image failed whose program ended as it should not have."""
    lines = ending.lines
    if lines and lines[-1].startswith(_EXEC_COMPLAINTS):
        return failure(spec, _explain_exec(spec, lines[-1]), lines[:-1])
    if ending.out_of_memory:
        return failure(spec, f"it needed more than {MEMORY_BYTES // 1024**2} MiB of memory", lines)
    if any("error while loading shared libraries" in line for line in lines):
        how = f"it ended with exit code {ending.code}: a shared library is missing"
        return failure(spec, how, lines, "add the package that has the library to `packages`")
    return failure(spec, _how_it_ended(ending.code), lines)


def failure(spec: BakeSpec, how: str, lines: Sequence[str], hint: str = "") -> SmokeTestFailed:
    """A failed smoke test, with the last lines of its output and what can be done."""
    told = ["its last lines:", *lines] if lines else ["it wrote nothing"]
    if not spec.smoke.writable and any(_READ_ONLY.search(line) for line in lines):
        hint = (
            "name the folders that it writes to in `volumes`, or let it write to its root: "
            "`smoke: {writable: true}`"
        )
    return SmokeTestFailed(
        "\n".join([f"the image failed its smoke test: {how}", *told]),
        hint=hint
        or "give it a check of its own as `smoke.command`, or bake without the test: `--no-smoke`",
    )


def _explain_exec(spec: BakeSpec, complaint: str) -> str:
    """What crun says, in plainer words: its own may mislead."""
    reason = "it is not executable, or a folder"
    if "Exec format error" in complaint:
        reason = "it is neither a program for this machine nor a script with a #! line"
    if "missing dynamic library" in complaint:
        reason = "the interpreter or loader that it names is not in the image"
    if "not found in $PATH" in complaint:
        reason = "it is not in the image, or not executable"
    return f"{words_of(spec)[0]} cannot be started: {reason}"


def _how_it_ended(code: int) -> str:
    try:
        return f"it was ended by {signal.Signals(code - SIGNALLED).name} (exit code {code})"
    except ValueError:
        return f"it ended with exit code {code}"
