"""How often a host tries an attempt in vain. A try that has held the running container is none.

Temporal counts all tries alike, and a copy of a service outlives any number of restarts of its
host's worker. So the retry policy has no end, and the tries themselves count: each tells the next
one by its heartbeats.
"""

from collections.abc import Callable
from dataclasses import dataclass

from temporalio import activity
from temporalio.exceptions import ApplicationError

from fleetwide.errors import FleetwideError, ServiceUnavailable
from fleetwide.models.hosts import RunProgress
from fleetwide.temporal.errors import as_application_error, without_credentials

MOST_IN_VAIN = 20
"""In a row."""


@dataclass(frozen=True)
class Tries:
    """Of one attempt, as one try of it sees them."""

    before: int
    """Those in vain just before this one."""
    held: Callable[[], bool]
    """Whether this try has held the running container."""

    @classmethod
    def begun(cls, held: Callable[[], bool]) -> "Tries":
        """Within the activity that tries."""
        info = activity.info()
        if not info.heartbeat_details:  # none came so far as to tell anything
            return cls(info.attempt - 1, held)
        told = RunProgress.model_validate(info.heartbeat_details[-1])
        return cls(told.tries_in_vain, held)

    @property
    def in_vain(self) -> int:
        """As of now, this one included unless it has held the container."""
        return 0 if self.held() else self.before + 1

    def note(self, progress: RunProgress) -> RunProgress:
        """The progress, with what the next try has to know."""
        return progress.model_copy(update={"tries_in_vain": self.in_vain})

    def begin(self, progress: RunProgress) -> None:
        """Let it count, should its worker die of it.

        Raises ``ApplicationError``, for good, when there were too many.
        """
        if self.before >= MOST_IN_VAIN:
            self.judge(ServiceUnavailable("the host's worker ended during each try"))
        if self.before:
            activity.heartbeat(self.note(progress))

    def judge(self, error: Exception) -> None:
        """Let another try follow one that failed by this.

        Raises ``ApplicationError``, for good, when there were too many.
        """
        if self.in_vain < MOST_IN_VAIN:
            return
        if isinstance(error, FleetwideError):
            failure = as_application_error(error)
            message, kind, details = failure.message, failure.type, failure.details
        else:
            message, kind, details = without_credentials(str(error)), type(error).__name__, ()
        raise ApplicationError(
            f"{message} ({MOST_IN_VAIN} tries in vain)", *details, type=kind, non_retryable=True
        ) from error
