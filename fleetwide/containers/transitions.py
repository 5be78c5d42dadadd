"""Which states an attempt enters on the way to another: forward only, with nothing left out.

``Disconnected`` stands beside the others: it is entered from any state on a host, and left for the
state before it or for a later one.
"""

from dataclasses import dataclass

from fleetwide.models.task_states import TaskState

ORDER = (
    TaskState.ACCEPTED,
    TaskState.LAUNCHED,
    TaskState.START_INITIATED,
    TaskState.STARTED,
    TaskState.KILL_INITIATED,
    TaskState.FINISHED,
)
# An attempt that did not run is not said to have started, and no kill is made up.
ALWAYS_PASSED = frozenset({TaskState.LAUNCHED, TaskState.START_INITIATED, TaskState.STARTED})


@dataclass(frozen=True)
class Step:
    """A state that is entered; ``filled_in`` when nobody told of it at the time."""

    state: TaskState
    filled_in: bool = False


def steps(
    state: TaskState, left: TaskState | None, to: TaskState, *, ran: bool = False
) -> tuple[Step, ...] | None:
    """What is entered to get from ``state`` to ``to``: nothing when it is there, None backwards.

    ``left`` is the state before a Disconnected one; ``ran`` says that the container is known to
    have started.
    """
    if state is to:
        return ()
    if state is TaskState.FINISHED:
        return None
    if to is TaskState.DISCONNECTED:
        return None if state is TaskState.ACCEPTED else (Step(to),)
    before = left or TaskState.LAUNCHED if state is TaskState.DISCONNECTED else state
    if to is before:
        return (Step(to),)
    if ORDER.index(to) < ORDER.index(before):
        return None
    return (*_skipped(before, to, ran=ran), Step(to))


def _skipped(before: TaskState, to: TaskState, *, ran: bool) -> tuple[Step, ...]:
    if to in (TaskState.KILL_INITIATED, TaskState.FINISHED) and not ran:
        return ()
    between = ORDER[ORDER.index(before) + 1 : ORDER.index(to)]
    return tuple(Step(one, filled_in=True) for one in between if one in ALWAYS_PASSED)


def is_forward(state: TaskState, left: TaskState | None, to: TaskState) -> bool:
    """Whether ``to`` would change anything."""
    return bool(steps(state, left, to))
