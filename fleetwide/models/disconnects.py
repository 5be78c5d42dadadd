"""What happens to a container whose host falls silent."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.base import Spec

MIN_LOST_AFTER_SECONDS = 10.0
MAX_LOST_AFTER_SECONDS = 86_400.0
HOST_SILENT = "hostSilent"
"""The waiting code of an attempt whose host does not answer."""
FENCE_SECONDS = 5.0
"""What the fence may take beside the grace: to notice that the time is over, and to kill."""


class Reconcile(StrEnum):
    """Which container stays when a silent host comes back while a replacement runs."""

    KEEP_REPLACEMENT = "keepReplacement"
    KEEP_ORIGINAL = "keepOriginal"
    """Once its host is at work on it again; before that the replacement goes on."""
    LONGEST_RUNNING = "longestRunning"
    """The one whose container started first: the original, where it runs and did not start late."""


class DisconnectPolicy(Spec):
    """When a silent host's container is stopped there, given up, and replaced elsewhere.

    The host itself stops a container for which it could not renew the lease; only after that may
    a replacement start elsewhere, unless ``replace_while_disconnected`` says otherwise.
    """

    lost_after_seconds: Annotated[
        float, Field(ge=MIN_LOST_AFTER_SECONDS, le=MAX_LOST_AFTER_SECONDS)
    ] = 600.0
    """A host that is silent for so long has lost the container; 10 seconds to a day."""
    stop_on_host_after_seconds: Annotated[float | None, Field(ge=2, le=MAX_LOST_AFTER_SECONDS)] = (
        None
    )
    """The host stops a container whose lease it could not renew for so long; unset, half of
    ``lost_after_seconds``, or less where the grace asks for it."""
    replace_while_disconnected: bool = False
    """Start a replacement as soon as the host is surely silent: both may run at a time, until
    the host stops the first, or comes back and removes it."""
    reconcile: Reconcile = Reconcile.KEEP_REPLACEMENT
    """Of container tasks alone: which one stays when the host comes back with the original."""

    def stop_after(self, grace_seconds: float) -> float:
        """Seconds without a renewed lease until the host stops the container."""
        if self.stop_on_host_after_seconds is not None:
            return self.stop_on_host_after_seconds
        return min(self.lost_after_seconds / 2, self._latest_stop(grace_seconds))

    def fenced_after(self, grace_seconds: float) -> float:
        """Seconds after the last renewal of the lease when the container surely runs no more."""
        return self.stop_after(grace_seconds) + grace_seconds + FENCE_SECONDS

    def check(self, grace_seconds: float) -> None:
        """Raises ``ValueError`` when a replacement could run beside the original unasked."""
        if self.reconciles and not self.replace_while_disconnected:
            raise ValueError(
                f"disconnect.reconcile {self.reconcile} is only for a replacement beside the "
                "original: set disconnect.replace_while_disconnected to true"
            )
        latest = self._latest_stop(grace_seconds)
        if self.replace_while_disconnected or (
            latest >= 1 and self.stop_after(grace_seconds) <= latest
        ):
            return
        least = (self.stop_on_host_after_seconds or 1) + grace_seconds + FENCE_SECONDS
        raise ValueError(
            f"disconnect.lost_after_seconds is {self.lost_after_seconds:g}, but the container "
            f"surely runs no more only after {least:g}: stop_on_host_after_seconds, "
            f"stop_grace_seconds ({grace_seconds:g}) and {FENCE_SECONDS:g} to kill it; set it to "
            f"{least:g} or more, or replace_while_disconnected to true"
        )

    @property
    def reconciles(self) -> bool:
        """Whether an original that comes back may be kept."""
        return self.reconcile is not Reconcile.KEEP_REPLACEMENT

    def check_reconcile(self) -> None:
        """Raises ``ValueError`` for work of several containers, which always keeps replacements."""
        if self.reconciles:
            raise ValueError(
                f"container.disconnect.reconcile: {self.reconcile} is for container tasks alone"
            )

    def _latest_stop(self, grace_seconds: float) -> float:
        return self.lost_after_seconds - grace_seconds - FENCE_SECONDS
