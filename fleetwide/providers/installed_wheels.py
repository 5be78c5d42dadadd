"""Install checked wheels into a staging folder, several files at a time; no network, no pip."""

import os
import posixpath
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.records import Hash, RecordEntry
from installer.utils import Scheme

from fleetwide.bakery.requirements import PythonPlatform
from fleetwide.errors import ArtifactRejected
from fleetwide.providers.deflated import DeflatedFiles, EntryReader
from fleetwide.providers.progress import Progress, meanwhile, span
from fleetwide.providers.recorded_wheels import HASH, RecordedFile, RecordedWheel
from fleetwide.providers.side_by_side import SideBySide, side_by_side
from fleetwide.providers.wheels import INTERPRETER, Wheel


def install_wheels(
    wheels: Sequence[Wheel], python: PythonPlatform, staging: Path, progress: Progress
) -> DeflatedFiles:
    """Install ``wheels`` below ``staging`` as on the base; what of them is deflated already.

    The packages go where Debian and Ubuntu keep local ones of this very Python version: it is on
    ``sys.path`` before the distribution's own, compiled modules match it, and dpkg never touches
    it. Console scripts go to ``/usr/local/bin`` and run ``/usr/bin/python3``.

    Raises ``ArtifactRejected`` for a file that is not as its wheel's record says, or that two
    wheels bring.
    """
    found: DeflatedFiles = {}
    for number, wheel in enumerate(wheels):
        part = span(progress, number / len(wheels), (number + 1) / len(wheels))
        install_one = partial(_install, wheel.path, python, staging, found)
        meanwhile(part, f"installing {wheel.path.name}", install_one)
    return found


def _install(path: Path, python: PythonPlatform, staging: Path, found: DeflatedFiles) -> None:
    try:
        with (
            zipfile.ZipFile(path) as archive,
            EntryReader(path) as entries,
            side_by_side("wheel") as writes,
        ):
            destination = _Destination(
                _schemes(python),
                interpreter=INTERPRETER,
                script_kind="posix",
                destdir=str(staging.absolute()),
                writes=writes,
                found=found,
            )
            wheel = RecordedWheel(archive, entries)
            install(wheel, destination, additional_metadata={"INSTALLER": b"fleetwide"})
    except FileExistsError as error:
        inside = str(error).removeprefix("File already exists: ")
        inside = inside.removeprefix(str(staging.absolute()))
        raise ArtifactRejected(f"{path.name} has {inside}, as another wheel does") from error
    except ValueError as error:
        raise ArtifactRejected(f"{path.name} cannot be installed: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArtifactRejected(f"{path.name} is not a sound wheel: {error}") from error


def _schemes(python: PythonPlatform) -> dict[str, str]:
    short = ".".join(map(str, python.version))
    packages = f"/usr/local/lib/python{short}/dist-packages"
    return {
        "purelib": packages,
        "platlib": packages,
        "headers": f"/usr/local/include/python{short}",
        "scripts": "/usr/local/bin",
        "data": "/usr/local",
    }


@dataclass
class _Destination(SchemeDictionaryDestination):
    """Files that need no change are made in their order, and filled side by side."""

    writes: SideBySide | None = None
    found: DeflatedFiles = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    def write_to_fs(
        self,
        scheme: Scheme,
        path: str,
        stream: BinaryIO,
        is_executable: bool,
    ) -> RecordEntry:
        if not isinstance(stream, RecordedFile) or self.writes is None:
            return super().write_to_fs(scheme, path, stream, is_executable)
        place = self._place(scheme, path)
        writer = self._made(place)
        if is_executable:
            os.fchmod(writer.fileno(), 0o755)
        self.writes.start(partial(self._fill, stream, writer, place))
        return RecordEntry(path, Hash(HASH, stream.hash.value), stream.size)

    def _place(self, scheme: Scheme, path: str) -> str:
        folder = self.scheme_dict[scheme]
        place = posixpath.normpath(posixpath.join(folder, path))
        if not place.startswith(f"{folder}/"):
            raise ValueError(f"Attempting to write {path} outside of the target directory")
        return f"{self.destdir}{place}"

    def _made(self, place: str) -> BinaryIO:
        folder = posixpath.dirname(place)
        try:
            if folder not in self._folders:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - a wheel has many files
                self._folders.add(folder)
            return open(place, "xb")  # noqa: PTH123 - closed when it is filled
        except (FileExistsError, NotADirectoryError) as error:
            raise FileExistsError(f"File already exists: {place}") from error

    def _fill(self, file: RecordedFile, writer: BinaryIO, place: str) -> None:
        with writer:
            deflated = file.write_to(writer)
        if deflated is not None:
            self.found[place] = deflated
