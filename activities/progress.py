"""Library progress as activity heartbeats; a cancel request ends the library call."""

from temporalio import activity
from temporalio.exceptions import CancelledError

from fleetwide.models.base import StepProgress


def heartbeat(phrase: str, fraction: float | None) -> None:
    """A ``fleetwide.providers.progress.Progress`` for use inside an activity.

    Raises:
        CancelledError: the activity was cancelled, or its worker is shutting down.
    """
    if activity.is_cancelled():
        raise CancelledError(f"cancelled while {phrase}")
    activity.heartbeat(StepProgress(phrase=phrase, fraction=fraction))
