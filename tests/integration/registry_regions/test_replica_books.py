"""The books of copies, on both databases."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from fleetwide.models.registry_regions import UPSTREAM
from fleetwide.store import registry_replicas as replicas
from fleetwide.store import registry_repositories, registry_tags
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import ReplicaRow
from fleetwide.store.session import Store
from tests.registry_index import NOW, blob, image, index, push, upload

pytestmark = pytest.mark.integration
APP, FAR = "apps/x", "far"
ONE, TWO = image("a"), image("a", "b")
BOTH = index(ONE, TWO)
SIGNATURE = image("s", subject=ONE.digest)
LATER = NOW + timedelta(hours=1)
LIFE = timedelta(seconds=30)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, APP, "config", "a", "b", "s")
    for one in (ONE, TWO):
        push(opened, APP, one)
    push(opened, APP, BOTH, tags=["1.0"])
    push(opened, APP, SIGNATURE)
    yield opened
    opened.engine.dispose()


def book(store: Store, state: str, *digests: str, region: str = FAR) -> None:
    row = ReplicaRow(repository=APP, digest=digests[0], region=region, state=state, updated_at=NOW)
    with store.write() as session:
        replicas.book(session, row, digests)


def lacking(store: Store, after: str = "", limit: int = 10) -> list[str]:
    with store.read() as session:
        row = registry_repositories.require(session, APP)
        return replicas.lacking(session, row, FAR, after, limit)


def test_what_belongs_to_an_image(store: Store) -> None:
    with store.read() as session:
        number = id_of(registry_repositories.require(session, APP))
        both = replicas.node(session, number, BOTH.digest)
        one = replicas.node(session, number, ONE.digest)
        assert replicas.node(session, number, blob("a")) is None
        found = replicas.blobs_of(session, number, [ONE.digest, TWO.digest])
    assert both is not None
    assert set(both.children) == {ONE.digest, TWO.digest}
    assert one is not None
    assert one.referrers == (SIGNATURE.digest,)
    assert [one.digest for one in found] == sorted(blob(name) for name in ("config", "a", "b"))


def test_what_is_not_whole_in_a_region_is_found_page_by_page(store: Store) -> None:
    everything = sorted(one.digest for one in (ONE, TWO, BOTH, SIGNATURE))
    assert lacking(store) == everything
    assert lacking(store, limit=2) + lacking(store, everything[1]) == everything
    book(store, replicas.PRESENT, ONE.digest, TWO.digest)
    book(store, replicas.FAILED, SIGNATURE.digest)
    assert lacking(store) == sorted([BOTH.digest, SIGNATURE.digest])


def test_a_copy_that_is_older_than_its_newest_tag_is_looked_at_again(store: Store) -> None:
    book(store, replicas.PRESENT, *(one.digest for one in (ONE, TWO, BOTH, SIGNATURE)))
    assert lacking(store) == []
    push(store, APP, TWO, tags=["2.0"], now=LATER)
    assert lacking(store) == [TWO.digest]


def test_a_blob_is_mounted_from_a_whole_copy_alone(store: Store) -> None:
    wanted = [blob("a"), blob("b")]
    book(store, replicas.COPYING, TWO.digest)
    with store.read() as session:
        assert replicas.mount_sources(session, FAR, wanted) == {}
    book(store, replicas.PRESENT, ONE.digest)
    with store.read() as session:
        assert replicas.mount_sources(session, FAR, wanted) == {blob("a"): APP}
        assert replicas.mount_sources(session, "near", wanted) == {}
        assert replicas.holders(session, blob("a")) == [(FAR, APP)]


def test_one_fetches_from_an_upstream_until_it_is_done_or_silent(store: Store) -> None:
    def claim(owner: str, seconds: int) -> bool:
        at = NOW + timedelta(seconds=seconds)
        with store.write() as session:
            return replicas.claim(session, APP, blob("a"), owner, now=at, life=LIFE)

    assert claim("first", 0)
    assert not claim("second", 10)
    assert claim("first", 20)
    assert not claim("second", 45)
    assert claim("second", 51)
    with store.write() as session:
        replicas.release(session, APP, blob("a"), "first")
    assert not claim("third", 52)
    with store.write() as session:
        replicas.release(session, APP, blob("a"), "second")
    assert claim("third", 53)
    with store.read() as session:
        assert replicas.of_digest(session, APP, blob("a")) == []
        assert replicas.find(session, APP, blob("a"), UPSTREAM) is not None


def test_the_tags_that_mean_an_image_or_meant_it_once_are_found_by_indexes(store: Store) -> None:
    push(store, APP, ONE, tags=["latest", "gone"], now=LATER)
    push(store, APP, TWO, tags=["latest"], now=LATER + LIFE)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        asked.append((text, values))

    with store.write() as session:
        row = registry_repositories.require(session, APP)
        registry_tags.delete(session, row, "gone", by="", now=LATER + LIFE)
    with store.read() as session:
        number = id_of(registry_repositories.require(session, APP))
        event.listen(store.engine, "before_cursor_execute", note)
        assert replicas.tags_ever_of(session, number, ONE.digest) == ["gone", "latest"]
        event.remove(store.engine, "before_cursor_execute", note)
        assert replicas.tags_ever_of(session, number, TWO.digest) == ["latest"]
        assert replicas.tags_ever_of(session, number, BOTH.digest) == ["1.0"]
        if store.engine.dialect.name == "postgresql":
            return  # of a few rows it may read all
        plans = [
            str(session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all())
            for text, values in asked
        ]
    assert "ix_registry_tag_digest" in plans[0]
    assert "ix_registry_tag_ended" in plans[1]
