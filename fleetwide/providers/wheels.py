"""Check wheels, and that they fit the Python of a base; no network, no pip."""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from installer.sources import WheelFile
from packaging.metadata import Metadata
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from fleetwide.bakery.requirements import MACHINES, PythonPlatform, check_wheel
from fleetwide.baseos.control_files import installed_packages
from fleetwide.errors import ArtifactRejected
from fleetwide.models.baseos import Architecture
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.progress import Progress
from fleetwide.providers.root_tree import RootTree
from fleetwide.providers.zips import checked_entries, open_zip

INTERPRETER = "/usr/bin/python3"
DPKG_STATUS = "/var/lib/dpkg/status"


@dataclass(frozen=True)
class Wheel:
    """A checked wheel under its own name, and its metadata."""

    path: Path
    metadata: Metadata


def python_of(
    rootfs: Path, architecture: str, added: Mapping[str, str] | None = None
) -> PythonPlatform:
    """The Python of an unpacked base, or of the distribution packages that are ``added`` to it.

    Raises ``ArtifactRejected`` when there is none.
    """
    installed = {**_installed(rootfs), **(added or {})}
    minor = _linked_minor(rootfs) or _packaged_minor(added or {})
    if minor is None:
        raise ArtifactRejected(
            f"the base has no {INTERPRETER}, so it cannot run a wheel",
            hint="packages: [python3]",
        )
    package = installed.get(f"python3.{minor}-minimal", f"3.{minor}.0")
    glibc = _numbers(installed.get("libc6", "2.17"))
    return PythonPlatform(
        version=(3, minor),
        full_version=".".join(map(str, _numbers(package))),
        machine=MACHINES[Architecture(architecture)],
        glibc=(glibc[0], glibc[1]),
    )


def _installed(rootfs: Path) -> Mapping[str, str]:
    """The distribution packages of a base, to their version; each state of a base is read once."""
    with RootTree(rootfs) as files:
        found = files.stamp(DPKG_STATUS)
        return _parsed(rootfs, found) if found is not None else {}


@lru_cache(maxsize=32)
def _parsed(rootfs: Path, _stamp: tuple[int, ...]) -> Mapping[str, str]:
    with RootTree(rootfs) as files:
        return installed_packages(files.text(DPKG_STATUS))


def _linked_minor(rootfs: Path) -> int | None:
    link = rootfs / INTERPRETER.lstrip("/")
    found = re.fullmatch(r"python3\.(\d+)", link.readlink().name) if link.is_symlink() else None
    return int(found[1]) if found else None


def _packaged_minor(packages: Mapping[str, str]) -> int | None:
    """The distribution's ``python3-minimal`` has the link, and the version that it leads to."""
    numbers = _numbers(packages.get("python3-minimal", ""))
    return numbers[1] if numbers[0] == 3 else None


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)+)", version)
    return tuple(int(part) for part in (match[1] if match else "0.0").split("."))


def inspect_wheels(
    wheels: Sequence[NamedFile], python: PythonPlatform, folder: Path, progress: Progress
) -> list[Wheel]:
    """Check each wheel's name, record and fit; ``folder`` gets a link to each by its name.

    The bytes of its files are compared with the record when they are installed. Raises
    ``ArtifactRejected``, or ``WrongArchitecture``, naming the wheel.
    """
    found = read_wheels(wheels, python, folder)
    for wheel in found:
        progress(f"checking {wheel.path.name}", None)
        with _unsound(wheel.path.name), WheelFile.open(wheel.path) as opened:
            opened.validate_record(validate_contents=False)
    return found


def read_wheels(wheels: Sequence[NamedFile], python: PythonPlatform, folder: Path) -> list[Wheel]:
    """The same without the record."""
    folder.mkdir(exist_ok=True)
    found = []
    for wheel in wheels:
        # The installer reads a wheel's name off the file's.
        link = folder / wheel.name
        if link.is_symlink():
            raise ArtifactRejected(f"{wheel.name} is named twice")
        link.symlink_to(wheel.path.absolute())
        found.append(_read(link, python))
    return found


def _read(path: Path, python: PythonPlatform) -> Wheel:
    """Check the name and the metadata of a wheel, which lies under its own name."""
    with _unsound(path.name):
        name, version, _, tags = parse_wheel_filename(path.name)
        with open_zip(path, path.name) as archive:
            checked_entries(archive, path.name, path.stat().st_size)
        with WheelFile.open(path) as wheel:
            text = wheel.read_dist_info("METADATA")
        metadata = Metadata.from_email(text.encode(), validate=False)
        declared = (metadata.name, metadata.version)
        _ = metadata.requires_dist  # it is parsed when it is read
    if declared[1] != version or canonicalize_name(declared[0]) != name:
        raise ArtifactRejected(
            f"{path.name} says in its metadata that it is {declared[0]} {declared[1]}, not {name}"
        )
    check_wheel(metadata, tags, python)
    return Wheel(path, metadata)


@contextmanager
def _unsound(name: str) -> Iterator[None]:
    """What the libraries raise about a wheel that is not as it should be, in our terms."""
    try:
        yield
    except InvalidWheelFilename as error:
        raise ArtifactRejected(f"{name}: {error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArtifactRejected(f"{name} is not a sound wheel: {error}") from error
    except ExceptionGroup as error:
        words = "; ".join(map(str, error.exceptions))
        raise ArtifactRejected(f"{name} is not a sound wheel: {words}") from error
