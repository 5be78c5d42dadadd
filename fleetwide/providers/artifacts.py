"""Fetch deployment artifacts, and check that they are what they say."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx2

from fleetwide.errors import ArtifactRejected, ServiceUnavailable
from fleetwide.models.bakery import MAX_ARTIFACT_BYTES, Artifact, ArtifactType, artifact_key
from fleetwide.providers.progress import Progress, Throttled

GetObject = Callable[[str, Path], None]
"""Copies the object of a key into a file; raises ``NotFound`` when there is none."""

PIECE_BYTES = 1024 * 1024
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
DEB_MAGIC = b"!<arch>\ndebian-binary "
TAR_MAGIC_AT = 257


def fetch(artifact: Artifact, target: Path, get_object: GetObject, progress: Progress) -> None:
    """Bring ``artifact`` to ``target`` and check digest and type.

    From its URL, or out of the object store when it has none. Raises ``ArtifactRejected`` when it
    is not the named bytes or type, or too large; ``NotFound`` when it was never uploaded;
    ``ServiceUnavailable`` when its server fails. Nothing is left at ``target`` then.
    """
    told = Throttled(progress)
    try:
        if artifact.url is None:
            told(f"fetching {artifact.filename}", None)
            get_object(artifact_key(artifact.sha256), target)
        else:
            _download(artifact, artifact.url, target, told)
        _check_digest(artifact, target, told)
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


def _download(artifact: Artifact, url: str, target: Path, progress: Progress) -> None:
    shown = httpx2.URL(url).copy_with(query=None)
    try:
        with (
            httpx2.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=5) as client,
            client.stream("GET", url) as response,
        ):
            _check_status(artifact, shown, response.status_code)
            total = int(response.headers.get("Content-Length", 0))
            _store(artifact, response, target, total, progress)
    except httpx2.TooManyRedirects as error:
        raise ArtifactRejected(f"{artifact.filename}: {shown} redirects without end") from error
    except httpx2.HTTPError as error:
        raise ServiceUnavailable(
            f"{artifact.filename}: {shown.host} did not send it: {type(error).__name__}"
        ) from error


def _check_status(artifact: Artifact, shown: httpx2.URL, status: int) -> None:
    if status >= 500 or status == 429:
        raise ServiceUnavailable(f"{artifact.filename}: {shown.host} answered {status}")
    if status != 200:
        raise ArtifactRejected(f"{artifact.filename}: {shown} answered {status}")


def _store(
    artifact: Artifact, response: httpx2.Response, target: Path, total: int, progress: Progress
) -> None:
    received = 0
    with target.open("wb") as writer:
        for piece in response.iter_bytes(PIECE_BYTES):
            received += len(piece)
            if received > MAX_ARTIFACT_BYTES:
                raise _too_large(artifact)
            writer.write(piece)
            progress(f"fetching {artifact.filename}", received / total if total else None)


def _check_digest(artifact: Artifact, path: Path, progress: Progress) -> None:
    if path.stat().st_size > MAX_ARTIFACT_BYTES:
        raise _too_large(artifact)
    seen = hashlib.sha256()
    with path.open("rb") as reader:
        while piece := reader.read(PIECE_BYTES):
            seen.update(piece)
            progress(f"checking {artifact.filename}", None)
    if seen.hexdigest() != artifact.sha256:
        raise ArtifactRejected(
            f"{artifact.filename} has SHA-256 {seen.hexdigest()}, not {artifact.sha256}"
        )


def _too_large(artifact: Artifact) -> ArtifactRejected:
    return ArtifactRejected(f"{artifact.filename} is larger than {MAX_ARTIFACT_BYTES} bytes")


def _is_deb(path: Path) -> bool:
    with path.open("rb") as reader:
        return reader.read(len(DEB_MAGIC)) == DEB_MAGIC


def _is_wheel(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".dist-info/METADATA") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False


def _is_tarball(path: Path) -> bool:
    with path.open("rb") as reader:
        start = reader.read(512)
    packed = start.startswith((b"\x1f\x8b", b"\xfd7zXZ\x00"))
    return packed or start[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar"


_CHECKS: dict[ArtifactType, Callable[[Path], bool]] = {
    ArtifactType.DEB: _is_deb,
    ArtifactType.WHEEL: _is_wheel,
    ArtifactType.TARBALL: _is_tarball,
}
