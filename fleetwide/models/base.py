"""Bases and field types shared by all models.

People's input is a ``Spec``: unknown keys are errors, so that typos are told. What is stored or
comes from a peer is a ``Record``: unknown keys are ignored, so that an older reader survives a
newer writer.
"""

import math
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
)

from fleetwide.models.described import Described
from fleetwide.models.texts import MAX_TEXT

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,62})$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"

MIN_CPU = 0.001
MAX_CPU = 96.0
MIN_MEMORY = 4 * 1024**2
MAX_MEMORY = 1024**4
MAX_BYTES_TEXT = 40
"""Characters of a number of bytes; some thousand digits are more than a float can hold."""


class Spec(Described):
    """Input from people: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=MAX_TEXT)


class Record(Described):
    """Stored data and data from peers: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _whole_milli_cpu(value: float) -> float:
    if abs(value * 1000 - round(value * 1000)) > 1e-6:
        raise ValueError("must be a multiple of 0.001")
    return value


def _plain_bytes(value: Any) -> Any:
    """Let ``512MiB`` and ``1GiB`` through to ByteSize, refuse early what it would stumble over."""
    endless = isinstance(value, float) and not math.isfinite(value)
    if (
        isinstance(value, bool)
        or endless
        or (isinstance(value, str) and len(value) > MAX_BYTES_TEXT)
    ):
        raise ValueError("must be a number of bytes or a text such as 512MiB")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN, examples=["hello"])]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
Cpu = Annotated[float, Field(ge=MIN_CPU, le=MAX_CPU), AfterValidator(_whole_milli_cpu)]
Bytes = Annotated[ByteSize, BeforeValidator(_plain_bytes)]
Memory = Annotated[
    Bytes,
    Field(ge=MIN_MEMORY, le=MAX_MEMORY, examples=["512MiB"]),
]
Timestamp = AwareDatetime


def slug(text: str, limit: int = 40) -> str:
    """``text`` reduced to characters that Docker and OCI allow in names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "x"


class Layer(Record):
    """One compressed layer that lies in the registry."""

    digest: Digest
    """Digest of the compressed bytes."""
    diff_id: Digest
    """Digest of the uncompressed tar."""
    size: int
    """Compressed bytes."""


class StepProgress(Record):
    """Heartbeat details of a long step; ``fraction`` goes from 0 to 1 where it is known."""

    phrase: str
    fraction: float | None = None

    def __str__(self) -> str:
        return self.phrase if self.fraction is None else f"{self.phrase}, {self.fraction:.0%}"


class Waiting(Record):
    """Why something is not moving: a code for programs, a sentence and numbers for people."""

    code: str
    sentence: str
    numbers: dict[str, float] = {}
    since: datetime

    def markdown(self) -> str:
        """One list item for a workflow's current details."""
        since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"- waiting (`{self.code}`) since {since}: {self.sentence}"
