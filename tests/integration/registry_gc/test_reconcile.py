"""Every way in which index and storage can differ, and what mends it."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from activities import (
    registry_comparing,
    registry_reconcile,
    registry_scrub,
    registry_scrub_manifests,
)
from activities.registry_reconcile import ReconcileActivities
from activities.registry_scrub import ScrubActivities
from fleetwide.models.registry_gc import (
    Adoption,
    Difference,
    ReconcileOne,
    ReconcileReport,
    ScrubBatch,
)
from fleetwide.settings import Settings
from fleetwide.store import registry_repositories, registry_tags
from fleetwide.store.registry_tables import BlobRow, ManifestRow, RepositoryBlobRow
from fleetwide.store.tables import EventRow
from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf, now

pytestmark = pytest.mark.integration
APP = "apps/hello"


class Replica:
    """Another region that has some blobs."""

    def __init__(self, **bytes_of: bytes) -> None:
        self.bytes_of = {blob(name): data for name, data in bytes_of.items()}

    def fetch(self, repository: str, digest: str) -> Any:
        data = self.bytes_of.get(digest)
        return None if data is None else iter([data])


@pytest.fixture(autouse=True)
def outside_of_temporal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The activities' code as it is, without a worker to send heartbeats to."""
    for module in (
        registry_comparing,
        registry_reconcile,
        registry_scrub,
        registry_scrub_manifests,
    ):
        monkeypatch.setattr(module, "heartbeat", lambda *_: None)


def activities(box: Shelf, **settings: Any) -> ReconcileActivities:
    return ReconcileActivities(Settings(**settings), box.store, box.storage)


def reconcile(
    box: Shelf, name: str = APP, adoption: Adoption = Adoption.ADOPT, **settings: Any
) -> ReconcileReport:
    one = ReconcileOne(name=name, adoption=adoption, settle_seconds=0)
    return activities(box, **settings).reconcile_repository(one)


def blobs(box: Shelf, *names: str, adoption: Adoption = Adoption.ADOPT) -> ReconcileReport:
    report = ReconcileReport()
    for prefix in sorted({blob(name).removeprefix("sha256:")[:2] for name in names}):
        one = ReconcileOne(name=prefix, adoption=adoption, settle_seconds=0)
        report = report.plus(activities(box).reconcile_blobs(one))
    return report


def meaning(box: Shelf, tag: str, name: str = APP) -> str | None:
    with box.store.read() as session:
        row = registry_repositories.require(session, name)
        found = registry_tags.live(session, row.id or 0, tag)
        return found.digest if found else None


def test_what_agrees_is_left_alone(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    box.push(APP, index(box.push(APP, image("a"))), "v1")
    assert reconcile(box).counts == {}
    assert blobs(box, "config", "a").counts == {}


def test_an_image_that_somebody_pushed_past_the_gateway_is_taken_over(box: Shelf) -> None:
    parts = [image("a"), image("b")]
    box.send(APP, "config", "a", "b")
    for part in parts:
        box.put(APP, part)
    box.put(APP, index(*parts), ["v1"])
    report = reconcile(box)
    assert report.counts == {
        Difference.UNKNOWN_LINK: 3,
        Difference.UNKNOWN_MANIFEST: 3,
        Difference.UNKNOWN_TAG: 1,
    }
    assert meaning(box, "v1") == index(*parts).digest
    assert box.faults() == []
    assert reconcile(box).counts == {}


def test_with_alarm_it_is_only_told(box: Shelf) -> None:
    box.send(APP, "config", "a")
    box.put(APP, image("a"), ["v1"])
    report = reconcile(box, adoption=Adoption.ALARM)
    assert report.mended == 0
    assert report.counts[Difference.UNKNOWN_TAG] == 1
    with box.store.read() as session:
        assert session.exec(select(ManifestRow)).all() == []
        event = session.exec(select(EventRow).where(EventRow.kind == "reconciled")).one()
    assert event.subject == f"registry/{APP}"
    assert event.data["counts"]["unknownTag"] == 1


def test_a_manifest_that_refers_to_what_is_not_there_is_not_taken_over(box: Shelf) -> None:
    box.put(APP, image("nowhere"), ["v1"])
    report = reconcile(box)
    assert report.mended == 0
    assert any("told only" in text for text in report.examples)


def test_what_distribution_lost_is_put_there_again(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    parsed = box.push(APP, image("a"), "v1")
    box.storage.unlink_revision(APP, parsed.digest)
    box.storage.remove_blob(parsed.digest)
    box.storage.unlink_tag(APP, "v1")
    box.storage.unlink_layer(APP, blob("a"))
    report = reconcile(box)
    assert report.counts == {
        Difference.MISSING_LINK: 1,
        Difference.MISSING_MANIFEST: 1,
        Difference.MISSING_TAG: 1,
    }
    assert report.mended == 3
    found = box.storage.tag(APP, "v1")
    assert found is not None
    assert found.digest == parsed.digest
    assert box.faults() == []


def test_a_tag_that_was_deleted_goes_from_the_storage_too(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    box.push(APP, image("a"), "v1", "v2")
    box.untag(APP, "v1")
    assert reconcile(box).counts == {Difference.ENDED_TAG: 1}
    assert [tag.name for tag in box.storage.tags(APP)] == ["v2"]
    assert reconcile(box).counts == {}


def test_a_tag_that_was_moved_past_the_gateway_follows_or_is_put_back(box: Shelf) -> None:
    box.upload("team/app", "config", "a", "b")
    first = box.push("team/app", image("a"), "v1")
    second = box.push("team/app", image("b"))
    box.storage.put_tag("team/app", "v1", second.digest)
    report = reconcile(box, "team/app", Adoption.ALARM)
    assert report.counts == {Difference.TAG_DIFFERS: 1}
    assert meaning(box, "v1", "team/app") == first.digest
    assert reconcile(box, "team/app").counts == {}
    box.storage.put_tag("team/app", "v1", second.digest)
    reconcile(box, "team/app")
    assert meaning(box, "v1", "team/app") == second.digest


def test_an_immutable_tag_is_put_back_in_any_case(box: Shelf) -> None:
    box.upload(APP, "config", "a", "b")
    first = box.push(APP, image("a"), "1.0.0")
    second = box.push(APP, image("b"))
    box.storage.put_tag(APP, "1.0.0", second.digest)
    assert reconcile(box).mended == 1
    assert meaning(box, "1.0.0") == first.digest
    found = box.storage.tag(APP, "1.0.0")
    assert found is not None
    assert found.digest == first.digest


def test_a_stray_blob_is_put_up_for_review(box: Shelf) -> None:
    box.storage.put_blob(blob("stray"), [b"stray"])
    assert blobs(box, "stray").counts == {Difference.STRAY_BLOB: 1}
    assert blobs(box, "stray").counts == {}
    box.collect()
    assert box.stored("stray") == set()


def test_what_was_only_told_of_loses_none_of_its_bytes(box: Shelf) -> None:
    box.send(APP, "config", "a")
    box.put(APP, image("a"), ["v1"])
    assert reconcile(box, adoption=Adoption.ALARM).told > 0
    report = blobs(box, "config", "a", adoption=Adoption.ALARM)
    assert report.counts == {Difference.STRAY_BLOB: report.told}
    box.collect()
    assert box.stored("config", "a") == {"config", "a"}
    reconcile(box)
    assert meaning(box, "v1") == image("a").digest


def test_a_link_without_bytes_is_removed(box: Shelf) -> None:
    box.upload(APP, "a")
    box.storage.link_layer(APP, blob("nothing"))
    assert reconcile(box).counts == {Difference.UNKNOWN_LINK: 1}
    assert not box.storage.has_layer(APP, blob("nothing"))


def test_a_lost_blob_is_broken_until_it_comes_back(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    parsed = box.push(APP, image("a"), "v1")
    box.storage.remove_blob(blob("a"))
    assert blobs(box, "a").counts == {Difference.MISSING_BLOB: 1}
    with box.store.read() as session:
        assert session.get_one(BlobRow, blob("a")).state == "broken"
        assert session.exec(select(ManifestRow.state)).all() == ["broken"]
        event = session.exec(select(EventRow).where(EventRow.kind == "blob-broken")).one()
    assert event.subject == f"registry/{APP}"
    assert blobs(box, "a").counts == {}
    box.storage.put_blob(blob("a"), [b"a"])
    report = ScrubActivities(box.store, box.storage).scrub_blobs(
        ScrubBatch(after="", bytes_per_second=1e9, seconds=60)
    )
    assert (report.report.healed, report.report.broken_count) == (1, 0)
    assert box.faults() == []
    with box.store.read() as session:
        assert session.exec(select(ManifestRow.state)).all() == ["live"]
    assert parsed.digest in box.manifests(APP)


def corrupt(box: Shelf, name: str, data: bytes) -> Path:
    digits = blob(name).removeprefix("sha256:")
    path = box.root / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    path.write_bytes(data)
    return path


def test_wrong_bytes_are_set_aside_so_that_a_push_can_bring_right_ones(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    box.push(APP, image("a"), "v1")
    path = corrupt(box, "a", b"b")
    scrub = ScrubActivities(box.store, box.storage)
    batch = ScrubBatch(after="", bytes_per_second=1e9, seconds=60)
    done = scrub.scrub_blobs(batch)
    assert (done.cursor, done.report.broken) == (None, [blob("a")])
    assert not path.exists()
    assert [one.read_bytes() for one in (box.root / "fleetwide-broken").iterdir()] == [b"b"]
    box.upload(APP, "a")
    assert box.faults() == []


def test_a_replica_brings_what_is_broken(box: Shelf) -> None:
    box.upload(APP, "config", "a", "c")
    box.push(APP, image("a", "c"), "v1")
    corrupt(box, "a", b"b")
    corrupt(box, "c", b"b")
    replica = Replica(a=b"a", c=b"wrong too")
    scrub = ScrubActivities(box.store, box.storage, replica)
    done = scrub.scrub_blobs(ScrubBatch(after="", bytes_per_second=1e9, seconds=60))
    assert (done.report.broken_count, done.report.fetched) == (2, 1)
    assert box.stored("a", "c") == {"a"}


def test_a_scrub_goes_on_where_it_stopped(box: Shelf) -> None:
    box.upload(APP, *(f"layer{number}" for number in range(5)))
    scrub = ScrubActivities(box.store, box.storage)
    cursor: str | None = ""
    seen = 0
    while cursor is not None:
        done = scrub.scrub_blobs(ScrubBatch(after=cursor, bytes_per_second=1e9, seconds=0))
        cursor, seen = done.cursor, seen + done.report.blobs
    assert seen == 5


def test_a_blob_that_came_by_a_link_is_collected_when_nothing_refers_to_it(box: Shelf) -> None:
    box.send(APP, "left")
    reconcile(box, registry_lease_seconds=60)
    with box.store.write() as session:
        row = session.exec(select(RepositoryBlobRow)).one()
        row.lease_until = now()
        session.add(row)
    box.collect()
    assert box.stored("left") == set()
    assert not box.storage.has_layer(APP, blob("left"))
