"""How an attempt ended, read from what Docker says of its container."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetwide.models.task_states import END_TEXT, EndReason

EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNAL_BASE = 128
EXIT_KILLED = 137
MAX_SIGNAL = 64
TAKEN_DOWN = frozenset({EXIT_KILLED, EXIT_SIGNAL_BASE + 15, 255})
GOING_DOWN = timedelta(minutes=1)
"""An engine that is told to stop ends its containers first."""
COMING_UP = timedelta(minutes=2)
"""One that comes back ends what it finds running."""
# The container's init says this, and only this, when it cannot start the entry point.
INIT_FAILURE = "[FATAL tini"
# What the Engine's runtime says when the image or the command cannot be started by any host.
UNSTARTABLE = (
    "executable file not found",
    "no such file or directory",
    "not a directory",
    "permission denied",
    "exec format error",
    "memory limit too low",
    "unable to find user",
    "no matching entries",
    "no command specified",
    "cwd",
    "invalid",
)

# What it says when another program has the port, or a device is gone: other hosts may have it.
NOT_GRANTED = (
    "port is already allocated",
    "address already in use",
    "error gathering device information",
    "could not select device driver",
)


@dataclass(frozen=True)
class ContainerState:
    """A container as Docker reports it."""

    id: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    labels: dict[str, str] | None = None
    engine_since: datetime | None = None
    """Since when its engine and its machine have been up without a break, if that is known."""
    began: float | None = None
    """When it started by the clock since its machine's boot, which nobody sets, if known."""

    @property
    def over(self) -> bool:
        """Whether its process has run and ended."""
        return self.status in {"exited", "dead", "removing"}

    @property
    def taken_down(self) -> bool:
        """Whether it ran when its engine or its machine went down, and was ended by that.

        An engine that comes back ends what ran before, by SIGTERM or SIGKILL; after the machine's
        own end there is no exit code.
        """
        since, started, ended = self.engine_since, self.started_at, self.finished_at
        if self.exit_code not in TAKEN_DOWN or since is None or started is None:
            return False
        around = ended is None or since - GOING_DOWN < ended < since + COMING_UP
        return started < since and around


@dataclass(frozen=True)
class Outcome:
    """The verdict on one attempt."""

    reason: EndReason
    message: str
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False


def start_is_hopeless(message: str) -> bool:
    """Whether a refused start is the request's fault: no host could ever start it."""
    lowered = message.lower()
    return any(phrase in lowered for phrase in UNSTARTABLE)


def is_not_granted(message: str) -> bool:
    """Whether a host could not give what placement had chosen there."""
    lowered = message.lower()
    return any(phrase in lowered for phrase in NOT_GRANTED)


def not_granted(message: str) -> Outcome:
    """The outcome of a container for which its host lacked something: not the task's fault."""
    reason = EndReason.LOCAL_SYSTEM_ERROR
    return Outcome(reason, f"{END_TEXT[reason]}: {message}"[:500])


def start_failed(message: str) -> Outcome:
    """The outcome of a container that Docker refused to create or start."""
    return Outcome(EndReason.START_FAILED, f"{END_TEXT[EndReason.START_FAILED]}: {message}"[:500])


def not_there() -> Outcome:
    """The outcome of an attempt that is to go on, and whose container is gone."""
    return Outcome(EndReason.LOST, f"{END_TEXT[EndReason.LOST]}, and came back without it")


def stopped_before_start(reason: EndReason) -> Outcome:
    """The outcome of an attempt that was ended before its container ran."""
    return Outcome(reason, f"{END_TEXT[reason]}, before the container started")


def classify(
    state: ContainerState, asked_to_end: EndReason | None, last_lines: list[str]
) -> Outcome:
    """The outcome of a container that ran; ``asked_to_end`` is why the platform stopped it.

    A memory kill of some child process of a container that still ended with 0 is no failure.
    """
    reason, message = _verdict(state, asked_to_end, last_lines)
    return Outcome(reason, message, state.exit_code, signal_of(state.exit_code), state.oom_killed)


def signal_of(exit_code: int) -> int | None:
    """The signal behind an exit code, by the convention of shells and Docker."""
    signal = exit_code - EXIT_SIGNAL_BASE
    return signal if 0 < signal <= MAX_SIGNAL else None


def _verdict(
    state: ContainerState, asked_to_end: EndReason | None, last_lines: list[str]
) -> tuple[EndReason, str]:
    if asked_to_end:
        return asked_to_end, END_TEXT[asked_to_end]
    if state.exit_code == 0:
        return EndReason.NORMAL, END_TEXT[EndReason.NORMAL]
    if state.oom_killed:
        return EndReason.OOM_KILLED, END_TEXT[EndReason.OOM_KILLED]
    if state.taken_down:
        message = "the host's container engine or machine was restarted, and ended the container"
        return EndReason.LOCAL_SYSTEM_ERROR, message
    if last_lines and last_lines[-1].startswith(INIT_FAILURE):
        failed = start_failed(last_lines[-1].partition("] ")[2])
        return failed.reason, failed.message
    return EndReason.FAILED, _exit_text(state.exit_code)


def _exit_text(exit_code: int) -> str:
    signal = signal_of(exit_code)
    by_signal = f" (signal {signal})" if signal else ""
    return f"the process ended with exit code {exit_code}{by_signal}"
