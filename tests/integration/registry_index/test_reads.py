"""The hot path on both databases, and what happens when the database goes and comes back."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store.registry_reads import (
    Home,
    IndexUnavailable,
    ManifestReads,
    Resolved,
    Standing,
    open_reads,
)
from fleetwide.store.registry_tables import BlobRow, NamespaceRow, RepositoryBlobRow
from fleetwide.store.session import Store
from tests.postgres import TEMPLATE, Postgres
from tests.registry_index import NOW, blob, image, push, upload

pytestmark = pytest.mark.integration
A, B = image("a"), image("b")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, "apps/x", "config", "a", "b")
    push(opened, "apps/x", A, tags=["one", "two", "B", "a"])
    yield opened
    opened.engine.dispose()


@pytest.fixture
async def reads(database_url: str) -> AsyncIterator[ManifestReads]:
    opened = open_reads(database_url)
    yield opened
    await opened.close()


async def test_a_tag_and_a_digest_are_resolved(store: Store, reads: ManifestReads) -> None:
    expected = Resolved(1, A.digest, A.media_type, len(A.data))
    assert await reads.resolve("apps/x", "one") == expected
    assert await reads.resolve("apps/x", A.digest) == expected
    assert await reads.resolve("apps/x", "three") is None
    assert await reads.resolve("apps/x", B.digest) is None
    assert await reads.resolve("apps/y", "one") is None
    assert await reads.data(1, A.digest) == A.data
    assert await reads.data(1, B.digest) is None


async def test_a_push_is_seen_at_once(store: Store, reads: ManifestReads) -> None:
    for parsed in (A, B, A, B):
        push(store, "apps/x", parsed, tags=["one"])
        found = await reads.resolve("apps/x", "one")
        assert found is not None
        assert found.digest == parsed.digest


async def test_names_come_in_pages_in_the_order_of_their_bytes(
    store: Store, reads: ManifestReads
) -> None:
    upload(store, "apps/x-y", "a")
    assert await reads.tags("apps/x", limit=3) == ["B", "a", "one"]
    assert await reads.tags("apps/x", after="a", limit=9) == ["one", "two"]
    assert await reads.tags("apps/x-y", limit=9) == []
    assert await reads.tags("apps/none", limit=9) is None
    assert await reads.repositories(limit=1) == ["apps/x"]
    assert await reads.repositories(after="apps/x", limit=9) == ["apps/x-y"]


async def test_only_live_blobs_of_the_repository_have_a_size(
    store: Store, reads: ManifestReads
) -> None:
    upload(store, "apps/other", "secret")
    assert await reads.blob_size("apps/x", blob("config")) == len("config")
    assert await reads.blob_size("apps/x", blob("secret")) is None
    with store.write() as session:
        session.get_one(BlobRow, blob("a")).state = blobs.DELETING
    assert await reads.blob_size("apps/x", blob("a")) is None


async def test_a_repository_tells_how_it_stands_to_a_blob(
    store: Store, reads: ManifestReads
) -> None:
    upload(store, "apps/other", "secret", "empty")
    size, now = len("secret"), datetime.now(UTC)
    assert await reads.standing("apps/none", blob("secret")) is None
    assert await reads.standing("apps/x", blob("unknown")) == Standing(False, None, False)
    assert await reads.standing("apps/x", blob("secret")) == Standing(True, None, False)
    # Its lease is long over.
    assert await reads.standing("apps/other", blob("secret")) == Standing(True, size, True)
    for until, loose in ((now - timedelta(seconds=2), True), (now + timedelta(seconds=60), False)):
        with store.write() as session:
            session.get_one(RepositoryBlobRow, (2, blob("secret"))).lease_until = until
        assert await reads.standing("apps/other", blob("secret")) == Standing(True, size, loose)
    # A manifest refers to it.
    assert await reads.standing("apps/x", blob("a")) == Standing(True, 1, False)
    for state in (blobs.DELETING, blobs.BROKEN):
        with store.write() as session:
            session.get_one(BlobRow, blob("a")).state = state
        assert await reads.standing("apps/x", blob("a")) == Standing(True, None, False)


async def test_a_push_finds_its_repository_and_its_namespaces_quota(
    store: Store, reads: ManifestReads
) -> None:
    assert await reads.home("apps/none", "apps") is None
    assert await reads.home("apps/x", "apps") == Home(True, False, None)
    for quota in (0, 2**40, None):
        with store.write() as session:
            session.merge(NamespaceRow(name="apps", quota=quota, updated_at=NOW))
        assert await reads.home("apps/x", "apps") == Home(True, True, quota)
    with store.write() as session:
        repositories.require(session, "apps/x").deleting_since = NOW
    assert await reads.home("apps/x", "apps") == Home(False, True, None)


async def test_what_is_being_deleted_is_not_read(store: Store, reads: ManifestReads) -> None:
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        manifests.delete(session, row, A.digest, by="me", now=NOW)
    assert await reads.resolve("apps/x", "one") is None
    push(store, "apps/x", A, tags=["one"])
    with store.write() as session:
        repositories.require(session, "apps/x").deleting_since = NOW
    assert await reads.resolve("apps/x", "one") is None
    assert await reads.resolve("apps/x", A.digest) is None
    assert await reads.tags("apps/x", limit=9) is None
    assert await reads.repositories(limit=9) == []
    assert await reads.blob_size("apps/x", blob("a")) is None
    assert await reads.standing("apps/x", blob("a")) is None


async def test_hostile_references_are_only_compared(store: Store, reads: ManifestReads) -> None:
    for text in ("' OR 1=1 --", "%", "one\n", "x" * 5_000_000, "🎉"):
        assert await reads.resolve("apps/x", text) is None
        assert await reads.resolve(text, "one") is None


async def test_many_requests_side_by_side(store: Store, reads: ManifestReads) -> None:
    found = await asyncio.gather(*[reads.resolve("apps/x", "one") for _ in range(200)])
    assert {one and one.digest for one in found} == {A.digest}


async def test_a_request_that_is_given_up_harms_no_other(
    store: Store, reads: ManifestReads
) -> None:
    for _ in range(20):
        asking = asyncio.create_task(reads.resolve("apps/x", "one"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    found = await asyncio.gather(*[reads.resolve("apps/x", "two") for _ in range(20)])
    assert {one and one.digest for one in found} == {A.digest}


async def test_tables_that_are_missing_are_trouble_and_no_answer(empty_database: str) -> None:
    reads = open_reads(empty_database)
    try:
        with pytest.raises(IndexUnavailable):
            await reads.resolve("apps/x", "one")
    finally:
        await reads.close()


async def test_a_sqlite_file_may_appear_later(tmp_path: Path, sqlite_template: Path) -> None:
    file = tmp_path / "later.db"
    reads = open_reads(f"sqlite:///{file}")
    try:
        with pytest.raises(IndexUnavailable):
            await reads.resolve("apps/x", "one")
        assert not file.exists()
        shutil.copy(sqlite_template, file)
        assert await reads.resolve("apps/x", "one") is None
    finally:
        await reads.close()


async def test_a_server_that_is_down_is_said_to_be_so(postgres: Postgres) -> None:
    reads = open_reads(postgres.database(TEMPLATE))
    try:
        assert await reads.resolve("apps/x", "one") is None
        postgres.stop()
        try:
            for _ in range(3):
                with pytest.raises(IndexUnavailable):
                    await reads.resolve("apps/x", "one")
        finally:
            postgres.start()
        while True:
            try:
                assert await reads.resolve("apps/x", "one") is None
                break
            except IndexUnavailable:
                await asyncio.sleep(0.1)
    finally:
        await reads.close()


async def test_a_server_that_is_restarted_is_found_again(postgres: Postgres) -> None:
    url = postgres.database(TEMPLATE)
    store = Store.open(url)
    upload(store, "apps/x", "config", "a")
    push(store, "apps/x", A, tags=["one"])
    store.engine.dispose()
    reads = open_reads(url)
    try:
        await asyncio.gather(*[reads.resolve("apps/x", "one") for _ in range(20)])
        postgres.stop()
        postgres.start()
        found = await asyncio.gather(*[reads.resolve("apps/x", "one") for _ in range(20)])
        assert {one and one.digest for one in found} == {A.digest}
    finally:
        await reads.close()


def _backends(postgres: Postgres, url: str) -> list[int]:
    """The server's processes for connections to the database of that URL."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(postgres.conninfo("postgres"), autocommit=True) as connection:
        return [row[0] for row in connection.execute(query, (make_url(url).database,))]


def _end(postgres: Postgres, url: str) -> None:
    """End the only connection to a database."""
    (pid,) = _backends(postgres, url)
    os.kill(pid, signal.SIGTERM)
    while pid in _backends(postgres, url):
        time.sleep(0.01)


async def test_a_connection_that_ends_while_nobody_asks_is_replaced(postgres: Postgres) -> None:
    url = postgres.database(TEMPLATE)
    reads = open_reads(url)
    try:
        for _ in range(3):
            assert await reads.resolve("apps/x", "one") is None
            await asyncio.to_thread(_end, postgres, url)
    finally:
        await reads.close()


async def test_a_server_that_hangs_holds_up_nobody_else(postgres: Postgres) -> None:
    url = postgres.database(TEMPLATE)
    reads = open_reads(url)
    try:
        assert await reads.resolve("apps/x", "one") is None
        (pid,) = _backends(postgres, url)
        os.kill(pid, signal.SIGSTOP)
        try:
            hanging = asyncio.create_task(reads.resolve("apps/x", "one"))
            await asyncio.sleep(0)
            assert await reads.resolve("apps/x", "one") is None
            with pytest.raises(IndexUnavailable):
                await hanging
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await reads.resolve("apps/x", "one") is None
    finally:
        await reads.close()
