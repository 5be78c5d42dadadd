"""Install wheels into a staging folder for the Python of a base; no network, no pip."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from packaging.metadata import Metadata
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetwide.bakery.entries import Budget, checked_path
from fleetwide.bakery.requirements import (
    MACHINES,
    PythonPlatform,
    check_requirements,
    check_wheel,
)
from fleetwide.baseos.control_files import installed_packages
from fleetwide.errors import ArtifactRejected
from fleetwide.models.baseos import Architecture
from fleetwide.providers.progress import Progress

INTERPRETER = "/usr/bin/python3"


@dataclass(frozen=True)
class NamedFile:
    """A file on disk and the name that it was given by people."""

    path: Path
    name: str


def python_of(rootfs: Path, architecture: str) -> PythonPlatform:
    """The Python of an unpacked base; ``ArtifactRejected`` when it has none."""
    link = rootfs / INTERPRETER.lstrip("/")
    found = re.fullmatch(r"python3\.(\d+)", link.readlink().name) if link.is_symlink() else None
    if found is None:
        raise ArtifactRejected(
            f"the base has no {INTERPRETER}, so it cannot run a wheel",
            hint="add python3 to `packages` of the OS image",
        )
    installed = installed_packages((rootfs / "var/lib/dpkg/status").read_text())
    version = (3, int(found[1]))
    package = installed.get(f"python3.{version[1]}-minimal", f"3.{version[1]}.0")
    glibc = _numbers(installed.get("libc6", "2.17"))
    return PythonPlatform(
        version=version,
        full_version=".".join(map(str, _numbers(package))),
        machine=MACHINES[Architecture(architecture)],
        glibc=(glibc[0], glibc[1]),
    )


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)+)", version)
    return tuple(int(part) for part in (match[1] if match else "0.0").split("."))


def install_wheels(
    wheels: Sequence[NamedFile], python: PythonPlatform, staging: Path, progress: Progress
) -> None:
    """Install ``wheels`` below ``staging`` as on the base.

    The packages go where Debian and Ubuntu keep local ones of this very Python version: it is on
    ``sys.path`` before the distribution's own, compiled modules match it, and dpkg never touches
    it. Console scripts go to ``/usr/local/bin`` and run ``/usr/bin/python3``.
    """
    named = staging.with_name(staging.name + ".wheels")
    named.mkdir()
    metadata = []
    for wheel in wheels:
        # The installer reads a wheel's name off the file's.
        link = named / wheel.name
        if link.is_symlink():
            raise ArtifactRejected(f"{wheel.name} is named twice")
        link.symlink_to(wheel.path.absolute())
        metadata.append(_inspect(link, python))
    check_requirements(metadata, python)
    for number, wheel in enumerate(wheels):
        progress(f"installing {wheel.name}", number / len(wheels))
        _install(named / wheel.name, python, staging)


def _inspect(path: Path, python: PythonPlatform) -> Metadata:
    """Check a wheel's name, content, record and fit; answer its metadata."""
    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        _check_content(path)
        with WheelFile.open(path) as wheel:
            wheel.validate_record(validate_contents=True)
            text = wheel.read_dist_info("METADATA")
        metadata = Metadata.from_email(text.encode(), validate=False)
        declared = (metadata.name, metadata.version)
    except ArtifactRejected:
        raise
    except InvalidWheelFilename as error:
        raise ArtifactRejected(f"{path.name}: {error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile, ExceptionGroup) as error:
        raise ArtifactRejected(f"{path.name} is not a sound wheel: {error}") from error
    if declared[1] != version:
        raise ArtifactRejected(
            f"{path.name} says in its metadata that it is {declared[0]} {declared[1]}, not {name}"
        )
    check_wheel(metadata, tags, python)
    return metadata


def _check_content(path: Path) -> None:
    budget = Budget(path.name)
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            checked_path(entry.filename, path.name)
            budget.take(entry.filename, entry.file_size)


def _install(path: Path, python: PythonPlatform, staging: Path) -> None:
    short = ".".join(map(str, python.version))
    packages = f"/usr/local/lib/python{short}/dist-packages"
    destination = SchemeDictionaryDestination(
        {
            "purelib": packages,
            "platlib": packages,
            "headers": f"/usr/local/include/python{short}",
            "scripts": "/usr/local/bin",
            "data": "/usr/local",
        },
        interpreter=INTERPRETER,
        script_kind="posix",
        destdir=str(staging),
    )
    try:
        with WheelFile.open(path) as wheel:
            install(wheel, destination, additional_metadata={"INSTALLER": b"fleetwide"})
    except FileExistsError as error:
        inside = str(error).removeprefix("File already exists: ").removeprefix(str(staging))
        raise ArtifactRejected(f"{path.name} has {inside}, as another wheel does") from error
    except ValueError as error:
        raise ArtifactRejected(f"{path.name} cannot be installed: {error}") from error
