"""List what local artifacts would put into an image; nothing is unpacked to disk or installed."""

import configparser
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from installer.utils import parse_entrypoints
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetwide.bakery.binaries import HEAD_BYTES, is_program
from fleetwide.bakery.entries import Budget, checked_path
from fleetwide.baseos.leaks import MAX_FILE, is_scanned
from fleetwide.errors import ArtifactRejected, PlatformError
from fleetwide.models.bakery import ArtifactType
from fleetwide.providers.tarballs import MAX_PIECE, UNREADABLE, open_tar
from fleetwide.providers.unpacking import BoundedReader
from fleetwide.providers.zips import checked_entries, open_zip

# The version of the base's Python is not known here; no rule looks at it.
WHEEL_FOLDER = "usr/local/lib/python3/dist-packages"
SCRIPT_FOLDER = "usr/local/bin"
_DEB_SECONDS = 60.0


@dataclass(frozen=True)
class LocalArtifact:
    """A file on this machine, and the application that it is an artifact of."""

    path: Path
    kind: ArtifactType
    application: str


@dataclass(frozen=True)
class Listed:
    """One thing as it would lie in the image; ``content`` is what can be looked through."""

    path: str
    """Relative to the image's root."""
    mode: int
    size: int = 0
    link: str = ""
    content: bytes = b""
    """The whole of a small file, the start of a larger one, nothing where nobody looks."""


def list_artifact(artifact: LocalArtifact) -> Iterator[Listed]:
    """Everything in the artifact, in its order.

    Raises:
        ArtifactRejected: it is not what it should be, or has what no artifact may have.
        PlatformError: dpkg-deb, which reads debs, is missing.
    """
    return _LISTERS[artifact.kind](artifact)


def packages_of(artifact: LocalArtifact) -> dict[str, str]:
    """The package that the artifact is, to its version; none where it is no package.

    Raises:
        ArtifactRejected: it is not what it should be.
        PlatformError: dpkg-deb, which reads debs, is missing.
    """
    if artifact.kind is ArtifactType.WHEEL:
        try:
            project, release, *_ = parse_wheel_filename(artifact.path.name)
        except InvalidWheelFilename as error:
            raise ArtifactRejected(f"{artifact.path.name}: {error}") from error
        return {str(project): str(release)}
    if artifact.kind is ArtifactType.DEB:
        name, _, version = _dpkg_deb(artifact, "--showformat=${Package} ${Version}", "--show")
        return {name: version}
    return {}


def _dpkg_deb(artifact: LocalArtifact, *options: str) -> tuple[str, str, str]:
    try:
        done = subprocess.run(
            ["dpkg-deb", *options, str(artifact.path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEB_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise _no_dpkg() from error
    if done.returncode != 0:
        raise ArtifactRejected(f"{artifact.path.name} is no readable Debian package")
    return done.stdout.strip().partition(" ")


def _no_dpkg() -> PlatformError:
    return PlatformError("dpkg-deb is missing", hint="apt-get install dpkg")


def _from_tarball(artifact: LocalArtifact) -> Iterator[Listed]:
    budget = Budget(artifact.path.name)
    with open_tar(artifact.path, artifact.path.name) as archive:
        for member in archive:
            budget.take(member.name, member.size if member.isreg() else 0)
            path = checked_path(member.name, artifact.path.name)
            if path:
                yield _member(archive, member, f"opt/{artifact.application}/{path}", plain=True)


def _from_sdist(artifact: LocalArtifact) -> Iterator[Listed]:
    """Only for what is secret: what a build makes of it is not known here."""
    return _from_tarball(artifact)


def _from_deb(artifact: LocalArtifact) -> Iterator[Listed]:
    name = artifact.path.name
    command = ["dpkg-deb", "--fsys-tarfile", str(artifact.path)]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise _no_dpkg() from error
    with process:
        try:
            assert process.stdout is not None
            yield from _deb_members(process.stdout, name)
            if process.wait() != 0:
                raise tarfile.ReadError("it is cut off or damaged")
        except UNREADABLE as error:
            raise ArtifactRejected(f"{name} is no readable Debian package: {error}") from error
        finally:
            process.kill()


def _deb_members(stream: IO[bytes], name: str) -> Iterator[Listed]:
    budget = Budget(name)
    bounded = cast("BinaryIO", BoundedReader(cast("BinaryIO", stream), name, MAX_PIECE))
    with tarfile.open(fileobj=bounded, mode="r|") as archive:
        for member in archive:
            budget.take(member.name, member.size if member.isreg() else 0)
            path = checked_path(member.name, name)
            if path:
                yield _member(archive, member, path, plain=False)
    # To tarfile a file that was cut off ends like a whole one; dpkg-deb knows better.
    while stream.read(MAX_PIECE):
        continue


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, *, plain: bool) -> Listed:
    """A member of a tar; ``plain`` where the bake gives it the usual modes."""
    kind = _KINDS.get(member.type, stat.S_IFREG)
    mode = kind | (_plain(kind, member.mode) if plain else member.mode)
    read: Callable[[int], bytes] | None = None
    if member.isreg():
        content = archive.extractfile(member)
        assert content is not None
        read = content.read
    return Listed(
        path,
        mode,
        member.size,
        member.linkname if member.issym() else "",
        _looked_at(path, member.size, read),
    )


_KINDS = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def _plain(kind: int, mode: int) -> int:
    return 0o755 if kind == stat.S_IFDIR or mode & 0o111 else 0o644


def _looked_at(path: str, size: int, read: Callable[[int], bytes] | None) -> bytes:
    if read is None:
        return b""
    return read(MAX_FILE if is_scanned(path, size) else HEAD_BYTES)


def _from_zip(artifact: LocalArtifact) -> Iterator[Listed]:
    return _zip_members(artifact, lambda path: f"opt/{artifact.application}/{path}")


def _from_wheel(artifact: LocalArtifact) -> Iterator[Listed]:
    yield from _zip_members(artifact, _wheel_path)
    yield from _console_scripts(artifact)


def _wheel_path(path: str) -> str:
    folder, _, rest = path.partition("/")
    if folder.endswith(".data"):
        scheme, _, rest = rest.partition("/")
        homes = {"scripts": SCRIPT_FOLDER, "data": "usr/local", "headers": "usr/local/include"}
        return f"{homes.get(scheme, WHEEL_FOLDER)}/{rest}"
    return f"{WHEEL_FOLDER}/{path}"


def _zip_members(artifact: LocalArtifact, place: Callable[[str], str]) -> Iterator[Listed]:
    name = artifact.path.name
    with open_zip(artifact.path, name) as archive:
        for entry, path in checked_entries(archive, name, artifact.path.stat().st_size):
            if path:
                yield _zip_member(archive, entry, place(path))


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str) -> Listed:
    unix = entry.external_attr >> 16
    kind = stat.S_IFDIR if entry.is_dir() else stat.S_IFMT(unix) or stat.S_IFREG
    mode = kind | _plain(kind, unix)
    if kind == stat.S_IFDIR:
        return Listed(path, mode)
    with archive.open(entry) as reader:
        content = _looked_at(path, entry.file_size, reader.read)
    link = content.decode(errors="replace") if kind == stat.S_IFLNK else ""
    return Listed(path, mode, entry.file_size, link, b"" if link else content)


def _console_scripts(artifact: LocalArtifact) -> Iterator[Listed]:
    """The programs that an installer makes of a wheel's entry points."""
    name = artifact.path.name
    with open_zip(artifact.path, name) as archive:
        for entry, path in checked_entries(archive, name, artifact.path.stat().st_size):
            if path.endswith(".dist-info/entry_points.txt") and entry.file_size <= MAX_FILE:
                text = archive.read(entry).decode(errors="replace")
                for script in _script_names(text):
                    yield Listed(f"{SCRIPT_FOLDER}/{script}", stat.S_IFREG | 0o755)


def _script_names(text: str) -> list[str]:
    try:
        found = list(parse_entrypoints(text))
    except (configparser.Error, ValueError, AssertionError):
        return []
    return [name for name, _, _, section in found if section == "console"]


def _from_binary(artifact: LocalArtifact) -> Iterator[Listed]:
    path = f"opt/{artifact.application}/bin/{artifact.path.name}"
    size = artifact.path.stat().st_size
    with artifact.path.open("rb") as reader:
        content = _looked_at(path, size, reader.read)
    if not is_program(content):
        raise ArtifactRejected(
            f"{artifact.path.name} is no program: it begins neither as an ELF file nor with #!"
        )
    yield Listed(path, stat.S_IFREG | 0o755, size, content=content)


def _from_image(artifact: LocalArtifact) -> Iterator[Listed]:
    raise ArtifactRejected(f"{artifact.path.name}: an image is looked at on the platform only")


_LISTERS: dict[ArtifactType, Callable[[LocalArtifact], Iterator[Listed]]] = {
    ArtifactType.TARBALL: _from_tarball,
    ArtifactType.ZIP: _from_zip,
    ArtifactType.WHEEL: _from_wheel,
    ArtifactType.SDIST: _from_sdist,
    ArtifactType.DEB: _from_deb,
    ArtifactType.BINARY: _from_binary,
    ArtifactType.IMAGE: _from_image,
}
