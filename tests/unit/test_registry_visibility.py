"""What people ask of the index, on both databases."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from fleetwide.registry.references import ImageReference
from fleetwide.store import registry_pulls
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store import registry_visibility as visibility
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_visibility import SharedBlob, Sums
from fleetwide.store.session import Store
from tests.registry_index import NOW, blob, image, push, upload

A, B = image("a"), image("a", "b")
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    for name in ("apps/x", "apps/y", "ci/x"):
        upload(opened, name, "config", "a", "b")
    push(opened, "apps/x", A, tags=["1.0", "latest"])
    push(opened, "apps/x", B, tags=["2.0"], now=NOW + HOUR)
    push(opened, "apps/y", A, tags=["1.0"])
    yield opened
    opened.engine.dispose()


def id_in(store: Store, name: str) -> int:
    with store.read() as session:
        return id_of(repositories.require(session, name))


def test_tags_come_with_their_images_page_by_page(store: Store) -> None:
    number = id_in(store, "apps/x")
    with store.write() as session:
        registry_pulls.note(session, {(number, A.digest, "ci"): 3}, NOW)
    with store.read() as session:
        first = visibility.tagged_images(session, number, limit=2)
        rest = visibility.tagged_images(session, number, after=first[-1].name, limit=2)
        old = visibility.tagged_images(session, number, before=NOW, limit=9)
        named = visibility.tagged_images(session, number, prefix="2", limit=9)
    assert [one.name for one in first + rest] == ["1.0", "2.0", "latest"]
    assert (first[0].pulls, first[0].last_pulled_at, first[0].size) == (3, NOW, A.content_size)
    assert first[0].by == "tests"
    assert [one.name for one in old] == ["1.0", "latest"]
    assert [one.name for one in named] == ["2.0"]


def test_references_are_resolved_together_and_only_where_they_are(store: Store) -> None:
    known = [
        ImageReference("apps/x", tag="2.0"),
        ImageReference("apps/x", digest=B.digest),
        ImageReference("apps/y", tag="1.0"),
    ]
    unknown = [
        ImageReference("apps/y", digest=B.digest),
        ImageReference("apps/x", tag="3.0"),
        ImageReference("no/such", tag="1.0"),
    ]
    with store.read() as session:
        found = visibility.resolve(session, known + unknown)
        assert visibility.resolve(session, []) == {}
    assert found == dict(zip(known, [B.digest, B.digest, A.digest], strict=True))


def test_an_ended_tag_and_a_repository_that_goes_resolve_to_nothing(store: Store) -> None:
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        tags.delete(session, row, "2.0", by="ana", now=NOW + HOUR)
        repositories.require(session, "apps/y").deleting_since = NOW
    gone = [ImageReference("apps/x", tag="2.0"), ImageReference("apps/y", tag="1.0")]
    with store.read() as session:
        assert visibility.resolve(session, gone) == {}


def test_layers_tell_who_shares_them(store: Store) -> None:
    with store.read() as session:
        found = visibility.shared_blobs(session, id_in(store, "apps/x"), B.digest)
    assert {one.digest: one for one in found} == {
        blob("config"): SharedBlob(blob("config"), 6, images=3, repositories=2),
        blob("a"): SharedBlob(blob("a"), 1, images=3, repositories=2),
        blob("b"): SharedBlob(blob("b"), 1, images=1, repositories=1),
    }


def test_usage_is_summed_by_namespace_and_by_owner(store: Store) -> None:
    with store.read() as session:
        by_namespace = visibility.usage(session, limit=10)
        assert visibility.usage(session, after="apps", limit=10) == by_namespace[1:]
        assert visibility.usage(session, name="ci", limit=10) == by_namespace[1:]
        assert visibility.usage(session, limit=1) == by_namespace[:1]
        [owner] = visibility.usage(session, by_owner=True, limit=10)
        held, stored = visibility.held_bytes(session), visibility.stored_bytes(session)
        assert visibility.held_bytes(session, ["ci/"]) == 8
    manifests = 2 * len(A.data) + len(B.data)
    assert (held, stored) == (24 + manifests, 8)
    assert by_namespace == [Sums("apps", 2, 4, 3, 16 + manifests), Sums("ci", 1, 0, 0, 8)]
    assert owner == Sums("tests", 3, 4, 3, 24 + manifests)


def test_referrers_are_counted(store: Store) -> None:
    push(store, "apps/x", image("a", subject=A.digest))
    with store.read() as session:
        number = id_in(store, "apps/x")
        assert visibility.count_referrers(session, number, A.digest) == 1
        assert visibility.present(session, number, [A.digest, blob("a")]) == {A.digest}
