"""What people ask of a batch job that is there already, and how it stands because of that."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from fleetwide.models.base import Record, Spec, Waiting
from fleetwide.models.containers import AttemptRequest, JobHeader
from fleetwide.models.texts import Line, Prose

MOST_RANGES = 1_000
MAX_INDEX = 99_999
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")

IndexRange = tuple[int, int]
"""First and last index, both included."""


def read_range(value: object) -> object:
    """``7`` and ``"7"`` are one index, ``"3-9"`` those from 3 to 9; a pair stays one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return value
    found = _RANGE.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no index and no range of indexes, such as 7 or 3-9")
    return int(found[1]), int(found[2] or found[1])


def check_range(value: IndexRange) -> IndexRange:
    """Raises ``ValueError`` for one that no array has."""
    first, last = value
    if not 0 <= first <= last <= MAX_INDEX:
        raise ValueError(f"{first}-{last} is no range from 0 to {MAX_INDEX}, the lower end first")
    return value


Indexes = Annotated[
    list[Annotated[IndexRange, BeforeValidator(read_range), AfterValidator(check_range)]],
    Field(min_length=1, max_length=MOST_RANGES, examples=[["7", "20-29"]]),
]


class HoldRequest(Spec):
    """Argument of the ``hold`` update of ``BatchJob``."""

    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the job; shown to everyone who looks at it."""
    by: Line = Field(default="", max_length=200)
    stop_running: bool = False
    """Also stop the children that run: they begin again, at nobody's expense, after a release."""


class ReleaseRequest(Spec):
    """Argument of the ``release`` update of ``BatchJob``."""

    reason: Prose = Field(default="released", min_length=1, max_length=500)
    by: Line = Field(default="", max_length=200)


class ResizeRequest(Spec):
    """Argument of the ``resize`` update of a ``BatchJob`` that accumulates."""

    size: Annotated[int, Field(ge=1, le=MAX_INDEX + 1)]
    """How many children there shall be in all; never below those that were asked for already."""
    close: bool = False
    """Whether the job ends when they have; none can be added any more."""
    reason: Prose = Field(min_length=1, max_length=500)
    by: Line = Field(default="", max_length=200)


class CancelChildren(Spec):
    """Argument of the ``cancel_children`` update of ``BatchJob``."""

    indexes: Indexes
    reason: Prose = Field(min_length=1, max_length=500)
    by: Line = Field(default="", max_length=200)


class ChildrenCancelled(Record):
    """Answer of ``cancel_children``: how many of them will not run any more."""

    cancelled: int
    """Those that waited."""
    stopping: int
    """Those that ran; each is booked when its container is gone."""
    ended_already: int
    """Those that had ended. Children that were cancelled before are not counted again."""


class JobStanding(Record):
    """What keeps a job as a whole from going on, and which children are not wanted any more."""

    waiting: Waiting | None = None
    dropped: list[IndexRange] = []
    """Children that somebody cancelled; those of them that had ended stay as they ended."""
    size: int | None = None
    """How many children there are; None for as many as at its start."""


class JobNote(Record):
    """Input of ``batch.note``: how a job stands now, and an event about it."""

    job: JobHeader
    standing: JobStanding
    kind: str
    message: str
    by: str = ""


class Withdrawal(Record):
    """Input of ``batch.withdraw``: attempts for which no host is wanted any more."""

    job: JobHeader
    attempts: list[AttemptRequest]
