"""The index against a simple model: after any steps, counters, tags and their history agree.

On both databases; each example is a repository of its own in one database.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlmodel import Session, col, select

from fleetwide.errors import Conflict, NotFound
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_manifests import ReferencesUnknown
from fleetwide.store.registry_tables import (
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryRow,
    TagRow,
)
from fleetwide.store.session import Store
from tests.registry_index import LEASE, NOW, blob, image, index

LAYERS = ["a", "bb", "ccc"]
IMAGES = {f"image {name}": image(name) for name in LAYERS} | {"image all": image(*LAYERS)}
INDEXES = {
    "index one": index(IMAGES["image a"]),
    "index two": index(IMAGES["image a"], IMAGES["image bb"]),
}
PUSHABLE = IMAGES | INDEXES
BY_DIGEST = {parsed.digest: name for name, parsed in PUSHABLE.items()}
TAGS = ["latest", "1", "2"]
numbers = count()


class Index(RuleBasedStateMachine):
    """``store`` is given by the test that runs it."""

    store: Store

    @initialize()
    def begin(self) -> None:
        self.name = f"property/r{next(numbers)}"
        self.blobs: set[str] = set()
        self.manifests: set[str] = set()
        self.tags: dict[str, str] = {}
        self.now = NOW
        with self.store.write() as session:
            repositories.ensure(session, self.name, by="me", now=NOW)

    @rule(name=st.sampled_from([*LAYERS, "config"]))
    def upload(self, name: str) -> None:
        with self.store.write() as session:
            row, until = self._row(session), self.now + LEASE
            blobs.admit(session, row, blob(name), len(name), now=self.now, lease_until=until)
        self.blobs.add(name)

    @rule(name=st.sampled_from([*LAYERS, "config"]))
    def delete_blob(self, name: str) -> None:
        used = any(blob(name) in self._held(one) for one in self.manifests)
        try:
            with self.store.write() as session:
                row = self._row(session)
                done = blobs.remove_membership(session, row, blob(name), now=self.now)
        except Conflict:
            assert used
            return
        assert not used
        assert done == (name in self.blobs)
        self.blobs.discard(name)

    @rule(name=st.sampled_from(sorted(PUSHABLE)), wanted=st.sets(st.sampled_from(TAGS)))
    def push(self, name: str, wanted: set[str]) -> None:
        parsed = PUSHABLE[name]
        here = {blob(one) for one in self.blobs} | {PUSHABLE[one].digest for one in self.manifests}
        needs = {one.digest for one in (*parsed.blobs, *parsed.children)}
        try:
            with self.store.write() as session:
                row = self._row(session)
                ordered = sorted(wanted)
                manifests.record(session, row, parsed, manifests.Push("me", self.now, ordered))
        except ReferencesUnknown as error:
            assert set(error.digests) == needs - here
            return
        assert needs <= here
        self.manifests.add(name)
        self.tags |= dict.fromkeys(wanted, name)

    @rule(tag=st.sampled_from(TAGS), name=st.sampled_from(sorted(PUSHABLE)))
    def move(self, tag: str, name: str) -> None:
        digest = PUSHABLE[name].digest
        try:
            with self.store.write() as session:
                tags.move(session, self._row(session), tag, digest, by="me", now=self.now)
        except NotFound:
            assert name not in self.manifests
            return
        assert name in self.manifests
        self.tags[tag] = name

    @rule(tag=st.sampled_from(TAGS))
    def delete_tag(self, tag: str) -> None:
        with self.store.write() as session:
            done = tags.delete(session, self._row(session), tag, by="me", now=self.now)
        assert done == (tag in self.tags)
        self.tags.pop(tag, None)

    @rule(name=st.sampled_from(sorted(PUSHABLE)))
    def delete_manifest(self, name: str) -> None:
        digest = PUSHABLE[name].digest
        with self.store.write() as session:
            done = manifests.delete(session, self._row(session), digest, by="me", now=self.now)
        assert done == (name in self.manifests)
        self.manifests.discard(name)
        self.tags = {tag: one for tag, one in self.tags.items() if one != name}

    @rule(tag=st.sampled_from(TAGS))
    def undo(self, tag: str) -> None:
        """What the API does: back to what the tag meant before, where that is still there."""
        with self.store.write() as session:
            row = self._row(session)
            number = repositories.id_of(row)
            found = tags.history(session, number, tag, limit=2)
            if tag not in self.tags or len(found) < 2:
                return
            before = BY_DIGEST[found[1].digest]
            if before in self.manifests:
                tags.move(session, row, tag, found[1].digest, by="me", now=self.now)
                self.tags[tag] = before

    @rule(minutes=st.sampled_from([1, 60, -30]))
    def time_passes(self, minutes: int) -> None:
        """Also backwards: another gateway's clock is slow."""
        self.now += timedelta(minutes=minutes)

    @invariant()
    def counters_are_true(self) -> None:
        if not hasattr(self, "name"):
            return
        with self.store.read() as session:
            row = self._row(session)
            assert row.tags == len(self.tags)
            assert row.manifests == len(self.manifests)
            assert row.size == sum(len(name) for name in self.blobs)

    @invariant()
    def what_is_listed_is_there(self) -> None:
        if not hasattr(self, "name"):
            return
        with self.store.read() as session:
            number = repositories.id_of(self._row(session))
            live = {row.name: BY_DIGEST[row.digest] for row in tags.page(session, number, limit=9)}
            assert live == self.tags
            found = session.exec(
                select(ManifestRow.digest).where(ManifestRow.repository_id == number)
            )
            assert {BY_DIGEST[digest] for digest in found} == self.manifests
            self._check_references(session, number)

    @invariant()
    def intervals_follow_each_other(self) -> None:
        if not hasattr(self, "name"):
            return
        with self.store.read() as session:
            number = repositories.id_of(self._row(session))
            for tag in TAGS:
                query = select(TagRow).where(TagRow.repository_id == number, TagRow.name == tag)
                rows = session.exec(query.order_by(col(TagRow.id))).all()
                for row in rows[:-1]:
                    assert row.ended_at is not None
                    assert row.started_at <= row.ended_at
                for earlier, later in pairwise(rows):
                    assert earlier.ended_at is not None
                    assert earlier.ended_at <= later.started_at

    def _row(self, session: Session) -> RepositoryRow:
        return repositories.require(session, self.name)

    def _held(self, name: str) -> set[str]:
        return {one.digest for one in PUSHABLE[name].blobs}

    def _check_references(self, session: Session, number: int) -> None:
        query = select(ManifestBlobRow).where(ManifestBlobRow.repository_id == number)
        held = {(BY_DIGEST[row.manifest], row.blob) for row in session.exec(query)}
        assert held == {(name, one) for name in self.manifests for one in self._held(name)}
        children = select(ManifestChildRow).where(ManifestChildRow.repository_id == number)
        found = {(BY_DIGEST[row.parent], row.child) for row in session.exec(children)}
        assert found == {(name, one) for name in self.manifests for one in _children(name)}


def _children(name: str) -> set[str]:
    parsed: ParsedManifest = PUSHABLE[name]
    return {one.digest for one in parsed.children}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def test_any_steps_leave_the_index_true(store: Store) -> None:
    class OnThis(Index):
        pass

    OnThis.store = store
    run_state_machine_as_test(
        OnThis,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
