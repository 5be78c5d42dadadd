"""What a container may do on its host: its user, its capabilities, what it may write.

Less than an image asks for is always granted; more only from a short list, since hosts are shared.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Bytes, Spec

MAX_SCRATCH_FOLDERS = 8
MIN_SCRATCH = 4096
USER_PATTERN = r"^([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10})(:([a-z_][a-z0-9_-]{0,31}|[0-9]{1,10}))?$"
FOLDER_PATTERN = r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*){1,16}$"
PROFILE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
DEFAULT_PROFILE = "default"

User = Annotated[
    str, Field(pattern=USER_PATTERN, examples=["65534:65534"], description="user[:group]")
]
Folder = Annotated[str, Field(pattern=FOLDER_PATTERN, max_length=255, examples=["/work"])]
Scratch = Annotated[Bytes, Field(ge=MIN_SCRATCH, examples=["64MiB"])]


class Capability(StrEnum):
    """Linux capabilities that may be named, without their ``CAP_``.

    Those beyond Docker's own set, and raw packets and device nodes, are not there unless added.
    """

    AUDIT_WRITE = "AUDIT_WRITE"
    CHOWN = "CHOWN"
    DAC_OVERRIDE = "DAC_OVERRIDE"
    FOWNER = "FOWNER"
    FSETID = "FSETID"
    IPC_LOCK = "IPC_LOCK"
    KILL = "KILL"
    NET_BIND_SERVICE = "NET_BIND_SERVICE"
    NET_RAW = "NET_RAW"
    SETFCAP = "SETFCAP"
    SETGID = "SETGID"
    SETPCAP = "SETPCAP"
    SETUID = "SETUID"
    SYS_CHROOT = "SYS_CHROOT"
    SYS_NICE = "SYS_NICE"
    SYS_PTRACE = "SYS_PTRACE"


class Security(Spec):
    """How far a container is kept to itself."""

    user: User | None = None
    """Who its processes run as; unset, whoever the image says."""
    add_capabilities: list[Capability] = Field(default=[], max_length=len(Capability))
    """Granted beyond the usual; none but these can be."""
    drop_capabilities: list[Capability] = Field(default=[], max_length=len(Capability))
    """Taken away from the usual."""
    drop_all_capabilities: bool = False
    """Takes all away but those that are added."""
    read_only_root: bool = False
    """Nothing may be written but to ``scratch`` and to volumes."""
    scratch: dict[Folder, Scratch] = Field(default={}, max_length=MAX_SCRATCH_FOLDERS)
    """Empty folders in memory, gone with the container; they count to its memory."""
    seccomp: Annotated[str, Field(pattern=PROFILE_PATTERN)] = DEFAULT_PROFILE
    """``default`` is the Engine's own profile; any other is one that the host's operator put there.
    """

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        both = sorted(set(self.add_capabilities) & set(self.drop_capabilities))
        if both:
            raise ValueError(f"{both[0]} is both added and dropped")
        return self

    @property
    def scratch_bytes(self) -> int:
        """What all its folders in memory may take together."""
        return sum(self.scratch.values())
