"""What a container may use of its host."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from fleetwide.models.base import Bytes, Cpu, Memory, Spec

DEFAULT_SHARED_MEMORY = 64 * 1024**2
MEGABYTE = 1000**2
# Titus gives no container less than 10 GB: with that a machine with 20 GB left runs two of them.
DISK_PER_CPU = 2_000 * MEGABYTE
MIN_DISK = 64 * MEGABYTE
MAX_DISK = 1_550_000 * MEGABYTE
MAX_NETWORK = 400_000
MAX_GPUS = 16
MAX_PORTS = 16
FIRST_PORT = 1024
LAST_PORT = 65_535
PORT_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,30}$"

Disk = Annotated[Bytes, Field(ge=MIN_DISK, le=MAX_DISK, examples=["20GB"])]
Network = Annotated[int, Field(ge=0, le=MAX_NETWORK, examples=[500])]
Gpus = Annotated[int, Field(ge=0, le=MAX_GPUS)]
PortNumber = Annotated[int, Field(ge=1, le=LAST_PORT)]
HostPort = Annotated[int, Field(ge=FIRST_PORT, le=LAST_PORT)]
PortName = Annotated[str, Field(pattern=PORT_NAME_PATTERN, examples=["http"])]


class Protocol(StrEnum):
    """What is spoken on a port."""

    TCP = "tcp"
    UDP = "udp"


class Port(Spec):
    """A port of the host by which a container is reached."""

    static: HostPort | None = None
    """This port of the host and no other; unset, the platform chooses a free one."""
    to: PortNumber | None = None
    """The port that the program listens on; unset, the same as the host's."""
    protocol: Protocol = Protocol.TCP


def usual_disk(cpu_milli: int) -> int:
    """Bytes of disk for a container that asks for none."""
    return max(MIN_DISK, cpu_milli * DISK_PER_CPU // 1000)


def _named(value: object) -> object:
    """``["http", "admin"]`` stands for two ports that the platform chooses."""
    if isinstance(value, list):
        return {name: {} for name in value}
    return value


Ports = Annotated[
    dict[PortName, Port],
    BeforeValidator(_named),
    Field(max_length=MAX_PORTS, examples=[{"http": {"to": 8080}}]),
]


class Resources(Spec):
    """What one container may use; the host reserves it, and enforces it as its facts tell."""

    cpu: Cpu = 1.0
    """CPUs, in steps of 0.001."""
    memory: Memory = ByteSize(512 * 1024**2)
    """Bytes, or a text such as 512MiB."""
    shared_memory: Memory | None = None
    """Size of /dev/shm, which counts to the memory; unset, 64 MiB or all the memory if less."""
    disk: Disk | None = None
    """Bytes that it may write outside volumes; unset, 2 GB for each CPU, at least 64 MB."""
    network: Network = 0
    """Mbit/s kept for it, in and out, and its limit; 0 keeps none and shares what is left."""
    gpus: Gpus = 0
    """Whole devices."""
    ports: Ports = {}
    """Ports of the host by name. ``FLEETWIDE_PORT_<name>`` tells the program their numbers."""

    @model_validator(mode="after")
    def _static_ports_differ(self) -> Self:
        fixed = sorted(self.fixed_ports)
        if len(fixed) < sum(port.static is not None for port in self.ports.values()):
            raise ValueError(f"ports: two of them are the same port of the host, among {fixed}")
        return self

    @model_validator(mode="after")
    def _programs_listen_apart(self) -> Self:
        inside = [(port.to, port.protocol) for port in self.ports.values() if port.to is not None]
        twice = [to for to, protocol in inside if inside.count((to, protocol)) > 1]
        if twice:
            raise ValueError(f"ports: two of them both listen on port {twice[0]}")
        return self

    @property
    def cpu_milli(self) -> int:
        return round(self.cpu * 1000)

    @property
    def shared_memory_bytes(self) -> int:
        return min(int(self.shared_memory or DEFAULT_SHARED_MEMORY), int(self.memory))

    @property
    def disk_bytes(self) -> int:
        return usual_disk(self.cpu_milli) if self.disk is None else int(self.disk)

    @property
    def fixed_ports(self) -> frozenset[int]:
        """Ports of the host that it has to have."""
        return frozenset(port.static for port in self.ports.values() if port.static is not None)

    @property
    def free_ports(self) -> int:
        """How many ports the platform chooses for it."""
        return sum(port.static is None for port in self.ports.values())
