"""Volumes of a task, and where its containers see them."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, ByteSize, Field, model_validator

from fleetwide.models.base import Bytes, Spec
from fleetwide.models.isolation import Folder

MAX_VOLUMES = 16
MAX_MOUNTS = 32
MIN_VOLUME = 1024**2
MAX_VOLUME = 1_550_000 * 1000**2
DEFAULT_VOLUME = 1024**3
VOLUME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"
# No part begins with a dot: neither `..` nor a hidden folder can be named.
SUB_PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,15}$"
# The kernel's own folders, and those that the container engine fills.
RESERVED = ("/proc", "/sys", "/dev")


def lies_in(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or lies below it."""
    return path == folder or path.startswith(f"{folder}/")


def not_reserved(path: str) -> str:
    """Refuse paths in a container that belong to the kernel or to the engine."""
    for folder in RESERVED:
        if lies_in(path, folder):
            raise ValueError(f"nothing can be put into {folder}")
    return path


VolumeName = Annotated[str, Field(pattern=VOLUME_PATTERN, examples=["data"])]
MountPath = Annotated[Folder, AfterValidator(not_reserved)]
SubPath = Annotated[str, Field(pattern=SUB_PATH_PATTERN, max_length=255, examples=["models/v2"])]
VolumeSize = Annotated[Bytes, Field(ge=MIN_VOLUME, le=MAX_VOLUME, examples=["2GiB"])]


class VolumeKind(StrEnum):
    """Where a volume's bytes lie, and who may see them."""

    SCRATCH = "scratch"
    """On the host's disk, for one container, gone with the attempt."""
    SHARED = "shared"
    """As ``scratch``, for any of the task's containers."""
    HOST = "host"
    """A folder of the host that its operator allows."""


class Volume(Spec):
    """Room for files besides the containers' own."""

    name: VolumeName
    kind: VolumeKind = VolumeKind.SCRATCH
    size: VolumeSize | None = None
    """Bytes that it may hold; unset, 1 GiB. Not for folders of the host."""
    path: Folder | None = None
    """The folder of the host, for ``host`` alone."""
    writable: bool = False
    """For ``host`` alone: may be written, where the host's operator allows that too."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        of_host = self.kind is VolumeKind.HOST
        if of_host and self.path is None:
            raise ValueError("a volume of kind host needs the path of the host's folder")
        if of_host and self.size is not None:
            raise ValueError("size is not for volumes of kind host")
        if not of_host and (self.path is not None or self.writable):
            raise ValueError(f"path and writable are for kind host; this one is {self.kind}")
        return self

    @property
    def bytes(self) -> int:
        """What it may hold; 0 for a folder of the host."""
        if self.kind is VolumeKind.HOST:
            return 0
        return int(self.size or ByteSize(DEFAULT_VOLUME))


class Mount(Spec):
    """Where one container sees a volume, or a part of it."""

    volume: VolumeName
    path: MountPath
    """In the container."""
    sub_path: SubPath | None = None
    """Only this folder of the volume; it is made where it is missing. Not for kind ``host``."""
    read_only: bool = False


Volumes = Annotated[list[Volume], Field(max_length=MAX_VOLUMES)]
Mounts = Annotated[list[Mount], Field(max_length=MAX_MOUNTS)]
