"""The client's methods for the Bakery: artifacts, bakes and images."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.bakery import BakeSpec, RebaseRequest
from fleetwide.models.containers import KillRequest
from fleetwide.models.documents import (
    ArtifactDocument,
    BakeDocument,
    BakeLogChunk,
    BakeLogEnd,
    ImageDocument,
    Operation,
    Page,
    WhyDocument,
)

CHUNK_BYTES = 1024 * 1024


class BakeryClient:
    """Artifacts, bakes and images."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(self, path: Path, progress: Callable[[int], None] | None = None) -> ArtifactDocument:
        """Send a file; ``progress`` is told the bytes sent so far."""
        return self._transport.post(
            "/v1/artifacts",
            ArtifactDocument,
            query={"filename": path.name},
            content=_chunks(path, progress),
        )

    def bake(
        self, spec: BakeSpec, *, idempotency_key: str | None = None, wait: float = 0
    ) -> Operation:
        """Bake, join the same bake, or get the image that there is already."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._transport.post("/v1/bakes", Operation, wait=wait, headers=headers, body=spec)

    def bakes(
        self,
        *,
        name: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[BakeDocument]:
        """Runs of bakes, newest first."""
        query: Query = {"name": name, "state": state, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/bakes", Page[BakeDocument], query)

    def get(self, bake_key: str) -> Operation:
        return self._transport.get(self._path(bake_key), Operation)

    def status(self, bake_key: str) -> BakeDocument:
        """The newest run: its stages with their times, and why it failed."""
        return self._transport.get(self._path(bake_key, "status"), BakeDocument)

    def why(self, bake_key: str) -> WhyDocument:
        """Which inputs of the key differ from the application's bake before."""
        return self._transport.get(self._path(bake_key, "why"), WhyDocument)

    def logs(self, bake_key: str) -> str:
        return self._transport.text(self._path(bake_key, "logs"))

    def follow_logs(self, bake_key: str) -> Iterator[BakeLogChunk | BakeLogEnd]:
        """The log as it grows; the last item tells how the bake ended."""
        for event in self._transport.events(self._path(bake_key, "logs"), {"follow": "true"}):
            if event.event == "end":
                yield BakeLogEnd.model_validate_json(event.data)
                return
            yield BakeLogChunk.model_validate_json(event.data)

    def cancel(self, bake_key: str, reason: str) -> Operation:
        body = KillRequest(reason=reason)
        return self._transport.post(self._path(bake_key, "cancel"), Operation, body=body)

    def images(
        self, *, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[ImageDocument]:
        query: Query = {"name": name, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/images", Page[ImageDocument], query)

    def image(self, name: str, version: str) -> ImageDocument:
        return self._transport.get(self._image(name, version), ImageDocument)

    def rebase(self, name: str, version: str, base: str, *, wait: float = 0) -> Operation:
        """Move an image to another OS release."""
        path = f"{self._image(name, version)}/rebase"
        return self._transport.post(path, Operation, wait=wait, body=RebaseRequest(base=base))

    def _path(self, bake_key: str, part: str = "") -> str:
        page = f"/v1/bakes/{segment(bake_key)}"
        return f"{page}/{part}" if part else page

    def _image(self, name: str, version: str) -> str:
        return f"/v1/images/{segment(name)}/{segment(version)}"


def _chunks(path: Path, progress: Callable[[int], None] | None) -> Iterator[bytes]:
    sent = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            if progress:
                progress(sent)
