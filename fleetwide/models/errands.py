"""Errands: a command in a running task, its files, its figures; asked for from outside the host.

What is secret in a command, its environment and its standard input, never enters a history: it
lies in the object store until the host has read it.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Base64Bytes, ByteSize, ConfigDict, Field, field_validator

from fleetwide.models.base import Bytes, Name, Record, Spec, Timestamp
from fleetwide.models.containers import AttemptKey
from fleetwide.models.isolation import User
from fleetwide.models.launching import MAX_ENTRYPOINT_BYTES, MAX_ENV_BYTES
from fleetwide.models.texts import Line, Word

MAX_INPUT_BYTES = 512 * 1024
MAX_OUTPUT_BYTES = 64 * 1024**2
MAX_FETCH_BYTES = 16 * 1024**3
MAX_EXEC_SECONDS = 3600.0
MAX_SAMPLES = 3600
MAX_ENTRIES = 10_000
"""Entries of a listed folder."""
MAX_PATH = 4096

InsidePath = Annotated[
    Word,
    Field(pattern=r"^/[^\x00]*$", max_length=MAX_PATH, examples=["/var/log"]),
]
"""An absolute path as a program inside the container says it."""


class ErrandKind(StrEnum):
    """What is done in the running container."""

    EXEC = "exec"
    FILES = "files"
    FETCH = "fetch"
    STATS = "stats"


class OutputStream(StrEnum):
    """Which of a command's two outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


class _Inside(Spec):
    container: Name | None = None
    """One of the task's extra containers; unset, its main one."""


class ExecWork(_Inside):
    """A command that runs beside the task's own, with its rights and within its limits."""

    kind: Literal[ErrandKind.EXEC] = ErrandKind.EXEC
    command: list[Word] = Field(min_length=1, max_length=1000, examples=[["cat", "/etc/hosts"]])
    """Told in the task's events: what is secret belongs into ``env`` or ``stdin``."""
    user: User | None = None
    """Unset: whoever the task runs as."""
    folder: InsidePath | None = None
    """Where it begins; unset, where the task began."""
    timeout_seconds: Annotated[float, Field(ge=1, le=MAX_EXEC_SECONDS)] = 60.0
    """It is killed then, with whatever it has started and did not let go."""
    output_limit: Annotated[Bytes, Field(ge=1, le=MAX_OUTPUT_BYTES)] = ByteSize(1024**2)
    """Bytes kept of each of its two outputs; the rest is dropped, and the end says so."""

    @field_validator("command")
    @classmethod
    def _command_is_small(cls, value: list[str]) -> list[str]:
        size = sum(len(word.encode()) + 1 for word in value)
        if size > MAX_ENTRYPOINT_BYTES:
            raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENTRYPOINT_BYTES}")
        return value


class FilesWork(_Inside):
    """The entries of one folder, or one file's own."""

    kind: Literal[ErrandKind.FILES] = ErrandKind.FILES
    path: InsidePath = "/"


class FetchWork(_Inside):
    """A file as it is, or a folder as a tar."""

    kind: Literal[ErrandKind.FETCH] = ErrandKind.FETCH
    path: InsidePath
    limit: Annotated[Bytes, Field(ge=1, le=MAX_FETCH_BYTES)] = ByteSize(1024**3)
    """Refused when there is more."""


class FetchRequest(FetchWork):
    """Body of ``POST /v1/tasks/<id>/fetch``."""

    by: Line = Field(default="", max_length=200)

    def work(self) -> FetchWork:
        """What is to be done, without who asks."""
        return FetchWork(path=self.path, limit=self.limit, container=self.container)


class StatsWork(_Inside):
    """Figures of what the container takes, one line of JSON each."""

    kind: Literal[ErrandKind.STATS] = ErrandKind.STATS
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1
    every_seconds: Annotated[float, Field(ge=0.5, le=60)] = 1.0


Work = Annotated[ExecWork | FilesWork | FetchWork | StatsWork, Field(discriminator="kind")]


class ErrandSpec(Spec):
    """Input of the ``TaskErrand`` workflow."""

    task_id: Line = Field(min_length=1, max_length=200)
    by: Line = Field(default="", max_length=200)
    """Who asks, as they say."""
    work: Work


class ExecRequest(ExecWork):
    """Body of ``POST /v1/tasks/<id>/exec``."""

    env: dict[Line, Word] = {}
    """Added to the task's own. Values never enter a history or an event."""
    stdin: Base64Bytes | None = None
    """Its standard input as base64, 512 KiB at most; unset, it has none."""
    by: Line = Field(default="", max_length=200)

    @field_validator("env")
    @classmethod
    def _env_is_small(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not name or "=" in name:
                raise ValueError(f"{name!r} is not the name of an environment variable")
        size = sum(len(k.encode()) + len(v.encode()) + 2 for k, v in value.items())
        if size > MAX_ENV_BYTES:
            raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENV_BYTES}")
        return value

    @field_validator("stdin")
    @classmethod
    def _stdin_is_small(cls, value: bytes | None) -> bytes | None:
        if value is not None and len(value) > MAX_INPUT_BYTES:
            raise ValueError(f"is {len(value)} bytes; the limit is {MAX_INPUT_BYTES}")
        return value

    def work(self) -> ExecWork:
        """What a history may know of it."""
        return ExecWork.model_validate(self.model_dump(include=set(ExecWork.model_fields)))

    def given(self) -> "ErrandInput":
        """What it may not."""
        return ErrandInput(env=self.env, stdin=self.stdin)


class _Binary(Record):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class ErrandInput(_Binary):
    """What only the host may read; it is gone once it has."""

    env: dict[str, str] = {}
    stdin: bytes | None = None


class PlacedErrand(Record):
    """Input of the host's activity: what, in which container."""

    errand_id: str
    key: AttemptKey
    host_id: str
    work: Work


class Fetched(Record):
    """What a fetch left in the object store."""

    name: str
    """The last part of its path."""
    folder: bool
    """It is a tar of a folder."""
    size: int
    """Bytes in the object store."""
    sha256: str
    left_out: int = 0
    """Entries that a tar may not carry: devices, sockets, links that lead out of the folder."""


class ErrandResult(Record):
    """How an errand ended. Its outputs and files lie in the object store for some hours."""

    errand_id: str
    host_id: str
    attempt: int = 1
    message: str = ""
    exit_code: int | None = None
    """Of a command; None when it was killed before it had one."""
    timed_out: bool = False
    truncated: list[OutputStream] = []
    """The outputs that were longer than the limit."""
    fetched: Fetched | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class FileKind(StrEnum):
    """What an entry of a folder is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class FileEntry(Record):
    """One entry; a name that is no UTF-8 shows its odd bytes in hexadecimal."""

    name: str
    kind: FileKind
    size: int
    """Bytes."""
    mode: str
    """As ``ls -l`` shows it."""
    uid: int
    gid: int
    modified_at: Timestamp
    target: str | None = None
    """Where a link points."""


class FileListing(Record):
    """A folder's entries by name, or the one file."""

    path: str
    entries: list[FileEntry]
    more: bool = False
    """There are more entries than a listing shows."""


class UsageSample(Record):
    """What a container takes at one moment; counters go on from its start, sizes in bytes."""

    at: Timestamp
    cpu_percent: float
    """Of one CPU, since the sample before."""
    cpu_seconds: float
    periods: int
    throttled_periods: int
    throttled_seconds: float
    memory: int
    """Without the page cache that can be given back at once."""
    memory_limit: int
    oom_kills: int | None = None
    """Processes that the kernel ended for memory; None where the host does not tell."""
    pids: int
    network_received: int
    network_sent: int
    disk_read: int
    disk_written: int


class OutputChunk(_Binary):
    """Data of a ``stdout`` or ``stderr`` event of an errand; base64 in JSON."""

    data: bytes


class ErrandEnd(Record):
    """Data of the ``end`` event of an errand."""

    result: ErrandResult | None = None
    error: str | None = None
    """Why it has no result."""
    code: str | None = None


def errand_task_queue(host_id: str) -> str:
    """The queue of a host's errands: they never take a place that a container could have."""
    return f"host.{host_id}.errands"
