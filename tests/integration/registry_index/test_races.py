"""Two at once, on both databases with real threads: whoever comes second sees what the first did."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from sqlmodel import col, func, select, update

from fleetwide.store import migrate
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_manifests import ReferencesUnknown
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    TagRow,
)
from fleetwide.store.session import Store
from tests.integration.registry_index.races import PATIENCE, ROUNDS, side_by_side
from tests.registry_index import LEASE, NOW, blob, image, index, push, upload

pytestmark = pytest.mark.integration
A, B = image("a"), image("b")
HELD_FOR = 0.3
"""Long enough for a thread to run into a lock; nothing depends on its being so."""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, "apps/x", "config", "a", "b")
    yield opened
    opened.engine.dispose()


def sound(store: Store) -> None:
    """Counters are true, and every reference leads somewhere."""
    with store.read() as session:
        for row in session.exec(select(RepositoryRow)):
            live = select(func.count()).where(
                TagRow.repository_id == row.id, col(TagRow.ended_at).is_(None)
            )
            held = select(func.count()).where(ManifestRow.repository_id == row.id)
            size = (
                select(func.coalesce(func.sum(BlobRow.size), 0))
                .join(RepositoryBlobRow, col(RepositoryBlobRow.digest) == col(BlobRow.digest))
                .where(RepositoryBlobRow.repository_id == row.id)
            )
            counted = [int(session.exec(query).one()) for query in (live, held, size)]
            assert [row.tags, row.manifests, row.size] == counted
        dangling = (
            select(TagRow.name)
            .where(col(TagRow.ended_at).is_(None))
            .join(
                ManifestRow,
                (col(ManifestRow.repository_id) == col(TagRow.repository_id))
                & (col(ManifestRow.digest) == col(TagRow.digest)),
                isouter=True,
            )
            .where(col(ManifestRow.digest).is_(None))
        )
        assert session.exec(dangling).all() == []


def test_one_repository_is_made_by_many(store: Store) -> None:
    for number in range(ROUNDS):

        def make(name: str = f"race/r{number}") -> int:
            with store.write() as session:
                return repositories.id_of(repositories.ensure(session, name, by="me", now=NOW))

        assert len(set(side_by_side(*[make] * 4))) == 1
    with store.read() as session:
        assert len(repositories.page(session, limit=99, prefixes=["race/"])) == ROUNDS


def test_two_pushes_of_one_tag_leave_one_that_is_live(store: Store) -> None:
    for number in range(ROUNDS):
        now = NOW + timedelta(minutes=number)
        side_by_side(
            partial(push, store, "apps/x", A, tags=["latest"], now=now),
            partial(push, store, "apps/x", B, tags=["latest"], now=now),
        )
    sound(store)
    with store.read() as session:
        found = tags.history(session, 1, "latest", limit=999)
    assert [row.ended_at is None for row in found] == [True] + [False] * (len(found) - 1)
    for later, earlier in pairwise(found):
        assert earlier.ended_at == later.started_at
        assert earlier.digest != later.digest


def test_the_same_blobs_come_to_many_repositories_in_any_order(store: Store) -> None:
    names = [f"blob {number}" for number in range(6)]
    for number in range(ROUNDS // 2):
        side_by_side(
            partial(upload, store, f"race/r{number}", *names),
            partial(upload, store, f"race/r{number}", *reversed(names)),
            partial(upload, store, f"race/s{number}", *names[3:], *names[:3]),
        )
    sound(store)


def test_many_hold_the_same_blobs_in_any_order(store: Store) -> None:
    names = [f"blob {number}" for number in range(6)]
    upload(store, "apps/x", *names)
    upload(store, "apps/y", *names)

    def hold(name: str, wanted: list[str]) -> list[str]:
        with store.write() as session:
            row = repositories.require(session, name)
            digests = [blob(one) for one in wanted]
            return blobs.hold(session, row, digests, now=NOW, lease_until=NOW + 2 * LEASE)

    for _ in range(ROUNDS):
        results = side_by_side(
            lambda: hold("apps/x", names),
            lambda: hold("apps/y", names[::-1]),
            lambda: hold("apps/x", names[2:] + names[:2]),
        )
        assert results == [[], [], []]


def marked(store: Store, digest: str) -> bool:
    """Garbage collection's first step, as its contract has it: lock, judge, mark."""
    with store.write() as session:
        query = select(BlobRow).where(BlobRow.digest == digest).with_for_update()
        row = session.exec(query).one()
        used = select(RepositoryBlobRow.digest).where(
            RepositoryBlobRow.digest == digest, RepositoryBlobRow.lease_until > NOW + LEASE
        )
        if session.exec(used).first() is not None:
            return False
        result = session.exec(
            update(BlobRow)
            .where(col(BlobRow.digest) == digest, col(BlobRow.version) == row.version)
            .values(state=blobs.DELETING)
        )
        return result.rowcount == 1


def swept(store: Store, digest: str) -> bool:
    """Its second step: bytes and row go while the row's lock is held."""
    with store.write() as session:
        query = select(BlobRow).where(BlobRow.digest == digest).with_for_update()
        row = session.exec(query).first()
        if row is None or row.state != blobs.DELETING:
            return False
        member = session.get(RepositoryBlobRow, (1, digest))
        assert member is not None
        session.delete(member)
        session.delete(row)
        session.exec(
            update(RepositoryRow)
            .where(col(RepositoryRow.id) == 1)
            .values(size=RepositoryRow.size - row.size)
        )
        return True


def held(store: Store, digest: str) -> bool:
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        until = NOW + 2 * LEASE
        return blobs.hold(session, row, [digest], now=NOW, lease_until=until) == []


def test_a_push_and_a_mark_for_removal_never_both_win(store: Store) -> None:
    outcomes = set()
    for number in range(ROUNDS):
        name = f"garbage {number}"
        upload(store, "apps/x", name)
        digest = blob(name)
        _, gone, kept = side_by_side(
            partial(marked, store, digest),
            partial(swept, store, digest),
            partial(held, store, digest),
        )
        assert gone is not kept
        outcomes.add((gone, kept))
        if kept:
            with store.read() as session:
                assert session.get_one(BlobRow, digest).state in (blobs.LIVE, blobs.DELETING)
            # Marked after the push had asked is impossible: the lease forbids it.
            assert not swept(store, digest)
    sound(store)
    assert outcomes <= {(True, False), (False, True)}


def test_who_needs_a_blob_waits_while_its_bytes_are_being_removed(store: Store) -> None:
    upload(store, "apps/x", "garbage")
    digest = blob("garbage")
    assert marked(store, digest)
    answer: list[bool] = []
    asking = threading.Thread(target=lambda: answer.append(held(store, digest)))
    with store.write() as session:
        row = session.exec(select(BlobRow).where(BlobRow.digest == digest).with_for_update()).one()
        asking.start()
        asking.join(HELD_FOR)
        assert answer == []
        member = session.get_one(RepositoryBlobRow, (1, digest))
        session.delete(member)
        session.delete(row)
        repositories.require(session, "apps/x").size -= row.size
    asking.join(PATIENCE)
    assert answer == [False]
    sound(store)


def test_a_child_that_is_deleted_while_its_index_is_pushed(store: Store) -> None:
    outcomes = set()
    for number in range(ROUNDS):
        upload(store, "apps/x", f"c{number}")
        child = image(f"c{number}")
        parent = index(child)
        push(store, "apps/x", child)

        def delete(digest: str = child.digest) -> bool:
            with store.write() as session:
                row = repositories.require(session, "apps/x")
                return manifests.delete(session, row, digest, by="me", now=NOW)

        pushed, deleted = side_by_side(
            partial(push, store, "apps/x", parent, tags=["index"]), delete
        )
        assert deleted is True
        assert pushed is None or isinstance(pushed, ReferencesUnknown)
        outcomes.add(pushed is None)
        with store.read() as session:
            known = manifests.find(session, 1, parent.digest) is not None
            refers = select(ManifestChildRow).where(ManifestChildRow.parent == parent.digest)
            assert (session.exec(refers).first() is not None) == known == (pushed is None)
    sound(store)


def test_a_push_and_the_deletion_of_the_same_manifest_agree_on_the_end(store: Store) -> None:
    push(store, "apps/x", A, tags=["latest"])

    def delete() -> bool:
        with store.write() as session:
            row = repositories.require(session, "apps/x")
            return manifests.delete(session, row, A.digest, by="me", now=NOW)

    for _ in range(ROUNDS):
        side_by_side(delete, lambda: push(store, "apps/x", A, tags=["latest", "other"]))
        sound(store)


def test_a_repository_that_begins_to_be_deleted_takes_no_push_any_more(store: Store) -> None:
    def condemn() -> None:
        with store.write() as session:
            row = repositories.lock(session, repositories.require(session, "apps/x"))
            row.deleting_since = NOW

    pushed, _ = side_by_side(lambda: push(store, "apps/x", A, tags=["latest"]), condemn)
    with store.read() as session:
        found = manifests.find(session, 1, A.digest)
    assert (found is not None) == (pushed is None)


def test_many_migrate_at_once(empty_database: str) -> None:
    stores = [Store.open(empty_database) for _ in range(4)]
    try:
        side_by_side(*[partial(migrate.upgrade, one.engine) for one in stores])
        assert migrate.drift(stores[0].engine) == []
    finally:
        for one in stores:
            one.engine.dispose()
