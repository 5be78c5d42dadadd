"""What people read in the Temporal Web UI about container tasks and hosts."""

from fleetwide.models.containers import TaskStatus
from fleetwide.models.disturbances import REFUSAL_TEXT
from fleetwide.models.host_moves import HostStatus


def task_details(status: TaskStatus) -> str:
    """Markdown for the workflow's current details."""
    lines = [f"**{status.state}**, attempt {status.attempt}"]
    if status.host_id:
        lines.append(f"- host: `{status.host_id}`")
    if status.image:
        lines.append(f"- image: `{status.image}`")
    if status.waiting:
        lines.append(status.waiting.markdown())
    lines += [
        f"- attempt {past.key.attempt} ended as `{past.reason}`: {past.message}"
        for past in status.past_attempts[-5:]
    ]
    lines.append(f"- everything: `fleetwide task show {status.task_id}`")
    return "\n".join(lines)


def host_details(status: HostStatus, queue: str) -> str:
    """Markdown for the current details of a host's workflow."""
    lines = [f"**{status.state}**"]
    if status.state != status.wanted:
        lines.append(f"- is to be {status.wanted} once it answers")
    by = f" by {status.by}" if status.by else ""
    lines += [f"- why: {status.reason}{by}", f"- queue: `{queue}`"]
    if status.message:
        lines.append(f"- {status.message}")
    if status.drain is not None:
        drain = status.drain
        lines.append(
            f"- drain: {drain.ended} tasks have ended, {drain.left} are left, "
            f"{drain.held_back} have not been asked yet"
        )
        lines += [
            f"  - {count} are held back (`{code}`): {REFUSAL_TEXT[code]}"
            for code, count in drain.refusals.items()
        ]
    return "\n".join(lines)
