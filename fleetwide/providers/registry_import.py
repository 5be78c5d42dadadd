"""Takes the repositories of an existing Distribution into the registry's index.

Each manifest is recorded in a transaction of its own, blobs and children first, so an import that
was killed goes on where it stopped when it is run again. The index knows better: a tag that it has
ever had is left as it is there. Lists of referrers under fallback tags (``sha256-<hex>``) are
indexes like any other; with the manifests in them, their subjects come into the index.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlmodel import Session

from fleetwide.errors import Conflict, InvalidInput
from fleetwide.providers.backend import Backend, BackendRefused
from fleetwide.registry.digests import digest_of
from fleetwide.registry.imports import ImportReport
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.store import (
    registry_blobs,
    registry_manifests,
    registry_repositories,
    registry_tags,
)
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import BlobRow
from fleetwide.store.session import Store

BY = "import"
MAX_DEPTH = 8
"""Of indexes in indexes; Distribution itself takes no circle."""
ASKED_AT_ONCE = 16
LEASE = timedelta(hours=1)

Subject = TypeVar("Subject")
Answer = TypeVar("Answer")


class _Unreadable(Exception):
    """A manifest cannot be imported; the message says why."""


@dataclass
class RegistryImport:
    """One run; ``backend`` is asked, ``store`` is written."""

    backend: Backend
    store: Store

    def names(self) -> AsyncIterator[str]:
        """The repositories of the backend.

        Raises:
            RegistryUnavailable: it does not answer.
        """
        return self.backend.names("/v2/_catalog", "repositories")

    async def repository(self, name: str) -> ImportReport:
        """Import one repository, as far as it is not known.

        Raises:
            RegistryUnavailable: the backend does not answer.
        """
        one = _OneRepository(self.backend, self.store, name)
        try:
            async for tag in self.backend.names(f"/v2/{name}/tags/list", "tags"):
                await one.tag(tag)
        except (Conflict, InvalidInput) as fault:
            one.report.fault(f"{name}: {fault.message}")
        return one.report


@dataclass
class _OneRepository:
    """The import of one repository."""

    backend: Backend
    store: Store
    name: str
    report: ImportReport = field(default_factory=lambda: ImportReport(repositories=1))
    _seen: set[str] = field(default_factory=set)
    """Manifests that the index has, as far as this run has found out."""

    async def tag(self, tag: str) -> None:
        """Import a tag with all that it means."""
        if await asyncio.to_thread(self._reading, self._is_known, tag):
            self.report.known += 1
            return
        try:
            parsed = await self._manifest(tag, 0)
            await self._take(parsed, [tag])
            self.report.tags += 1
        except (_Unreadable, BackendRefused, InvalidInput) as fault:
            self.report.fault(f"{self.name}:{tag}: {fault}")

    async def _manifest(self, reference: str, depth: int) -> ParsedManifest:
        """Read a manifest, and see to it that the index has what it refers to."""
        found = await self.backend.manifest(self.name, reference)
        if found is None:
            raise _Unreadable(f"{reference} is missing")
        media_type, data = found
        if reference.startswith("sha256:") and digest_of(data) != reference:
            raise _Unreadable(f"{reference} has other bytes than its digest says")
        parsed = parse_manifest(data, media_type, limit=len(data))
        if depth > MAX_DEPTH:
            raise _Unreadable(f"indexes lie more than {MAX_DEPTH} deep in one another")
        for child in parsed.children:
            if child.digest not in self._seen:
                inner = await self._manifest(child.digest, depth + 1)
                await self._take(inner, [])
        return parsed

    async def _take(self, parsed: ParsedManifest, tags: Sequence[str]) -> None:
        await self._take_blobs([blob.digest for blob in parsed.blobs])
        await asyncio.to_thread(self._record, parsed, tags)
        self._seen.add(parsed.digest)

    async def _take_blobs(self, digests: Sequence[str]) -> None:
        """Let the blobs belong to the repository that Distribution has there."""
        unknown = await asyncio.to_thread(self._reading, self._unknown_blobs, digests)
        elsewhere = await asyncio.to_thread(self._reading, _known, unknown)
        sizes = await self._sizes(unknown)
        await asyncio.to_thread(self._admit, sizes)
        self.report.blobs += len(sizes)
        # Garbage collection may have removed one after Distribution was asked: from now on it
        # keeps what is there, so what is there now is the truth.
        lost = await self._lost(elsewhere)
        await asyncio.to_thread(self._forget, lost)
        _refuse(lost)

    async def _sizes(self, digests: Sequence[str]) -> dict[str, int]:
        """Bytes of each blob, as Distribution says."""
        found = await self._asked(digests)
        _refuse([digest for digest, size in found.items() if size is None])
        return {digest: size for digest, size in found.items() if size is not None}

    async def _lost(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest, size in (await self._asked(digests)).items() if size is None]

    async def _asked(self, digests: Sequence[str]) -> dict[str, int | None]:
        limit = asyncio.Semaphore(ASKED_AT_ONCE)

        async def size(digest: str) -> int | None:
            async with limit:
                return await self.backend.blob_size(self.name, digest)

        sizes = await asyncio.gather(*(size(digest) for digest in digests))
        return dict(zip(digests, sizes, strict=True))

    def _record(self, parsed: ParsedManifest, tags: Sequence[str]) -> None:
        now = datetime.now(UTC)
        with self.store.write() as session:
            row = registry_repositories.ensure(session, self.name, by=BY, now=now)
            row = registry_repositories.lock_live(session, row)
            new = registry_manifests.missing(session, id_of(row), [parsed.digest])
            # Somebody may have pushed the tag since it was looked for.
            free = [tag for tag in tags if not self._is_known(session, tag)]
            if new or free:
                push = registry_manifests.Push(by=BY, at=now, tags=free)
                registry_manifests.record(session, row, parsed, push)
        self.report.manifests += len(new)

    def _admit(self, sizes: dict[str, int]) -> None:
        """In a transaction of its own: the manifest holds those that were known before as well,
        and blobs are locked in the order of their digests.
        """
        now = datetime.now(UTC)
        with self.store.write() as session:
            row = registry_repositories.ensure(session, self.name, by=BY, now=now)
            for digest in sorted(sizes):
                registry_blobs.admit(
                    session, row, digest, sizes[digest], now=now, lease_until=now + LEASE
                )

    def _forget(self, digests: Sequence[str]) -> None:
        """Undo ``_admit``: the next import asks for each again."""
        for digest in digests:
            with self.store.write() as session:
                row = registry_repositories.require(session, self.name)
                now = datetime.now(UTC)
                registry_blobs.remove_membership(session, row, digest, now=now)

    def _is_known(self, session: Session, tag: str) -> bool:
        row = registry_repositories.find(session, self.name)
        return row is not None and bool(registry_tags.history(session, id_of(row), tag, limit=1))

    def _unknown_blobs(self, session: Session, digests: Sequence[str]) -> list[str]:
        row = registry_repositories.find(session, self.name)
        if row is None:
            return list(digests)
        return [
            digest
            for digest in digests
            if registry_blobs.belongs(session, id_of(row), digest) is None
        ]

    def _reading(self, question: Callable[[Session, Subject], Answer], subject: Subject) -> Answer:
        with self.store.read() as session:
            return question(session, subject)


def _known(session: Session, digests: Sequence[str]) -> list[str]:
    """Those of ``digests`` that the index knows, of whatever repository."""
    return [digest for digest in digests if session.get(BlobRow, digest) is not None]


def _refuse(lost: Sequence[str]) -> None:
    if lost:
        raise _Unreadable(f"blob {lost[0]} is missing (of {len(lost)})")
