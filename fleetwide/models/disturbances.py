"""Planned ends of running attempts: who wants them, and what the one gate answers."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from fleetwide.models.base import Record
from fleetwide.models.containers import AttemptKey
from fleetwide.models.task_states import EndReason


class Cause(StrEnum):
    """Why the platform wants a running attempt away from its host."""

    DRAIN = "drain"
    """Its host is being emptied: by a person, or a pool that shrinks."""
    ROTATION = "rotation"
    """Its host is being replaced: it is old, or there is a new image."""
    PREEMPTION = "preemption"
    """Work that comes before it needs the place."""
    DEFRAGMENTATION = "defragmentation"
    """Work is being packed more densely."""


OF_HOSTS = frozenset({Cause.DRAIN, Cause.ROTATION, Cause.DEFRAGMENTATION})
"""What a whole host is emptied for: such a wish holds until the host takes work again."""
# Total over Cause (a test asserts it).
END_OF: Mapping[Cause, EndReason] = {
    Cause.DRAIN: EndReason.HOST_DRAINING,
    Cause.ROTATION: EndReason.HOST_DRAINING,
    Cause.PREEMPTION: EndReason.PREEMPTED,
    Cause.DEFRAGMENTATION: EndReason.EVICTED,
}


class RefusalCode(StrEnum):
    """Why an attempt may not be ended now."""

    SYSTEM_QUOTA = "systemQuota"
    WINDOW_CLOSED = "windowClosed"
    RATE_USED = "rateUsed"
    TOO_FEW_HEALTHY = "tooFewHealthy"
    RELOCATION_LIMIT = "relocationLimit"
    SELF_MANAGED = "selfManaged"
    WAITS_FOR_ITS_TURN = "waitsForItsTurn"
    """Nobody has asked for it yet: a drain moves so many tasks at a time."""


# Total over RefusalCode (a test asserts it).
REFUSAL_TEXT: Mapping[RefusalCode, str] = {
    RefusalCode.SYSTEM_QUOTA: "the platform moves no more tasks of anybody for the moment",
    RefusalCode.WINDOW_CLOSED: "its budget lets it be moved only at certain times",
    RefusalCode.RATE_USED: "its budget lets only so many be moved in a time",
    RefusalCode.TOO_FEW_HEALTHY: "too few copies would be left healthy",
    RefusalCode.RELOCATION_LIMIT: "it has been moved as often as its budget lets it",
    RefusalCode.SELF_MANAGED: "its owner was told, and has time to move it",
    RefusalCode.WAITS_FOR_ITS_TURN: "others are moved before it",
}


class Disturbed(Record):
    """A running attempt that would be ended for the platform's own reasons."""

    attempt_id: int
    kind: str
    """``task`` or ``batch``."""
    key: AttemptKey
    service_id: str | None = None
    """The service that it is a copy of."""
    copy_index: int | None = None
    host_id: str | None = None
    ends: bool = False
    """It is ending already: it was asked, and heard it."""


class Refusal(Record):
    """Why one attempt may not be ended now."""

    attempt_id: int
    code: RefusalCode
    sentence: str
    numbers: dict[str, float] = {}
    until: datetime | None = None
    """Asking again before this is in vain; None where no time can be told."""


class Answer(Record):
    """What the gate says: every attempt that was asked for is in one of the two lists.

    Those that are ending already are in neither.
    """

    granted: list[Disturbed] = []
    refused: list[Refusal] = []
