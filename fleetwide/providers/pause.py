"""The image of a program that only waits: it holds a network and mounts for other containers.

It is written here, byte by byte, so that a host needs no image from anywhere for it. The program
is the least that Linux can run: one system call, again and again. It cannot be ended but by
SIGKILL, which is how its container is removed.
"""

import io
import platform
import struct
import tarfile

from fleetwide.providers.docker import ContainerHost

REPOSITORY = "fleetwide.local/pause"
_BASE = 0x400000
_HEADERS = 64 + 56
# ELF's number of the machine, and: call pause() (ppoll(0, 0, 0, 0) on arm64) and jump back.
_MACHINES: dict[str, tuple[int, bytes]] = {
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    "aarch64": (
        183,
        struct.pack(
            "<7I",
            0xD2800000,  # mov x0, 0
            0xD2800001,  # mov x1, 0
            0xD2800002,  # mov x2, 0
            0xD2800003,  # mov x3, 0
            0xD2800928,  # mov x8, 73
            0xD4000001,  # svc 0
            0x17FFFFFA,  # b -24
        ),
    ),
}
TAG = "1"
IMAGE = f"{REPOSITORY}:{TAG}"


def program(machine: str) -> bytes:
    """A static ELF program for a machine, as ``uname -m`` calls it."""
    number, code = _MACHINES[machine]
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return ident + header + segment + code


def root_tar(machine: str) -> bytes:
    """The whole root file system."""
    data = program(machine)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as root:
        member = tarfile.TarInfo("pause")
        member.size, member.mode = len(data), 0o755
        root.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def import_image(host: ContainerHost) -> str:
    """Make the image known to the host's Engine; answers its name there."""
    with host.engine(f"import {IMAGE}") as api:
        api.import_image_from_data(
            root_tar(platform.machine()),
            repository=REPOSITORY,
            tag=TAG,
            changes=['ENTRYPOINT ["/pause"]'],
        )
    return IMAGE
