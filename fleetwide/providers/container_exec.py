"""A command in a running container, through the Docker Engine's API; it is run once, or not at all.

The Engine can start such a command but not end it. So it is ended from the host, with all that it
has started: the Engine makes it the leader of a session of its own.
"""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any, NoReturn

import requests
from docker import APIClient
from docker.errors import create_api_error_from_http_exception

from fleetwide.models.errands import ErrandInput, ExecWork, OutputStream
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.docker import ContainerHost

FLUSH_SECONDS = 0.5
KILL_SECONDS = 5.0
_START_SECONDS = 60
_NEWS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0)
_HEADER = struct.Struct(">BxxxL")
_STREAMS = {1: OutputStream.STDOUT, 2: OutputStream.STDERR}


class BoundedOutput:
    """One output of a command on its way to the object store; what is over the limit is dropped."""

    def __init__(self, writer: LogWriter, limit: int) -> None:
        self._writer = writer
        self._left = limit
        self.truncated = False

    def write(self, data: bytes) -> None:
        taken = data[: self._left]
        self._left -= len(taken)
        self.truncated = self.truncated or len(taken) < len(data)
        if taken:
            self._writer.write(taken)

    def flush(self) -> None:
        """Store what came since the last time."""
        self._writer.flush()


@dataclass(frozen=True)
class ExecEnd:
    """How a command ended; no exit code when it was killed."""

    exit_code: int | None
    timed_out: bool = False
    killed: bool = False


class ContainerCommand:
    """One command; ``run`` is called once, from one thread."""

    def __init__(
        self, host: ContainerHost, container: str, outputs: dict[OutputStream, BoundedOutput]
    ) -> None:
        self._host = host
        self._container = container
        self._outputs = outputs
        self._over = Event()
        self._error: BaseException | None = None

    def run(self, work: ExecWork, given: ErrandInput, go_on: Callable[[], bool]) -> ExecEnd:
        """Run the command to its end, its time limit, or until ``go_on`` answers False.

        Raises ``Conflict`` when the container does not run, ``InvalidInput`` for a user or folder
        that it does not have, ``DockerUnavailable``.
        """
        deadline = monotonic() + work.timeout_seconds
        with self._host.engine(f"run a command in {self._container}") as api:
            command = _create(api, self._container, work, given)
            with _attached(api, command) as stream:
                try:
                    self._begin(stream, given.stdin)
                    return self._await_end(api, command, deadline, go_on)
                except BaseException:
                    # Nobody would keep its time limit.
                    self._kill(api, command)
                    raise

    def _await_end(
        self, api: APIClient, command: str, deadline: float, go_on: Callable[[], bool]
    ) -> ExecEnd:
        while True:
            # One that has closed its outputs may work on.
            quiet = self._over.wait(FLUSH_SECONDS)
            if self._error is not None:
                raise self._error
            self._flush()
            if quiet:
                works = self._works(api, command)
                code = _exit_code(api, command)
                if code is not None or not works:
                    return ExecEnd(code)
            late = monotonic() > deadline
            if late or not go_on():
                self._kill(api, command)
                self._flush()
                return ExecEnd(None, timed_out=late, killed=not late)

    def _begin(self, stream: "_Stream", stdin: bytes | None) -> None:
        """Read and write at the same time: a command may wait for either."""
        Thread(target=self._read, args=(stream,), daemon=True, name="exec output").start()
        if stdin is not None:
            Thread(target=stream.send, args=(stdin,), daemon=True, name="exec input").start()

    def _read(self, stream: "_Stream") -> None:
        try:
            for name, data in stream:
                self._outputs[name].write(data)
        except BaseException as error:  # it belongs to the thread that waits
            self._error = error
        finally:
            self._over.set()

    def _flush(self) -> None:
        for output in self._outputs.values():
            output.flush()

    def _kill(self, api: APIClient, command: str) -> None:
        """End the command and wait a moment for its last words."""
        pid = _pid(api, command)
        if pid:
            kill_session(pid, self._container_id(api))
        self._over.wait(KILL_SECONDS)

    def _works(self, api: APIClient, command: str) -> bool:
        """The Engine does not always learn what became of a command whose container ended."""
        if not api.exec_inspect(command)["Running"]:
            return False
        return bool(api.inspect_container(self._container)["State"]["Running"])

    def _container_id(self, api: APIClient) -> str:
        found: dict[str, Any] = api.inspect_container(self._container)
        return str(found["Id"])


def kill_session(leader: int, container_id: str) -> None:
    """End a process of a container and all of its session; one that is gone already is fine.

    A process number that meanwhile belongs to something outside the container is left alone.
    """
    for process in _session(leader):
        if container_id in _text(Path(f"/proc/{process}/cgroup")):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(ProcessLookupError):
                process = int(entry.name)
                if os.getsid(process) == leader:
                    found.append(process)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class _Stream:
    """What a command writes, as the Engine frames it, and where its input goes."""

    def __init__(self, response: requests.Response) -> None:
        # Behind the buffer that the answer's head was read through: the first frame may lie in it.
        raw: Any = response.raw
        self._reader = raw._fp.fp  # noqa: SLF001 - the SDK has no call that keeps the buffer
        self._socket: socket.socket = self._reader.raw._sock  # noqa: SLF001

    def __iter__(self) -> Iterator[tuple[OutputStream, bytes]]:
        with suppress(OSError, ValueError):  # closed under the reader
            while len(header := self._reader.read(_HEADER.size)) == _HEADER.size:
                kind, size = _HEADER.unpack(header)
                yield _STREAMS.get(kind, OutputStream.STDOUT), self._reader.read(size)

    def send(self, data: bytes) -> None:
        """Give the command its input and tell it that no more comes; it may not want it."""
        with suppress(OSError):
            self._socket.sendall(data)
            self._socket.shutdown(socket.SHUT_WR)

    def no_timeout(self) -> None:
        """A command may be silent for as long as it may run."""
        self._socket.settimeout(None)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _create(api: APIClient, container: str, work: ExecWork, given: ErrandInput) -> str:
    created: dict[str, str] = api.exec_create(
        container,
        work.command,
        stdin=given.stdin is not None,
        environment=given.env,
        user=work.user or "",
        workdir=work.folder,
    )
    return created["Id"]


@contextmanager
def _attached(api: APIClient, command: str) -> Iterator[_Stream]:
    """Start the command; the connection turns into its input and outputs."""
    response = api.post(
        f"{api.base_url}/v{api.api_version}/exec/{command}/start",
        json={"Tty": False, "Detach": False},
        headers={"Connection": "Upgrade", "Upgrade": "tcp"},
        stream=True,
        timeout=_START_SECONDS,
    )
    with response:
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise_refusal(response)
        stream = _Stream(response)
        stream.no_timeout()
        try:
            yield stream
        finally:
            stream.close()


def raise_refusal(response: requests.Response) -> NoReturn:
    """Raise what the Engine refused as the SDK does."""
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        raise create_api_error_from_http_exception(error) from error
    raise AssertionError(response.status_code)


def _pid(api: APIClient, command: str) -> int:
    """The command's process; 0 when it has ended, or has not begun for long.

    What it writes may come before the Engine tells its number.
    """
    for pause in _NEWS_SECONDS:
        found = api.exec_inspect(command)
        if found["Pid"] or not found["Running"]:
            return int(found["Pid"])
        sleep(pause)
    return 0


def _exit_code(api: APIClient, command: str) -> int | None:
    """The Engine learns of the exit a moment after the outputs have ended."""
    for pause in _NEWS_SECONDS:
        found = api.exec_inspect(command)
        if not found["Running"] and found["ExitCode"] is not None:
            return int(found["ExitCode"])
        sleep(pause)
    return None
