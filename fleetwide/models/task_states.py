"""The states of an attempt, why it ended, why it waits; each with its total mappings."""

from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    """A task attempt's states, in the order in which it passes through them."""

    ACCEPTED = "Accepted"
    LAUNCHED = "Launched"
    START_INITIATED = "StartInitiated"
    STARTED = "Started"
    KILL_INITIATED = "KillInitiated"
    DISCONNECTED = "Disconnected"
    FINISHED = "Finished"


class EndReason(StrEnum):
    """Why an attempt ended."""

    NORMAL = "normal"
    FAILED = "failed"
    OOM_KILLED = "oomKilled"
    DISK_LIMIT_EXCEEDED = "diskLimitExceeded"
    UNHEALTHY = "unhealthy"
    EXTRA_CONTAINER_FAILED = "extraContainerFailed"
    RUNTIME_LIMIT_EXCEEDED = "runtimeLimitExceeded"
    KILLED = "killed"
    INVALID_REQUEST = "invalidRequest"
    START_FAILED = "startFailed"
    IMAGE_PULL_FAILED = "imagePullFailed"
    STUCK_IN_STATE = "stuckInState"
    CRASHED = "crashed"
    LOST = "lost"
    LOCAL_SYSTEM_ERROR = "localSystemError"
    TRANSIENT_SYSTEM_ERROR = "transientSystemError"
    PLATFORM_FAULT = "platformFault"
    EVICTED = "evicted"
    PREEMPTED = "preempted"
    HOST_DRAINING = "hostDraining"
    SCALED_DOWN = "scaledDown"
    SUPERSEDED = "superseded"


class RetryBudget(StrEnum):
    """Which counter another attempt is charged to."""

    NONE = "none"
    USER = "user"
    SYSTEM = "system"
    EVICTION = "eviction"
    PREEMPTION = "preemption"


class EndStatus(StrEnum):
    """What an end means for the task when no attempt follows it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class EndTraits:
    """Who pays for another attempt, what people read, and what the end says of the host."""

    budget: RetryBudget
    text: str
    status: EndStatus = EndStatus.FAILED
    hosts_fault: bool = False
    """The next attempt goes to another host, if there is one."""


# Total over EndReason (a test asserts it).
END_TRAITS: dict[EndReason, EndTraits] = {
    EndReason.NORMAL: EndTraits(RetryBudget.NONE, "ended normally", EndStatus.SUCCEEDED),
    EndReason.FAILED: EndTraits(RetryBudget.USER, "the process ended with a non-zero exit code"),
    EndReason.OOM_KILLED: EndTraits(
        RetryBudget.USER, "the kernel killed the process because it passed its memory limit"
    ),
    EndReason.DISK_LIMIT_EXCEEDED: EndTraits(RetryBudget.USER, "it wrote more than its disk"),
    EndReason.UNHEALTHY: EndTraits(RetryBudget.USER, "a health check failed"),
    EndReason.EXTRA_CONTAINER_FAILED: EndTraits(
        RetryBudget.USER, "an essential extra container failed"
    ),
    EndReason.RUNTIME_LIMIT_EXCEEDED: EndTraits(RetryBudget.NONE, "the runtime limit passed"),
    EndReason.KILLED: EndTraits(
        RetryBudget.NONE, "somebody asked for it to end", EndStatus.CANCELLED
    ),
    EndReason.INVALID_REQUEST: EndTraits(
        RetryBudget.NONE, "what was asked for is not there, or can never run"
    ),
    EndReason.START_FAILED: EndTraits(RetryBudget.USER, "the container could not be started"),
    EndReason.IMAGE_PULL_FAILED: EndTraits(
        RetryBudget.SYSTEM, "the host could not pull the image", hosts_fault=True
    ),
    EndReason.STUCK_IN_STATE: EndTraits(
        RetryBudget.SYSTEM, "the host never took the attempt up", hosts_fault=True
    ),
    EndReason.CRASHED: EndTraits(
        RetryBudget.SYSTEM, "the container vanished from its host", hosts_fault=True
    ),
    EndReason.LOST: EndTraits(RetryBudget.SYSTEM, "the host disappeared", hosts_fault=True),
    EndReason.LOCAL_SYSTEM_ERROR: EndTraits(
        RetryBudget.SYSTEM, "the host's container engine failed", hosts_fault=True
    ),
    EndReason.TRANSIENT_SYSTEM_ERROR: EndTraits(
        RetryBudget.SYSTEM, "a service that the host needs did not answer"
    ),
    EndReason.PLATFORM_FAULT: EndTraits(RetryBudget.SYSTEM, "the platform failed"),
    EndReason.EVICTED: EndTraits(RetryBudget.EVICTION, "it had to leave its host"),
    EndReason.PREEMPTED: EndTraits(
        RetryBudget.PREEMPTION, "it gave way to work that comes before it"
    ),
    EndReason.HOST_DRAINING: EndTraits(RetryBudget.EVICTION, "its host was being emptied"),
    EndReason.SCALED_DOWN: EndTraits(
        RetryBudget.NONE, "its service needs this copy no more", EndStatus.CANCELLED
    ),
    EndReason.SUPERSEDED: EndTraits(
        RetryBudget.NONE, "another attempt of the task was kept", EndStatus.CANCELLED
    ),
}
RETRY_BUDGET = {reason: traits.budget for reason, traits in END_TRAITS.items()}
END_TEXT = {reason: traits.text for reason, traits in END_TRAITS.items()}


class PendingCode(StrEnum):
    """Why an attempt has no host yet."""

    NO_HOSTS = "noHosts"
    EXCEEDS_EVERY_HOST = "exceedsEveryHost"
    HOSTS_FULL = "hostsFull"
    CONSTRAINTS_UNMET = "constraintsUnmet"
    ABOVE_CAPACITY_LIMIT = "aboveCapacityLimit"
    GANG_INCOMPLETE = "gangIncomplete"
    WAITING_RETRY = "waitingRetry"
