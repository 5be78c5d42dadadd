"""One question to a container: is it well? By a command in it, by HTTP, gRPC, or a connection.

All but commands go from the host to the container's own address, so no port is opened for them.
They reach that address alone: a redirect is an answer like any other and is not followed, and of
what the container sends by HTTP nothing is read beyond the first line.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import requests
from urllib3.exceptions import HTTPError

from fleetwide.containers.masks import Masker
from fleetwide.errors import FleetwideError
from fleetwide.models.containers import Network
from fleetwide.models.health import ContainerHealth, HttpProbe, TcpProbe
from fleetwide.providers.bounded_connections import BoundedConnection
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.grpc_probe import grpc_complaint

MAX_FIRST_LINE = 1024
MAX_SAID = 4096
KEPT_COMPLAINT = 220
_EXIT_POLL_SECONDS = 0.05
_FRAME_HEADER = struct.Struct(">BxxxL")

Probe = Callable[[], str | None]
"""Answers None when the container is well, else what is wrong; raises nothing."""


def probe_for(
    host: ContainerHost,
    container: str,
    check: ContainerHealth,
    address: str | None,
    secrets: Sequence[bytes] | None,
) -> Probe:
    """How a running container is asked; ``address`` is that of its network.

    What the probe says never has one of the secrets in it. Where they are None nobody knows them
    any more, and nothing of what it says is told.
    """
    seconds = check.timeout_seconds
    if check.command is not None:
        command = CommandProbe(host, container, check.command, seconds, secrets or ())
        return hiding(command, secrets)
    return hiding(_network_probe(check, address, seconds), secrets)


def _network_probe(check: ContainerHealth, address: str | None, seconds: float) -> Probe:
    known = address or ""
    if check.http is not None:
        http = check.http
        return lambda: http_complaint(known, http, seconds)
    if check.grpc is not None:
        grpc = check.grpc
        return lambda: grpc_complaint(known, grpc, seconds)
    assert check.tcp is not None
    tcp = check.tcp
    return lambda: tcp_complaint(known, tcp, seconds)


def hiding(probe: Probe, secrets: Sequence[bytes] | None) -> Probe:
    """The same probe, but what it says never has one of these in it, nor much else."""
    if secrets is None:
        return lambda: None if probe() is None else "it is not well"
    masker = Masker(secrets)

    def ask() -> str | None:
        said = probe()
        # Cut only now: of a part of a value nobody knows that it is one.
        return None if said is None else masker.text(said)[:KEPT_COMPLAINT]

    return ask


def address_of(host: ContainerHost, container: str, network: Network) -> str | None:
    """Where the host reaches a container of this network; None when it does not."""
    if network is Network.HOST:
        return "127.0.0.1"
    with host.engine(f"inspect {container}") as api:
        found = api.inspect_container(container)
    return found["NetworkSettings"]["IPAddress"] or None


def tcp_complaint(address: str, probe: TcpProbe, seconds: float) -> str | None:
    """None when a connection is taken in time."""
    try:
        socket.create_connection((address, probe.port), seconds).close()
    except OSError as error:
        return f"port {probe.port}: {error.strerror or error}"
    return None


def http_complaint(address: str, probe: HttpProbe, seconds: float) -> str | None:
    """None when the whole first line of an answer came in time and says 200 to 399."""
    what = f"GET :{probe.port}{probe.path}"
    request = (
        f"GET {probe.path} HTTP/1.1\r\nHost: {address}:{probe.port}\r\n"
        "User-Agent: fleetwide-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    try:
        with BoundedConnection(address, probe.port, seconds, 2 * MAX_FIRST_LINE) as connection:
            connection.send(request.encode())
            line = _first_line(connection)
    except OSError as error:
        return f"{what}: {error.strerror or error}"
    words = line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return f"{what}: what came back is no HTTP"
    return None if 200 <= int(words[1][:9]) < 400 else f"{what}: status {words[1].decode()[:9]}"


def _first_line(connection: BoundedConnection) -> bytes:
    line = b""
    while b"\n" not in line and len(line) < MAX_FIRST_LINE:
        piece = connection.receive(MAX_FIRST_LINE)
        if not piece:
            break
        line += piece
    return line.partition(b"\n")[0].rstrip(b"\r")


class CommandProbe:
    """Runs a command in the container. One that does not end blocks the next: none pile up."""

    def __init__(
        self,
        host: ContainerHost,
        container: str,
        command: list[str],
        seconds: float,
        secrets: Sequence[bytes] = (),
    ) -> None:
        self._host = host
        self._container = container
        self._command = command
        self._seconds = seconds
        self._secrets = secrets
        self._pending: str | None = None

    def __call__(self) -> str | None:
        try:
            return self._complaint(time.monotonic() + self._seconds)
        except (FleetwideError, requests.RequestException, HTTPError, OSError) as error:
            return f"the check could not be run: {error}"

    def _complaint(self, deadline: float) -> str | None:
        if self._pending is not None and self._exit_code(self._pending) is None:
            return "the check before has not ended yet"
        self._pending = running = self._create()
        said = self._output(running, deadline)
        while (code := self._exit_code(running)) is None:
            if time.monotonic() >= deadline:
                return f"it did not end within {self._seconds:g} s"
            time.sleep(_EXIT_POLL_SECONDS)
        self._pending = None
        if code == 0:
            return None
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        told = f": {last[0]}" if last else ""
        return f"exit code {code}{told}"

    def _create(self) -> str:
        with self._host.engine(f"check {self._container}") as api:
            created = api.exec_create(self._container, self._command)
        return str(created["Id"])

    def _output(self, running: str, deadline: float) -> bytes:
        with self._host.engine(f"check {self._container}") as api:
            response = api.post(
                f"{api.base_url}/v{api.api_version}/exec/{running}/start",
                json={"Detach": False, "Tty": False},
                stream=True,
                timeout=(self._seconds, self._seconds),
            )
            with response:
                return _beginning(_frames(response), deadline, Masker(self._secrets))

    def _exit_code(self, running: str) -> int | None:
        """None while it runs."""
        with self._host.engine(f"check {self._container}") as api:
            found = api.exec_inspect(running)
        return None if found["Running"] else int(found["ExitCode"] or 0)


def _beginning(pieces: Iterator[bytes], deadline: float, masker: Masker) -> bytes:
    """What is said until it is enough, without the secrets.

    Where it breaks off, what may be the beginning of a secret is left out.
    """
    said = b""
    with suppress(requests.RequestException, HTTPError, OSError):
        for piece in pieces:
            said += masker.feed(piece)
            if len(said) > MAX_SAID or time.monotonic() >= deadline:
                break
        else:
            said += masker.end()
    return said[-MAX_SAID:]


def _frames(response: requests.Response) -> Iterator[bytes]:
    raw = response.raw
    while len(header := raw.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
        left = _FRAME_HEADER.unpack(header)[1]
        while left and (piece := raw.read(min(left, MAX_SAID))):
            left -= len(piece)
            yield piece
