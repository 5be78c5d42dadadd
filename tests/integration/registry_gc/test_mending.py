"""Whoever pushes or deletes in the middle of a reconciliation has the last word."""

import threading
from typing import Any

import pytest

from activities import registry_comparing, registry_reconcile
from fleetwide.models.registry_gc import Adoption, Difference, ReconcileOne, ReconcileReport
from fleetwide.settings import Settings
from fleetwide.store import registry_repositories, registry_tags
from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf

pytestmark = pytest.mark.integration
APP = "team/app"  # where no rule keeps tags from moving
BLOCKED_SECONDS = 1.0
"""How long a push is given that waits for the reconciliation; it gets through in far less."""


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The heartbeats."""
    phrases: list[str] = []
    for module in (registry_comparing, registry_reconcile):
        monkeypatch.setattr(module, "heartbeat", lambda phrase, _: phrases.append(phrase))
    return phrases


def reconcile(box: Shelf, rest: str = "") -> ReconcileReport:
    work = registry_reconcile.ReconcileActivities(Settings(), box.store, box.storage)
    one = ReconcileOne(name=APP, adoption=Adoption.ADOPT, settle_seconds=0, rest=rest)
    return work.reconcile_repository(one)


def meaning(box: Shelf, tag: str) -> str | None:
    with box.store.read() as session:
        row = registry_repositories.require(session, APP)
        found = registry_tags.live(session, row.id or 0, tag)
        return found.digest if found else None


def stored(box: Shelf, tag: str) -> str | None:
    found = box.storage.tag(APP, tag)
    return found.digest if found else None


class Meanwhile:
    """Pushes in a thread of its own, the first time that a step of the storage is taken."""

    def __init__(self, box: Shelf, step: str, *, after: bool = False) -> None:
        self.box = box
        self.after = after
        self.real = getattr(box.storage, step)
        self.thread: threading.Thread | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.thread is not None:
            return self.real(*arguments)
        self.thread = threading.Thread(target=self.act)
        found = self.real(*arguments) if self.after else None
        self.thread.start()
        self.thread.join(BLOCKED_SECONDS)
        return found if self.after else self.real(*arguments)

    def act(self) -> None:
        self.box.push(APP, image("b"), "v1")

    def end(self) -> None:
        assert self.thread is not None
        self.thread.join()


@pytest.fixture
def filled(box: Shelf) -> Shelf:
    box.upload(APP, "config", "a", "b")
    box.push(APP, image("b"))
    box.push(APP, image("a"), "v1")
    return box


def test_a_push_outlasts_the_mending_of_a_missing_tag(
    filled: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.storage.unlink_tag(APP, "v1")
    push = Meanwhile(filled, "put_tag")
    with monkeypatch.context() as patch:
        patch.setattr(filled.storage, "put_tag", push)
        assert reconcile(filled).counts == {Difference.MISSING_TAG: 1}
        push.end()
    reconcile(filled)
    assert meaning(filled, "v1") == stored(filled, "v1") == image("b").digest


class Again(Meanwhile):
    def act(self) -> None:
        self.box.push(APP, image("a"), "v1")


def test_a_push_outlasts_the_adoption_of_a_tag(
    filled: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.storage.put_tag(APP, "v1", image("b").digest)
    seen: list[int] = []
    push = Again(filled, "tag", after=True)

    def tag(*arguments: Any) -> Any:
        seen.append(1)
        # The first is the listing.
        return push(*arguments) if len(seen) == 2 else push.real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(filled.storage, "tag", tag)
        reconcile(filled)
        push.end()
    reconcile(filled)
    assert meaning(filled, "v1") == stored(filled, "v1") == image("a").digest


def test_a_repository_that_is_deleted_meanwhile_does_not_come_back(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.send(APP, "a")
    real = box.storage.blob

    def deleted(digest: str) -> Any:
        found = real(digest)
        box.storage.remove_repository(APP)
        return found

    monkeypatch.setattr(box.storage, "blob", deleted)
    assert reconcile(box).counts == {}
    with box.store.read() as session:
        assert registry_repositories.find(session, APP) is None


def test_a_blob_that_garbage_collection_removes_meanwhile_is_not_taken_over(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.send(APP, "a")
    answers = [box.storage.blob(blob("a"))] * 2
    monkeypatch.setattr(box.storage, "blob", lambda _: answers.pop() if answers else None)
    assert reconcile(box).counts == {}
    assert box.faults() == []


def test_a_large_repository_is_compared_stretch_by_stretch(
    box: Shelf, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    monkeypatch.setattr(registry_comparing, "STRETCH", 2)
    monkeypatch.setattr(registry_comparing, "BUDGET_SECONDS", 0)
    names = [f"layer{number}" for number in range(7)]
    box.upload(APP, "config", *names)
    parts = [image(name) for name in names]
    for number, part in enumerate(parts):
        box.put(APP, part, [f"v{number}", f"v{number}-x"])
    nested = index(index(*parts[:3]), index(*parts[3:]))
    for one in (nested, index(*parts[:3]), index(*parts[3:])):
        box.put(APP, one)
    box.put(APP, nested, ["all"])
    known = box.push(APP, parts[0], "lost")
    box.storage.unlink_tag(APP, "lost")
    report, tries = reconcile(box), 1
    while report.rest:
        more = reconcile(box, report.rest)
        report = report.plus(more).model_copy(update={"rest": more.rest})
        tries += 1
    assert report.counts == {
        Difference.UNKNOWN_MANIFEST: len(parts) - 1 + 3,
        Difference.UNKNOWN_TAG: 2 * len(parts) + 1,
        Difference.MISSING_TAG: 1,
    }
    assert (report.repositories, report.mended) == (1, sum(report.counts.values()))
    assert tries > 10
    assert meaning(box, "all") == nested.digest
    assert stored(box, "lost") == known.digest
    assert box.faults() == []
    assert reconcile(box).counts == {}
    # One for each name at the least.
    assert heard.count(f"listing {APP}") > len(names) + len(parts) + 2 * len(parts)
