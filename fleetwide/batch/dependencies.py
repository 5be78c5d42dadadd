"""Whether a job may begin, by how the jobs stand that it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.models.batch_dependencies import Condition, DependencyState
from fleetwide.models.batch_states import BatchState

MOST_NAMED = 3
# Total over the conditions (a test asserts it).
MET: dict[Condition, frozenset[BatchState]] = {
    Condition.AFTER_OK: frozenset({BatchState.SUCCEEDED}),
    Condition.AFTER_NOT_OK: frozenset({BatchState.FAILED, BatchState.CANCELLED}),
    Condition.AFTER_ANY: frozenset(BatchState) - {BatchState.RUNNING},
}


@dataclass(frozen=True)
class Verdict:
    """Neither sentence: the job may begin."""

    never: str = ""
    """Why it can never begin."""
    waits: str = ""
    """What it still waits for."""


def judge(others: Sequence[DependencyState]) -> Verdict:
    """What the jobs that were named say together."""
    for each in others:
        if each.state is not BatchState.RUNNING and each.state not in MET[each.condition]:
            return Verdict(
                never=f"batch job {each.job} {each.state}: {each.condition} can never hold"
            )
    running = [each for each in others if each.state is BatchState.RUNNING]
    if not running:
        return Verdict()
    named = ", ".join(f"{each.job} ({each.condition})" for each in running[:MOST_NAMED])
    more = len(running) - MOST_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return Verdict(waits=f"waits for {len(running)} of {len(others)} jobs to end: {named}{rest}")
