"""How the end of an attempt reads as the state of a child, and as markdown."""

from fleetwide.models.batch import (
    ATTEMPT_VARIABLE,
    INDEX_ALIASES,
    INDEX_VARIABLE,
    JOB_VARIABLE,
    SIZE_VARIABLE,
    BatchStatus,
    ChildState,
)
from fleetwide.models.task_states import END_TRAITS, EndReason


def child_state(reason: EndReason) -> ChildState:
    """The state of a child whose last attempt ended for ``reason``."""
    return ChildState(END_TRAITS[reason].status)


def child_env(job_id: str, size: int, index: int, attempt: int) -> dict[str, str]:
    """What a child finds in its environment."""
    return {
        INDEX_VARIABLE: str(index),
        SIZE_VARIABLE: str(size),
        ATTEMPT_VARIABLE: str(attempt),
        JOB_VARIABLE: job_id,
        **dict.fromkeys(INDEX_ALIASES, str(index)),
    }


def batch_details(status: BatchStatus) -> str:
    """Markdown for the workflow's current details."""
    cells = [f"{count} {state}" for state, count in status.counts.items() if count]
    lines = [f"**{status.state}**: {', '.join(cells)} of {status.size}"]
    if status.waiting:
        lines.append(status.waiting.markdown())
    lines.append(f"- everything: `fleetwide batch show {status.job_id}`")
    return "\n".join(lines)
