"""The end of a repository and of its tags, on both databases."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.store import events, registry_gc
from fleetwide.store import registry_deletion as deletion
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_retention import facts_page, live_tags, tag_times
from fleetwide.store.registry_retention_report import end_named, ended_count, name_going
from fleetwide.store.registry_tables import TagRow
from fleetwide.store.session import Store
from tests.registry_index import NOW, blob, image, index, push, upload

A, B = image("a"), image("b")
NAME = "ci/x"
HOUR = timedelta(hours=1)
DAYS = timedelta(days=9)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, NAME, "config", "a", "b")
    push(opened, NAME, A, tags=["1", "2"])
    push(opened, NAME, B, tags=["3"], now=NOW + HOUR)
    push(opened, NAME, index(A, B), tags=["all"], now=NOW + HOUR)
    yield opened
    opened.engine.dispose()


def mark(store: Store) -> None:
    with store.write() as session:
        deletion.mark(session, NAME, by="ana", now=NOW)


def kinds(store: Store) -> list[str]:
    with store.read() as session:
        return [row.kind for row in events.after(session, 0, subject=f"registry/{NAME}")]


def test_a_repository_goes_batch_by_batch_and_its_name_is_free_again(store: Store) -> None:
    mark(store)
    mark(store)
    steps: list[tuple[Callable[[Session], int], int]] = [
        (lambda s: deletion.end_tags(s, NAME, 3, by="ana", now=NOW + HOUR), 3),
        (lambda s: deletion.delete_manifests(s, NAME, 2, by="ana", now=NOW + HOUR), 2),
        (lambda s: deletion.drop_blobs(s, NAME, 2, now=NOW + HOUR), 2),
        (lambda s: deletion.forget_history(s, NAME, 3), 3),
    ]
    for work, first in steps:
        counts: list[int] = []
        while not counts or counts[-1]:
            with store.write() as session:
                counts.append(work(session))
        assert (counts[0], counts[1]) == (first, 1)
    with store.write() as session:
        deletion.finish(session, NAME, by="ana", now=NOW)
        deletion.finish(session, NAME, by="ana", now=NOW)
    with store.write() as session:
        assert deletion.find_any(session, NAME) is None
        waiting = registry_gc.due(session, NOW + DAYS, 100)
        blobs = {blob("config"), blob("a"), blob("b")}
        # Distribution keeps the bytes of manifests as blobs too.
        manifests = {A.digest, B.digest, index(A, B).digest}
        assert {row.digest for row in waiting} == blobs | manifests
        row = repositories.ensure(session, NAME, by="eva", now=NOW)
        assert (row.tags, row.manifests, row.size, row.owner) == (0, 0, 0, "eva")
    assert kinds(store)[-2:] == ["repository-deleted", "repository-created"]
    assert kinds(store).count("repository-deleting") == 1
    assert kinds(store).count("tag-deleted") == 4


def test_nothing_goes_of_a_repository_that_was_not_marked(store: Store) -> None:
    with store.write() as session:
        with pytest.raises(Conflict, match="not being deleted"):
            deletion.forget_history(session, NAME, 10)
        with pytest.raises(Conflict, match="not being deleted"):
            deletion.drop_blobs(session, NAME, 10, now=NOW)
        with pytest.raises(NotFound):
            deletion.mark(session, "no/such", by="ana", now=NOW)


def test_a_marked_repository_is_out_of_sight_and_comes_back_when_unmarked(store: Store) -> None:
    mark(store)
    with store.write() as session:
        assert repositories.find(session, NAME) is None
        assert repositories.page(session, limit=10) == []
        with pytest.raises(Conflict, match="being deleted"):
            repositories.ensure(session, NAME, by="eva", now=NOW)
    with store.write() as session:
        deletion.unmark(session, NAME, "stopped", by="ana", now=NOW)
        deletion.unmark(session, NAME, "stopped", by="ana", now=NOW)
    with store.read() as session:
        assert repositories.require(session, NAME).tags == 4
    assert kinds(store).count("repository-deletion-stopped") == 1


def test_a_repository_with_manifests_is_not_finished(store: Store) -> None:
    mark(store)
    with pytest.raises(Conflict, match="manifests"), store.write() as session:
        deletion.finish(session, NAME, by="ana", now=NOW)


def test_tags_end_only_as_they_were_judged(store: Store) -> None:
    with store.read() as session:
        number = id_of(repositories.require(session, NAME))
        facts = facts_page(session, number, after="", until=NOW)
        assert live_tags(session, number, [A.digest, B.digest]) == {A.digest: 2, B.digest: 1}
    assert [fact.name for fact in facts] == ["1", "2"]
    assert list(tag_times(store, number, NOW)) == [[("1", NOW), ("2", NOW)]]
    with store.write() as session:
        name_going(session, "run", number, facts, between=("", None), now=NOW)
    push(store, NAME, B, tags=["1"], now=NOW + HOUR)
    for repository in (NAME, NAME, "no/such"):
        with store.write() as session:
            end_named(session, "run", repository, facts, by="retention", now=NOW + 2 * HOUR)
    with store.read() as session:
        assert ended_count(session, "run", number) == 1
        left = [row.name for row in tags.page(session, number, limit=9)]
        ended = session.exec(select(TagRow).where(TagRow.name == "2")).one()
    assert left == ["1", "3", "all"]
    assert ended.ended_by == "retention"
