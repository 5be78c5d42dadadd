"""Read debs, and install them onto a base."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from fleetwide.bakery.debs import Control, check_architecture, install_batches, parse_control
from fleetwide.bakery.packages import dpkg_failure
from fleetwide.errors import ArtifactRejected, PlatformError
from fleetwide.providers.overlay import BaseOverlay
from fleetwide.providers.progress import Progress
from fleetwide.providers.script_limits import ScriptLimits, bounded
from fleetwide.providers.unpacking import BoundedReader

MAX_CONTROL_BYTES = 1024 * 1024
POLICY = "#!/bin/sh\n# Services start with containers, never while an image is built.\nexit 101\n"
INBOX = ".fleetwide"
_INSTALL = f"""
for batch in "$@"; do
  dpkg --install --force-confdef --force-confold --force-unsafe-io /{INBOX}/"$batch"/*.deb
done
"""


@dataclass(frozen=True)
class Deb:
    """A .deb file, the name that people call it by, and its control file."""

    path: Path
    name: str
    control: Control


def read_deb(path: Path, name: str, architecture: str) -> Deb:
    """Read the control file of a deb for a base of ``architecture``; nothing is unpacked.

    Raises:
        ArtifactRejected: the file is no readable .deb.
        WrongArchitecture: it is for other machines.
    """
    try:
        control = parse_control(_control_text(path))
    except (tarfile.TarError, EOFError, ArtifactRejected) as error:
        raise ArtifactRejected(f"{name} is no readable Debian package: {error}") from error
    check_architecture(control, name, architecture)
    return Deb(path, name, control)


def _control_text(path: Path) -> str:
    command = ["dpkg-deb", "--ctrl-tarfile", str(path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise PlatformError("dpkg-deb is missing", hint="apt-get install dpkg") from error
    with process:
        try:
            assert process.stdout is not None
            return _control_member(process.stdout, path.name)
        finally:
            process.kill()


def _control_member(stream: IO[bytes], name: str) -> str:
    bounded = cast("BinaryIO", BoundedReader(cast("BinaryIO", stream), name, MAX_CONTROL_BYTES))
    with tarfile.open(fileobj=bounded, mode="r|") as archive:
        for member in archive:
            if member.name.removeprefix("./") == "control" and member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                return content.read(MAX_CONTROL_BYTES).decode(errors="replace")
    raise tarfile.ReadError("it has no control file")


def install_debs(
    debs: Sequence[Deb],
    base: Path,
    scratch: Path,
    limits: ScriptLimits,
    progress: Progress,
) -> Path:
    """Install ``debs`` on the unpacked ``base``; answers the folder with what that changed.

    Maintainer scripts run in namespaces of their own, without network and without the capabilities
    that reach the builder, within ``limits``. ``scratch`` does not exist yet.

    Raises:
        InstallFailed: a maintainer script failed; with the last lines.
        InstallTimedOut: they did not come to an end. Nothing that they started is left.
        LimitExceeded: they took more than they may; the same.
        DependencyUnsatisfied: something is missing, in dpkg's words.
        ArtifactRejected: dpkg refuses a deb for another reason.
    """
    overlay = BaseOverlay([base], scratch)
    _block_services(base, overlay.tools)
    batches = install_batches([deb.control for deb in debs])
    for number, batch in enumerate(batches):
        _lay_out([debs[one] for one in batch], overlay.tools / INBOX / str(number))
    what = "the installation of the packages"
    with bounded(limits, what, overlay.upper, progress) as bounds:
        finished = overlay.run(
            ["/bin/sh", "-ec", _INSTALL, "sh", *map(str, range(len(batches)))],
            bounds=bounds,
            read=_read,
        )
    if finished.returncode != 0:
        raise dpkg_failure(finished.lines)
    return overlay.upper


def _block_services(base: Path, tools: Path) -> None:
    sbin = "usr/bin" if (base / "usr/sbin").is_symlink() else "usr/sbin"
    policy = tools / sbin / "policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text(POLICY)
    policy.chmod(0o755)


def _lay_out(debs: Sequence[Deb], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, deb in enumerate(debs):
        place = folder / f"{number:04}.deb"
        try:
            os.link(deb.path, place)
        except OSError:  # it lies on another file system
            shutil.copyfile(deb.path, place)


def _read(line: str) -> tuple[str, float | None] | None:
    word = line.split(" ", 1)[0]
    return (line[:60], None) if word in {"Unpacking", "Setting", "Processing"} else None
