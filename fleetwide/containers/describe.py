"""What people read in the Temporal Web UI about a container task."""

from fleetwide.models.containers import TaskStatus


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
