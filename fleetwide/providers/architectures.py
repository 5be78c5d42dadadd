"""Which architectures' programs this machine can run: its own, or by emulation."""

import platform
import shutil
import subprocess

from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import Architecture

_MACHINES = {"x86_64": Architecture.AMD64, "aarch64": Architecture.ARM64}
TEST_SECONDS = 30


def this_architecture() -> Architecture | None:
    """The machine's own; None for one that no release is built for."""
    return _MACHINES.get(platform.machine())


def check_runs(architecture: Architecture) -> None:
    """Raise ``InvalidInput`` when programs of ``architecture`` cannot be run here.

    Of an architecture that is not the machine's own, Debian's arch-test tells: mmdebstrap asks it
    too.
    """
    if architecture is this_architecture() or _is_emulated(architecture):
        return
    raise InvalidInput.for_field(
        "architecture",
        f"this builder is {platform.machine()} and cannot run programs of {architecture}",
        given=str(architecture),
        hint=f"use a builder of {architecture}, or on this one: "
        "apt-get install qemu-user-static binfmt-support arch-test",
    )


def _is_emulated(architecture: Architecture) -> bool:
    program = shutil.which("arch-test")
    if program is None:
        return False
    command = [program, architecture.value]
    tested = subprocess.run(command, capture_output=True, timeout=TEST_SECONDS, check=False)
    return tested.returncode == 0
