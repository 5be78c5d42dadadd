"""An attempt whose host does not answer: waited for, taken up again, or given up as lost."""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004
    TimeoutType,
)

with workflow.unsafe.imports_passed_through():
    from activities.fleet import FleetActivities
    from fleetwide.errors import ErrorCode
    from fleetwide.models.containers import AttemptKey, ContainerSpec
    from fleetwide.models.host_moves import SilentAttempt, Verdict

from workflows.draining import next_pause
from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

HEARTBEAT_SECONDS = 10.0
LEAST_HEARTBEAT_SECONDS = 3.0
NEVER_BACK = 1000
STEADY = timedelta(minutes=10)
"""A host that kept an attempt for so long has made up for its earlier silences."""
SILENT_HEARTBEATS = 2
"""A worker that is started again is there by then."""
# After these the host has no container of the attempt: it never came that far.
NO_CONTAINER = frozenset(
    {
        ErrorCode.IMAGE_PULL_FAILED,
        ErrorCode.IMAGE_NOT_FOUND,
        ErrorCode.INVALID_INPUT,
        ErrorCode.NOT_FOUND,
        ErrorCode.DENIED,
    }
)


def heartbeat_timeout(container: ContainerSpec) -> timedelta:
    """After so long without a heartbeat the host counts as silent."""
    share = container.disconnect.lost_after_seconds / 4
    return timedelta(seconds=min(HEARTBEAT_SECONDS, max(LEAST_HEARTBEAT_SECONDS, share)))


def answer_timeout(container: ContainerSpec) -> timedelta:
    """How long a silent host is waited for: ``lost_after`` less what it took to notice.

    Never less than the fence takes: a try may have ended, and renewed the lease, just before. Only
    who wants both at the same time does not wait for it.
    """
    policy = container.disconnect
    if policy.replace_while_disconnected:
        return SILENT_HEARTBEATS * heartbeat_timeout(container)
    waited = policy.lost_after_seconds - heartbeat_timeout(container).total_seconds()
    return timedelta(seconds=max(waited, policy.fenced_after(container.stop_grace_seconds)))


def fence_time(container: ContainerSpec) -> timedelta:
    """How long after the last renewal of its lease a container is in the way of another."""
    if container.disconnect.replace_while_disconnected:
        return timedelta(0)
    return timedelta(seconds=container.disconnect.fenced_after(container.stop_grace_seconds))


def may_still_run(error: ActivityError) -> bool:
    """Whether a container of the attempt may run on a host that Temporal has given up on."""
    cause = error.cause
    return not (isinstance(cause, ApplicationError) and cause.type in NO_CONTAINER)


class Silence:
    """How an attempt is given up. The host may come back to it a few times before that."""

    def __init__(self, key: AttemptKey, host_id: str, container: ContainerSpec) -> None:
        self._key = key
        self._host_id = host_id
        self._container = container
        self._returns = 0
        self.given_up = False
        """Nobody knows what became of its container."""

    async def is_final(self, error: ActivityError, began: datetime) -> bool:
        """Wait until the attempt is lost (True) or its host answers again (False).

        ``began`` is when its host was asked last to run it.
        No lease is renewed after the activity's end. When it ended because nobody took it up for
        ``lost_after``, the host has stopped the container already; else that is waited for.
        """
        since = workflow.now()
        if not _nobody_took_it_up(error):
            since += fence_time(self._container)
        if workflow.now() - began >= STEADY:
            self._returns = 0
        verdict = await self.outlast(since, self._returns)
        self._returns += 1
        self.given_up = verdict is Verdict.LOST
        return self.given_up

    async def outlast(self, fenced_at: datetime, returns: int) -> Verdict:
        """Ask until there is a verdict; who returned too often is not waited for any more."""
        asked = 0
        while True:
            judgement = await workflow.execute_activity_method(
                FleetActivities.judge_attempt,
                self._question(fenced_at, returns),
                start_to_close_timeout=BOOKING_TIMEOUT,
                retry_policy=PERSISTENT,
                summary=f"ask whether attempt {self._key.attempt} may be given up",
            )
            if judgement.verdict is not Verdict.WAIT:
                return judgement.verdict
            pause = next_pause(judgement.seconds, asked)
            await workflow.sleep(pause, summary=judgement.sentence)
            asked += 1

    def _question(self, fenced_at: datetime, returns: int) -> SilentAttempt:
        """With the rest of the time by the clock that it began by, which a worker may not have."""
        return SilentAttempt(
            **self._key.model_dump(),
            host_id=self._host_id,
            fenced_at=fenced_at,
            fenced_in_seconds=(fenced_at - workflow.now()).total_seconds(),
            returns=returns,
        )


async def surely_stopped(key: AttemptKey, host_id: str, container: ContainerSpec) -> None:
    """Wait until the container of an attempt runs no more that its host did not say it stopped."""
    silence = Silence(key, host_id, container)
    await silence.outlast(workflow.now() + fence_time(container), NEVER_BACK)


def _nobody_took_it_up(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START
