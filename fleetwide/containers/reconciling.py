"""Which of two containers of a task stays when a silent host comes back with the first."""

from fleetwide.models.disconnects import Reconcile
from fleetwide.models.returns import FoundContainer


def original_stays(
    choice: Reconcile, original: FoundContainer, replacement: FoundContainer
) -> bool:
    """Whether the original is kept; never one that does not run any more.

    A replacement that has not started yet, or started at the same moment, gives way to an original
    that runs, where the longest running one is kept.
    """
    if not original.running or choice is Reconcile.KEEP_REPLACEMENT:
        return False
    if choice is Reconcile.KEEP_ORIGINAL or not replacement.running:
        return True
    if original.started_at is None or replacement.started_at is None:
        return False
    return original.started_at <= replacement.started_at
