"""Who comes between two questions to Distribution: imports, and deletions of blobs."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr
from sqlmodel import select

from api.oci import blobs
from api.oci.gateway import Gateway
from api.oci.requests import Request
from fleetwide.models.registry_gc import GarbageBatch
from fleetwide.providers.backend import Backend
from fleetwide.providers.registry_import import RegistryImport
from fleetwide.registry.imports import ImportReport
from fleetwide.settings import Settings
from fleetwide.store.registry_tables import ManifestRow, RepositoryBlobRow, ReviewRow
from tests.registry_index import blob, image
from tests.registry_shelf import Shelf, shelf

pytestmark = pytest.mark.integration
APP, OTHER = "apps/hello", "apps/other"


class Distribution:
    """Answers from the shelf's storage; ``meanwhile`` happens after the first answer of a blob."""

    def __init__(self, box: Shelf, meanwhile: Any = None) -> None:
        self.box = box
        self.meanwhile = meanwhile

    async def names(self, _path: str, _key: str) -> Any:
        for tag in self.box.storage.tags(APP):
            yield tag.name

    async def manifest(self, name: str, reference: str) -> tuple[str, bytes] | None:
        tag = self.box.storage.tag(name, reference)
        chunks = self.box.storage.read_blob(tag.digest if tag else reference)
        return None if chunks is None else ("", b"".join(chunks))

    async def blob_size(self, name: str, digest: str) -> int | None:
        entry = self.box.storage.blob(digest) if self.box.has(name, digest) else None
        if digest == blob("a") and self.meanwhile is not None:
            first, self.meanwhile = self.meanwhile, None
            await asyncio.to_thread(first)
        return entry.size if entry is not None else None

    async def unlink_blob(self, name: str, digest: str) -> None:
        if self.meanwhile is not None:
            await asyncio.to_thread(self.meanwhile)
        self.box.storage.unlink_layer(name, digest)

    async def close(self) -> None:
        return


def take(box: Shelf, meanwhile: Any = None) -> ImportReport:
    backend = cast("Backend", Distribution(box, meanwhile))
    return asyncio.run(RegistryImport(backend, box.store).repository(APP))


def members(box: Shelf, name: str) -> int:
    with box.store.read() as session:
        query = select(RepositoryBlobRow).where(RepositoryBlobRow.digest == blob(name))
        return len(session.exec(query).all())


def test_an_import_takes_no_blob_that_garbage_collection_removed_meanwhile(box: Shelf) -> None:
    box.upload(OTHER, "a")
    box.send(APP, "config", "a")
    box.put(APP, image("a"), ["v1"])
    report = take(box, box.collect)
    assert box.stored("a") == set()
    assert [fault.partition(": ")[2] for fault in report.faults] == [
        f"blob {blob('a')} is missing (of 1)"
    ]
    assert members(box, "a") == 0
    with box.store.read() as session:
        assert session.exec(select(ManifestRow)).all() == []


def test_an_import_takes_what_stays(box: Shelf) -> None:
    box.upload(OTHER, "a")
    box.send(APP, "config", "a")
    box.put(APP, image("a"), ["v1"])
    report = take(box)
    assert (report.tags, report.manifests, report.blobs, report.faults) == (1, 1, 2, [])
    box.collect()
    assert box.faults() == []


def delete(url: str, distribution: Distribution) -> None:
    """DELETE of the blob "a", as the gateway serves it."""

    async def run() -> None:
        gateway = Gateway.open(Settings(database_url=SecretStr(url)))
        await gateway.backend.close()
        gateway.backend = cast("Backend", distribution)
        try:
            route = SimpleNamespace(repository=APP, reference=blob("a"))
            await blobs.delete(gateway, cast("Request", route))
        finally:
            await gateway.close()

    asyncio.run(run())


def test_a_blob_that_is_asked_for_while_it_is_deleted_belongs_to_nobody(
    database_url: str, tmp_path: Path
) -> None:
    with shelf(database_url, tmp_path) as box:
        box.upload(APP, "a")
        # As a HEAD in that moment, which finds it at Distribution still.
        delete(database_url, Distribution(box, lambda: box.admit(APP, "a")))
        assert (members(box, "a"), box.has(APP, blob("a"))) == (0, False)


def test_the_link_of_a_blob_whose_deletion_was_killed_goes_with_a_collection(
    database_url: str, tmp_path: Path
) -> None:
    def killed() -> None:
        raise RuntimeError("killed")

    with shelf(database_url, tmp_path) as box:
        box.upload(APP, "a")
        box.upload(OTHER, "config", "a")
        box.push(OTHER, image("a"), "v1")
        with pytest.raises(RuntimeError, match="killed"):
            delete(database_url, Distribution(box, killed))
        assert box.has(APP, blob("a"))
        with box.store.write() as session:
            for row in session.exec(select(ReviewRow)):
                row.review_after = row.review_after.replace(year=2000)
                session.add(row)
        box.collector.reviews(GarbageBatch(limit=100, per_second=1e6), lambda _: None)
        assert not box.has(APP, blob("a"))
        assert box.has(OTHER, blob("a"))
