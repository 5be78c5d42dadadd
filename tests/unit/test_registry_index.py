"""The registry's index on both databases: pages, intervals of tags, references, reviews, counters."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.registry.names import RepositoryNameInvalid, TagInvalid
from fleetwide.settings import Settings
from fleetwide.store import events, registry_gc
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_pulls as pulls
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_reviews as reviews
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_manifests import ReferencesUnknown, ReferrersPage
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    RepositoryBlobRow,
    RepositoryRow,
    TagRow,
)
from fleetwide.store.session import Store
from tests.registry_index import LEASE, NOW, blob, image, index, push, upload

A, B = image("a"), image("b")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ROOM = 1024**2


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def filled(store: Store) -> Store:
    """A repository with the images A, tagged "one", and B, tagged "two"."""
    upload(store, "apps/x", "config", "a", "b")
    push(store, "apps/x", A, tags=["one"])
    push(store, "apps/x", B, tags=["two"])
    return store


def repository(session: Session, name: str = "apps/x") -> RepositoryRow:
    return repositories.require(session, name)


def waiting(store: Store, after: timedelta = 2 * DAY) -> set[tuple[str, str, str]]:
    with store.write() as session:
        return {
            (row.kind, row.digest, row.cause) for row in registry_gc.due(session, NOW + after, 1000)
        }


def counters(store: Store) -> tuple[int, int, int]:
    with store.read() as session:
        row = repository(session)
        return row.tags, row.manifests, row.size


NAMES = ["a-b", "a.b", "a/b", "a0", "ab", "b"]


def test_repositories_come_in_the_order_of_their_bytes(store: Store) -> None:
    with store.write() as session:
        for name in reversed(NAMES):
            repositories.ensure(session, name, by="me", now=NOW)
    found: list[str] = []
    with store.read() as session:
        while page := repositories.page(session, after=found[-1] if found else "", limit=2):
            found += [row.name for row in page]
        filtered = repositories.page(session, limit=9, prefixes=["a/", "b"])
        assert [row.name for row in filtered] == ["a/b", "b"]
        assert repositories.page(session, limit=9, prefixes=["a"]) == []  # no start of a name
        assert repositories.page(session, limit=9, prefixes=[]) == []
        assert len(repositories.page(session, limit=9, prefixes=[""])) == len(NAMES)
    assert found == sorted(NAMES)


def test_a_repository_that_is_being_deleted_is_not_there(filled: Store) -> None:
    with filled.write() as session:
        repository(session).deleting_since = NOW
    with filled.write() as session:
        assert repositories.find(session, "apps/x") is None
        assert repositories.page(session, limit=9) == []
        with pytest.raises(NotFound):
            repository(session)
        with pytest.raises(Conflict):
            repositories.ensure(session, "apps/x", by="me", now=NOW)
        row = session.exec(select(RepositoryRow)).one()
        with pytest.raises(Conflict):
            tags.move(session, row, "one", B.digest, by="me", now=NOW)
        with pytest.raises(Conflict):
            manifests.record(session, row, A, manifests.Push("me", NOW))
        with pytest.raises(Conflict):
            blobs.admit(session, row, blob("c"), 1, now=NOW, lease_until=NOW)
        assert manifests.delete(session, row, A.digest, by="me", now=NOW)


def test_a_repository_is_locked_once_a_transaction_and_counts_what_was_set_before(
    filled: Store,
) -> None:
    statements: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(filled.engine, "before_cursor_execute", note)
    with filled.write() as session:
        row = repositories.take(session, "apps/x")
        row.size += 5  # not written yet
        repositories.count(session, repositories.lock_live(session, row), size=2, tags=1)
        assert (row.size, row.tags) == (len("config") + 9, 3)
        assert repositories.lock(session, row) is row
    event.remove(filled.engine, "before_cursor_execute", note)
    assert len([one for one in statements if one.startswith("SELECT")]) == 1
    assert counters(filled) == (3, 2, len("config") + 9)
    with filled.write() as session, pytest.raises(NotFound):
        repositories.take(session, "apps/none")


def test_names_are_checked_on_the_way_in(filled: Store) -> None:
    with filled.write() as session:
        with pytest.raises(RepositoryNameInvalid):
            repositories.ensure(session, "../etc", by="me", now=NOW)
        with pytest.raises(TagInvalid):
            tags.move(session, repository(session), "a b", A.digest, by="me", now=NOW)


def test_tags_come_in_the_order_of_their_bytes(filled: Store) -> None:
    names = ["B", "a", "A", "1.10", "1.9", "_x", "one", "two"]
    push(filled, "apps/x", A, tags=names)
    with filled.read() as session:
        number = repositories.id_of(repository(session))
        found = [row.name for row in tags.page(session, number, limit=4)]
        found += [row.name for row in tags.page(session, number, after=found[-1], limit=9)]
        assert tags.page(session, number, after=found[-1], limit=9) == []
    assert found == sorted(names)


def test_a_tag_tells_what_it_meant_at_any_moment(filled: Store) -> None:
    with filled.write() as session:
        row = repository(session)
        number = repositories.id_of(row)
        tags.move(session, row, "one", B.digest, by="you", now=NOW + HOUR)
        assert tags.delete(session, row, "one", by="he", now=NOW + 2 * HOUR)
        assert not tags.delete(session, row, "one", by="he", now=NOW + 2 * HOUR)
        tags.move(session, row, "one", A.digest, by="she", now=NOW + 3 * HOUR)
    with filled.read() as session:
        moments = [-1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 9]
        meant = [tags.at(session, number, "one", NOW + hours * HOUR) for hours in moments]
        assert [one and one.digest for one in meant] == [
            None, A.digest, A.digest, B.digest, B.digest, None, None, A.digest, A.digest,
        ]  # fmt: skip
        history = tags.history(session, number, "one", limit=9)
        assert [(one.by, one.ended_by) for one in history] == [
            ("she", ""),
            ("you", "he"),
            ("tests", "you"),
        ]
        assert len(tags.history(session, number, "one", limit=1)) == 1


def test_the_same_digest_again_changes_nothing(filled: Store) -> None:
    with filled.write() as session:
        before = events.newest(session)
        row = tags.move(session, repository(session), "one", A.digest, by="me", now=NOW + HOUR)
        assert row.started_at == NOW
        assert row.by == "tests"
        assert events.newest(session) == before
    assert counters(filled)[0] == 2


def test_clocks_that_differ_make_no_intervals_that_overlap(filled: Store) -> None:
    with filled.write() as session:
        row = repository(session)
        number = repositories.id_of(row)
        tags.move(session, row, "one", B.digest, by="slow clock", now=NOW - HOUR)
        assert tags.delete(session, row, "one", by="slower clock", now=NOW - 2 * HOUR)
        tags.move(session, row, "one", A.digest, by="slow clock", now=NOW - HOUR)
        history = tags.history(session, number, "one", limit=9)
        assert [one.digest for one in history] == [A.digest, B.digest, A.digest]
        assert {one.started_at for one in history} == {NOW}
        meant = tags.at(session, number, "one", NOW)
        assert meant is not None
        assert meant.digest == A.digest


def test_a_tag_can_only_mean_a_manifest_of_its_own_repository(filled: Store) -> None:
    upload(filled, "apps/other", "config", "c")
    push(filled, "apps/other", image("c"))
    with filled.write() as session:
        with pytest.raises(NotFound):
            tags.move(session, repository(session), "one", image("c").digest, by="me", now=NOW)


def test_a_manifest_keeps_its_bytes_and_what_it_refers_to(filled: Store) -> None:
    with filled.read() as session:
        number = repositories.id_of(repository(session))
        row = manifests.find(session, number, A.digest)
        assert row is not None
        assert row.data == A.data
        assert row.size == len(A.data)
        assert row.content_size == len("config") + len("a")
        query = select(ManifestBlobRow.blob).where(ManifestBlobRow.manifest == A.digest)
        assert set(session.exec(query)) == {blob("config"), blob("a")}
        assert manifests.find(session, number, image("c").digest) is None
        assert manifests.missing(session, number, [A.digest, image("c").digest]) == [
            image("c").digest
        ]
    assert counters(filled) == (2, 2, len("config") + 2)


def test_a_second_push_of_the_same_manifest_counts_once(filled: Store) -> None:
    push(filled, "apps/x", A, tags=["one", "again"], now=NOW + HOUR)
    with filled.read() as session:
        row = manifests.find(session, 1, A.digest)
        assert row is not None
        assert row.pushed_at == NOW
        assert row.touched_at == NOW + HOUR
    assert counters(filled) == (3, 2, len("config") + 2)


def test_a_manifest_of_foreign_or_unknown_blobs_is_refused(filled: Store) -> None:
    upload(filled, "apps/other", "config", "secret")
    with pytest.raises(ReferencesUnknown) as caught:
        push(filled, "apps/x", image("secret", "nowhere"))
    assert set(caught.value.digests) == {blob("secret"), blob("nowhere")}
    with pytest.raises(ReferencesUnknown):
        push(filled, "apps/x", index(A, image("c")))
    assert counters(filled) == (2, 2, len("config") + 2)


def test_a_deleted_manifest_takes_its_tags_and_leaves_reviews(filled: Store) -> None:
    push(filled, "apps/x", A, tags=["three"])
    push(filled, "apps/x", image("b", subject=A.digest))
    push(filled, "apps/x", index(A, B), tags=["index"])
    with filled.write() as session:
        row = repository(session)
        assert manifests.delete(session, row, A.digest, by="me", now=NOW)
        assert not manifests.delete(session, row, A.digest, by="me", now=NOW)
        assert [one.name for one in tags.page(session, 1, limit=9)] == ["index", "two"]
        assert manifests.find(session, 1, index(A, B).digest) is not None
    queue = waiting(filled)
    assert ("blob", blob("a"), "unreferenced") in queue
    assert ("blob", blob("config"), "unreferenced") in queue
    assert ("manifest", image("b", subject=A.digest).digest, "unreferenced") in queue
    assert counters(filled) == (2, 3, len("config") + 2)
    with filled.write() as session:
        assert manifests.delete(session, repository(session), index(A, B).digest, by="me", now=NOW)
    assert ("manifest", B.digest, "unreferenced") in waiting(filled)
    assert counters(filled) == (1, 2, len("config") + 2)


def test_a_manifest_that_loses_its_last_tag_is_put_up_for_review(filled: Store) -> None:
    push(filled, "apps/x", B, tags=["one"])
    assert ("manifest", A.digest, "untagged") in waiting(filled)
    with filled.write() as session:
        tags.delete(session, repository(session), "two", by="me", now=NOW)
    assert ("manifest", B.digest, "untagged") not in waiting(filled)
    with filled.write() as session:
        tags.delete(session, repository(session), "one", by="me", now=NOW)
    assert ("manifest", B.digest, "untagged") in waiting(filled)


def test_referrers_come_in_pages_and_by_type(filled: Store) -> None:
    kinds = ["application/sbom", "application/signature"]
    made = [image("a", subject=A.digest, artifact_type=kinds[n % 2]) for n in range(2)]
    made += [image("b", subject=A.digest, artifact_type=kinds[n % 2]) for n in range(2)]
    for one in made:
        push(filled, "apps/x", one)
    with filled.read() as session:
        page = ReferrersPage(limit=3, max_bytes=ROOM)
        found, more = manifests.referrers(session, 1, A.digest, page)
        assert (len(found), more) == (3, True)
        rest, more = manifests.referrers(
            session, 1, A.digest, replace(page, after=found[-1].digest)
        )
        assert not more
        assert [one.digest for one in found + rest] == sorted(one.digest for one in made)
        typed = ReferrersPage(limit=2, max_bytes=ROOM, artifact_type=kinds[1])
        signed, more = manifests.referrers(session, 1, A.digest, typed)
        assert [one.artifact_type for one in signed] == [kinds[1]] * 2
        assert not more
        assert manifests.referrers(session, 1, B.digest, page) == ([], False)


def test_no_more_referrers_are_read_than_have_room(filled: Store) -> None:
    made = [image("a", subject=A.digest, artifact_type=f"a/{n}") for n in range(4)]
    made.sort(key=lambda one: one.digest)
    for one in made:
        push(filled, "apps/x", one)
    size = len(made[0].data)
    with filled.read() as session:
        for room, count in [(4 * size, 4), (4 * size - 1, 3), (2 * size, 2), (1, 1)]:
            page = ReferrersPage(limit=9, max_bytes=room)
            found, more = manifests.referrers(session, 1, A.digest, page)
            assert [one.digest for one in found] == [one.digest for one in made[:count]]
            assert more == (count < 4)


def test_a_blob_is_read_only_where_it_belongs(filled: Store) -> None:
    upload(filled, "apps/other", "secret")
    with filled.write() as session:
        assert blobs.belongs(session, 1, blob("a")) is not None
        assert blobs.belongs(session, 1, blob("secret")) is None
        row = repository(session)
        later = NOW + HOUR
        lacking = blobs.hold(
            session, row, [blob("secret"), blob("a"), blob("no")], now=later, lease_until=later
        )
        assert lacking == sorted([blob("secret"), blob("no")])


def test_holding_a_blob_revives_it_and_only_lengthens_its_lease(filled: Store) -> None:
    with filled.write() as session:
        found = session.get(BlobRow, blob("a"))
        assert found is not None
        found.state, version = blobs.DELETING, found.version
    with filled.write() as session:
        assert blobs.belongs(session, 1, blob("a")) is not None
        assert blobs.hold(session, repository(session), [blob("a")], now=NOW, lease_until=NOW) == []
    with filled.read() as session:
        found = session.get(BlobRow, blob("a"))
        member = session.get(RepositoryBlobRow, (1, blob("a")))
        assert found is not None
        assert member is not None
        assert (found.state, found.version) == (blobs.LIVE, version + 1)
        assert member.lease_until == NOW + LEASE


def test_a_broken_blob_is_missing_until_it_is_uploaded_again(filled: Store) -> None:
    with filled.write() as session:
        found = session.get(BlobRow, blob("a"))
        assert found is not None
        found.state = blobs.BROKEN
    with filled.write() as session:
        assert blobs.belongs(session, 1, blob("a")) is None
        row = repository(session)
        assert blobs.hold(session, row, [blob("a")], now=NOW, lease_until=NOW) == [blob("a")]
    upload(filled, "apps/x", "a")
    with filled.read() as session:
        assert blobs.belongs(session, 1, blob("a")) is not None
    assert counters(filled)[2] == len("config") + 2


def test_a_blob_that_a_manifest_needs_is_not_taken_away(filled: Store) -> None:
    upload(filled, "apps/x", "unused")
    with filled.write() as session:
        row = repository(session)
        with pytest.raises(Conflict):
            blobs.remove_membership(session, row, blob("a"), now=NOW)
        assert blobs.remove_membership(session, row, blob("unused"), now=NOW)
        assert not blobs.remove_membership(session, row, blob("unused"), now=NOW)
    assert ("blob", blob("unused"), "deleted") in waiting(filled)
    assert counters(filled)[2] == len("config") + 2


def test_a_review_waits_for_the_store_s_delay_and_anew_when_something_happens(
    database_url: str,
) -> None:
    settings = Settings(database_url=SecretStr(database_url), registry_review_hours=1)
    store = Store.from_settings(settings)
    try:
        for minutes in (0, 30):
            with store.write() as session:
                now = NOW + timedelta(minutes=minutes)
                reviews.enqueue(session, reviews.BLOB, 0, [blob("a")], "uploaded", now=now)
        with store.read() as session:
            assert registry_gc.due(session, NOW + timedelta(minutes=89), 9) == []
            (row,) = registry_gc.due(session, NOW + timedelta(minutes=90), 9)
        assert (row.digest, row.cause, row.tries) == (blob("a"), "uploaded", 0)
    finally:
        store.engine.dispose()


def test_pulls_are_added_and_those_of_lost_manifests_passed_over(filled: Store) -> None:
    counts = {
        (1, A.digest, "anonymous"): 1,
        (1, A.digest, "ci"): 3,
        (1, B.digest, "ci"): 9,
        (1, blob("gone"), "ci"): 1,
    }
    for hours in (1, 2):
        with filled.write() as session:
            pulls.note(session, counts, NOW + hours * HOUR)
    with filled.read() as session:
        row = manifests.find(session, 1, A.digest)
        assert row is not None
        assert (row.pulls, row.last_pulled_at) == (8, NOW + 2 * HOUR)
        callers = pulls.pullers(session, 1, A.digest, limit=9)
        assert [(one.name, one.pulls) for one in callers] == [("ci", 6), ("anonymous", 2)]
        assert {one.last_pulled_at for one in callers} == {NOW + 2 * HOUR}
        assert [one.name for one in pulls.pullers(session, 1, A.digest, limit=1)] == ["ci"]
        assert pulls.pullers(session, 1, blob("gone"), limit=9) == []


def test_who_pulled_a_manifest_is_forgotten_with_it(filled: Store) -> None:
    with filled.write() as session:
        pulls.note(session, {(1, A.digest, "ci"): 1, (1, B.digest, "ci"): 1}, NOW)
    with filled.write() as session:
        manifests.delete(session, repository(session), A.digest, by="me", now=NOW)
    with filled.read() as session:
        assert pulls.pullers(session, 1, A.digest, limit=9) == []
        assert len(pulls.pullers(session, 1, B.digest, limit=9)) == 1


def test_every_change_is_told_in_the_outbox(filled: Store) -> None:
    with filled.write() as session:
        row = repository(session)
        tags.move(session, row, "two", A.digest, by="me", now=NOW)
        tags.delete(session, row, "two", by="me", now=NOW)
        manifests.delete(session, row, A.digest, by="me", now=NOW)
    with filled.read() as session:
        told = events.after(session, 0, subject="registry/apps/x")
        assert [one.kind for one in told] == [
            "repository-created",
            "manifest-pushed",
            "tag-moved",
            "manifest-pushed",
            "tag-moved",
            "tag-moved",
            "tag-deleted",
            "tag-deleted",
            "manifest-deleted",
        ]
        moved = told[5].data
        assert moved == {
            "repository": "apps/x",
            "tag": "two",
            "digest": A.digest,
            "before": B.digest,
            "by": "me",
        }


def test_a_read_sees_one_snapshot(filled: Store) -> None:
    with filled.read() as session:
        assert len(tags.page(session, 1, limit=9)) == 2
        push(filled, "apps/x", A, tags=["three"])
        assert len(tags.page(session, 1, limit=9)) == 2
    with filled.read() as session:
        assert len(tags.page(session, 1, limit=9)) == 3


def test_a_read_changes_nothing(filled: Store) -> None:
    with pytest.raises(DBAPIError), filled.read() as session:
        session.add(TagRow(repository_id=1, name="x", digest="x", started_at=NOW))
        session.commit()


def test_referrers_of_a_kind_are_found_by_an_index_and_not_among_all(store: Store) -> None:
    with store.write() as session:
        row = repositories.ensure(session, "apps/a", by="tests", now=NOW)
        number = repositories.id_of(row)
    page = ReferrersPage(10, ROOM, after="sha256:0", artifact_type="application/vnd.x")
    asked: list[tuple[str, Any]] = []

    def listen(_c: object, _k: object, statement: str, values: Any, *_more: object) -> None:
        asked.append((statement, values))

    with store.read() as session:
        if store.engine.dialect.name == "postgresql":
            session.connection().exec_driver_sql("SET LOCAL enable_seqscan = off")
        event.listen(store.engine, "before_cursor_execute", listen)
        manifests.referrers(session, number, A.digest, page)
        event.remove(store.engine, "before_cursor_execute", listen)
        explain = "EXPLAIN" if store.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        statement, values = next(one for one in asked if "artifact_type" in one[0])
        plan = session.connection().exec_driver_sql(f"{explain} {statement}", values)
        text = str(plan.all())
    assert "ix_registry_manifest_subject_type" in text
    assert "Sort" not in text
    assert "TEMP B-TREE" not in text
