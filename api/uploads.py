"""Receiving an artifact: streamed to a scratch file, hashed on the way, stored by its digest."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from api.deps import Platform
from fleetwide.errors import ArtifactRejected, InvalidInput
from fleetwide.models.bakery import MAX_ARTIFACT_BYTES, artifact_key
from fleetwide.models.documents import ArtifactDocument
from fleetwide.store import images

FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}")


@dataclass(frozen=True)
class Received:
    """What came in."""

    sha256: str
    size: int


def checked_filename(filename: str) -> str:
    """``filename`` when it is a plain file name.

    Raises:
        InvalidInput: it is not.
    """
    if FILENAME.fullmatch(filename) is None:
        raise InvalidInput.for_field("filename", f"must match ^{FILENAME.pattern}$", given=filename)
    return filename


async def receive(
    platform: Platform, filename: str, body: AsyncIterator[bytes]
) -> ArtifactDocument:
    """Store the artifact; nothing is left behind when the upload breaks off."""
    checked_filename(filename)
    scratch = platform.settings.state_dir / "uploads"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder, "artifact")
        received = await _write(path, body)
        return await asyncio.to_thread(_store, platform, filename, path, received)


async def _write(path: Path, body: AsyncIterator[bytes]) -> Received:
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > MAX_ARTIFACT_BYTES:
                raise ArtifactRejected(f"the artifact is above {MAX_ARTIFACT_BYTES} bytes")
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if size == 0:
        raise ArtifactRejected("the artifact is empty")
    return Received(digest.hexdigest(), size)


def _store(platform: Platform, filename: str, path: Path, received: Received) -> ArtifactDocument:
    key = artifact_key(received.sha256)
    if not platform.objects.exists(key):
        platform.objects.put_file(key, path)
    with platform.store.write() as session:
        images.save_artifact(
            session, received.sha256, filename, received.size, now=datetime.now(UTC)
        )
    return ArtifactDocument(sha256=received.sha256, filename=filename, size=received.size)
