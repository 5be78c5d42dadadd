"""Fetch deployment artifacts, and check that they are what they say."""

import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fleetwide.bakery.binaries import HEAD_BYTES, is_program
from fleetwide.errors import ArtifactRejected
from fleetwide.models.bakery import Artifact, ArtifactType, artifact_key
from fleetwide.providers.downloads import download, verify
from fleetwide.providers.progress import Progress, Throttled, meanwhile
from fleetwide.providers.tarballs import GZIP_MAGIC, UNREADABLE, plain_tar
from fleetwide.providers.zips import open_zip

GetObject = Callable[[str, Path], None]
"""Copies the object of a key into a file; raises ``NotFound`` when there is none."""

DEB_MAGIC = b"!<arch>\ndebian-binary "


def fetch(artifact: Artifact, target: Path, get_object: GetObject, progress: Progress) -> None:
    """Bring ``artifact``, a file, to ``target`` and check digest and type.

    From its URL, or out of the object store: under the key that it names, else under the one that
    uploads have. Images are no files: ``payload_images.fetch_image`` fetches them.

    Nothing is left at ``target`` after an error.

    Raises:
        ArtifactMismatch: it has other bytes than its digest says.
        ArtifactRejected: it is of another type than it says, too large, or not at its URL.
        NotFound: it was never uploaded.
        ServiceUnavailable: its server fails.
    """
    told = Throttled(progress)
    try:
        if artifact.url is not None:
            download(artifact.url, target, artifact.filename, told)
        else:
            key = artifact.object_key or artifact_key(artifact.sha256)
            meanwhile(told, f"fetching {artifact.filename}", partial(get_object, key, target))
        verify(target, artifact.sha256, artifact.filename, told)
        check_type(artifact, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def check_type(artifact: Artifact, path: Path) -> None:
    """Raise ``ArtifactRejected`` unless the file's content is of the artifact's type."""
    if not _CHECKS[artifact.type](path):
        raise ArtifactRejected(
            f"{artifact.filename} is not a {artifact.type}: its content says otherwise",
            hint=f"one of: {', '.join(ArtifactType)}",
        )


def _is_deb(path: Path) -> bool:
    return _head(path, len(DEB_MAGIC)) == DEB_MAGIC


def _is_zip(path: Path) -> bool:
    return _has_name(path, lambda _name: True)


def _is_wheel(path: Path) -> bool:
    return _has_name(path, lambda name: name.endswith(".dist-info/METADATA"))


def _has_name(path: Path, wanted: Callable[[str], bool]) -> bool:
    try:
        with open_zip(path, path.name) as archive:
            return any(map(wanted, archive.namelist()))
    except ArtifactRejected:
        return False


def _is_tarball(path: Path) -> bool:
    """Whether its first header is one of a tar, whatever it is compressed by."""
    try:
        with plain_tar(path) as plain:
            tarfile.TarInfo.frombuf(plain.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except UNREADABLE:
        return False
    return True


def _is_sdist(path: Path) -> bool:
    """Whether it may be one; its metadata is read when it is built."""
    return _head(path, len(GZIP_MAGIC)) == GZIP_MAGIC and _is_tarball(path)


def _is_binary(path: Path) -> bool:
    return is_program(_head(path, HEAD_BYTES))


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as reader:
        return reader.read(size)


_CHECKS: dict[ArtifactType, Callable[[Path], bool]] = {
    ArtifactType.DEB: _is_deb,
    ArtifactType.TARBALL: _is_tarball,
    ArtifactType.ZIP: _is_zip,
    ArtifactType.WHEEL: _is_wheel,
    ArtifactType.SDIST: _is_sdist,
    ArtifactType.BINARY: _is_binary,
}
