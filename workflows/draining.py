"""How a host is emptied: task after task, through the one gate, until a deadline."""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.fleet import FleetActivities
    from fleetwide.models.host_moves import DrainProgress, DrainRequest, DrainStep

from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

FIRST_PAUSE_SECONDS = 0.5
PAUSE_AFTER_PROGRESS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
LONGEST_WAIT_FOR_HEALTH = 240.0
LONGEST_WAIT_SECONDS = 600.0


def next_pause(seconds: float, asked: int) -> timedelta:
    """The wait before the same question is asked again: longer each time, ten minutes at most."""
    return timedelta(seconds=max(seconds, min(seconds * 1.5**asked, LONGEST_WAIT_SECONDS)))


def pause_after(before: DrainProgress, now: DrainProgress, pause: float) -> float:
    """The pause after this one, in seconds: each question lengthens the history.

    The tasks of a silent host are left alone. While some are being moved the next follow soon;
    else it is asked again when a budget lets the first one go, as far as that is known.
    """
    if not now.connected:
        return min(pause * 1.5, LONGEST_WAIT_SECONDS)
    if (now.asked, now.ended) != (before.asked, before.ended):
        return PAUSE_AFTER_PROGRESS
    if now.moving:
        return min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    if now.again_in is not None:
        return min(max(now.again_in, FIRST_PAUSE_SECONDS), LONGEST_WAIT_SECONDS)
    return min(pause * 1.5, LONGEST_WAIT_FOR_HEALTH)


async def drained(
    host_id: str, request: DrainRequest, progressed: Callable[[DrainProgress], None]
) -> bool:
    """Ask the host's tasks to end until none is left; False when the deadline came first."""
    deadline = workflow.now() + timedelta(seconds=request.deadline_seconds)
    progress, pause = DrainProgress(), FIRST_PAUSE_SECONDS
    while True:
        overdue, before = workflow.now() >= deadline, progress
        progress = await workflow.execute_activity_method(
            FleetActivities.drain_step,
            DrainStep(
                host_id=host_id,
                request=request,
                asked=progress.asked,
                forced=overdue and request.force,
            ),
            start_to_close_timeout=BOOKING_TIMEOUT,
            retry_policy=PERSISTENT,
            summary="ask some more tasks of the host to end and run elsewhere",
        )
        progressed(progress)
        if not progress.left:
            return True
        if overdue and not request.force:
            return False
        left = (deadline - workflow.now()).total_seconds()
        wait = min(pause, left) if left > 0 else pause
        await workflow.sleep(wait, summary=f"{progress.left} tasks are left on the host")
        pause = pause_after(before, progress, pause)
