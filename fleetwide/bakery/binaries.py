"""What a program must begin with to run on a base: an ELF header, or the line of a script."""

import re
import struct

from fleetwide.errors import ArtifactRejected, WrongArchitecture
from fleetwide.models.baseos import Architecture

HEAD_BYTES = 256
ELF_MAGIC = b"\x7fELF"
_SCRIPT = re.compile(rb"#![ \t]*/[!-~]")
# Class, byte order and machine of an ELF header. Source: elf(5).
_ELF64, _LITTLE = 2, 1
_MACHINES: dict[int, str] = {
    3: "i386",
    8: "mips",
    20: "powerpc",
    21: "ppc64el",
    22: "s390x",
    40: "arm",
    62: Architecture.AMD64,
    183: Architecture.ARM64,
    243: "riscv64",
    258: "loong64",
}
# An executable, and one that may lie anywhere; shared libraries look like the latter.
_RUNNABLE = (2, 3)


def is_program(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is one that the kernel starts."""
    return head.startswith(ELF_MAGIC) or _SCRIPT.match(head) is not None


def check_program(head: bytes, name: str, architecture: str) -> None:
    """Refuse a program that a base of ``architecture`` (Debian's name of it) cannot start.

    ``head`` are the file's first bytes, ``name`` is what people call it.

    Raises:
        WrongArchitecture: it is built for other machines.
        ArtifactRejected: it is no program.
    """
    if not is_program(head):
        raise ArtifactRejected(
            f"{name} is no program: it begins neither as an ELF file nor with #! and a path",
            hint="file <program>",
        )
    if not head.startswith(ELF_MAGIC):
        return
    if len(head) < 20:
        raise ArtifactRejected(f"{name} is cut off within its ELF header")
    order = "<" if head[5] == _LITTLE else ">"
    kind, machine = struct.unpack(f"{order}HH", head[16:20])
    built_for = _machine(head[4], head[5], machine)
    if built_for != architecture:
        raise WrongArchitecture(f"{name} is built for {built_for}, the base is {architecture}")
    if kind not in _RUNNABLE:
        raise ArtifactRejected(f"{name} is an ELF file, but no executable")


def _machine(bits: int, order: int, number: int) -> str:
    known = _MACHINES.get(number, f"machine {number}")
    if known in set(Architecture) and (bits, order) != (_ELF64, _LITTLE):
        return f"another ABI of {known}"
    return known
