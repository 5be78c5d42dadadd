"""Download files by HTTP, and check that they are the bytes that were meant."""

import hashlib
from pathlib import Path

import httpx2

from fleetwide.errors import ArtifactMismatch, ArtifactRejected, ServiceUnavailable
from fleetwide.models.bakery import MAX_ARTIFACT_BYTES
from fleetwide.providers.progress import Progress

PIECE_BYTES = 1024 * 1024
TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
# Compressed on the way, a .tar.gz would arrive as another file than it is.
HEADERS = {"Accept-Encoding": "identity"}


def download(
    url: str, target: Path, name: str, progress: Progress, auth: httpx2.Auth | None = None
) -> None:
    """Bring what lies at ``url`` to ``target``; ``name`` is what people call it.

    Raises:
        ArtifactRejected: the server says that there is no such thing, or it is too large.
        ServiceUnavailable: the server fails, or breaks off in the middle.
    """
    # What stands behind the question mark may be a credential.
    shown = httpx2.URL(url).copy_with(query=None, userinfo=b"", fragment=None)
    try:
        with (
            httpx2.Client(
                timeout=TIMEOUT, follow_redirects=True, max_redirects=5, headers=HEADERS, auth=auth
            ) as client,
            client.stream("GET", url) as response,
        ):
            _check_status(name, shown, response.status_code)
            _store(name, response, target, progress)
    except httpx2.TooManyRedirects as error:
        raise ArtifactRejected(f"{name}: {shown} redirects without end") from error
    except httpx2.HTTPError as error:
        raise ServiceUnavailable(
            f"{name}: {shown.host} did not send it: {type(error).__name__}"
        ) from error


def _check_status(name: str, shown: httpx2.URL, status: int) -> None:
    if status >= 500 or status == 429:
        raise ServiceUnavailable(f"{name}: {shown.host} answered {status}")
    if status != 200:
        raise ArtifactRejected(f"{name}: {shown} answered {status}", hint=f"curl -sIL {shown}")


def _store(name: str, response: httpx2.Response, target: Path, progress: Progress) -> None:
    told = response.headers.get("Content-Length", "")
    total = int(told) if told.isdecimal() else 0
    received = 0
    with target.open("wb") as writer:
        for piece in response.iter_raw(PIECE_BYTES):
            received += len(piece)
            if received > MAX_ARTIFACT_BYTES:
                raise too_large(name)
            writer.write(piece)
            progress(f"fetching {name}", received / total if total else None)


def verify(path: Path, sha256: str, name: str, progress: Progress, size: int | None = None) -> None:
    """Check a file against its digest and, where it is known, its size in bytes.

    Raises:
        ArtifactMismatch: it has other bytes; tells what it has and what it should have.
        ArtifactRejected: it is too large.
    """
    found = path.stat().st_size
    if found > MAX_ARTIFACT_BYTES:
        raise too_large(name)
    if size is not None and found != size:
        raise ArtifactMismatch(f"{name} has {found} bytes, not {size}")
    seen = hashlib.sha256()
    with path.open("rb") as reader:
        while piece := reader.read(PIECE_BYTES):
            seen.update(piece)
            progress(f"checking {name}", None)
    if seen.hexdigest() != sha256:
        raise ArtifactMismatch(
            f"{name} has SHA-256 {seen.hexdigest()} and {found} bytes, not SHA-256 {sha256}",
            hint="sha256sum <file>",
        )


def too_large(name: str) -> ArtifactRejected:
    """The refusal of a file past the limit."""
    return ArtifactRejected(f"{name} is larger than {MAX_ARTIFACT_BYTES} bytes")
