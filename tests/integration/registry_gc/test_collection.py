"""What garbage collection removes, and what it must not, on both databases and a real layout."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from fleetwide.models.os_releases import ReleaseState
from fleetwide.models.registry_gc import GarbageBatch, Kept
from fleetwide.models.task_states import TaskState
from fleetwide.registry.digests import digest_of
from fleetwide.store import registry_gc, registry_gc_plan, registry_manifests, registry_repositories
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import BlobRow, RepositoryRow, ReviewRow
from fleetwide.store.tables import ImageDigestRow, JobRow, OSReleaseRow
from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf, grow_old, now, shelf

pytestmark = pytest.mark.integration
APP = "apps/hello"


def test_an_untagged_image_goes_with_all_that_only_it_had(box: Shelf) -> None:
    box.upload(APP, "config", "shared", "own")
    kept = box.push(APP, image("shared"), "kept")
    gone = box.push(APP, image("shared", "own"), "gone")
    box.untag(APP, "gone")
    report = box.collect()
    assert box.manifests(APP) == {kept.digest}
    assert box.stored("config", "shared", "own") == {"config", "shared"}
    assert box.storage.revision(APP, gone.digest) is None
    assert box.storage.blob(gone.digest) is None
    assert not box.storage.has_layer(APP, blob("own"))
    assert (report.manifests, report.blobs) == (1, 2)  # the blob, and the manifest's own bytes
    assert report.bytes == len("own") + len(gone.data)
    assert report.repositories[0].repository == APP
    assert box.faults() == []


def test_counters_of_the_repository_follow(box: Shelf) -> None:
    box.upload(APP, "config", "own")
    box.push(APP, image("own"), "gone")
    box.untag(APP, "gone")
    box.collect()
    with box.store.read() as session:
        row = session.exec(select(RepositoryRow)).one()
        assert (row.tags, row.manifests, row.size) == (0, 0, 0)
        assert session.exec(select(BlobRow)).all() == []


def test_the_queue_is_empty_in_the_end(box: Shelf) -> None:
    box.upload(APP, "config", "a", "b")
    box.push(APP, image("a"), "kept")
    box.push(APP, image("b"), "gone")
    box.untag(APP, "gone")
    box.collect()
    with box.store.read() as session:
        assert session.exec(select(ReviewRow)).all() == []


def test_an_index_keeps_its_images_until_it_goes(box: Shelf) -> None:
    box.upload(APP, "config", "a", "b")
    parts = [box.push(APP, image("a")), box.push(APP, image("b"))]
    whole = box.push(APP, index(*parts), "multi")
    assert box.collect().kept[Kept.CHILD] == 2
    assert len(box.manifests(APP)) == 3
    box.untag(APP, "multi")
    box.collect()
    assert box.manifests(APP) == set()
    assert box.storage.blob(whole.digest) is None
    assert box.stored("a", "b", "config") == set()


def test_what_refers_to_an_image_lives_as_long_as_it(box: Shelf) -> None:
    box.upload(APP, "config", "a", "signature")
    subject = box.push(APP, image("a"), "v1")
    signature = box.push(APP, image("signature", subject=subject.digest))
    assert box.collect().kept[Kept.REFERRER] == 1
    assert box.manifests(APP) == {subject.digest, signature.digest}
    box.untag(APP, "v1")
    box.collect()
    assert box.manifests(APP) == set()


def test_a_referrer_without_its_subject_goes(box: Shelf) -> None:
    box.upload(APP, "config", "signature")
    box.push(APP, image("signature", subject=digest_of(b"nowhere")))
    box.collect()
    assert box.manifests(APP) == set()


def test_an_image_that_something_uses_stays(box: Shelf) -> None:
    box.upload(APP, "config", "job", "batch", "release", "bake")
    images = {
        name: box.push(APP, image(name), name) for name in ("job", "batch", "release", "bake")
    }
    with box.store.write() as session:
        for kind, state in (("task", TaskState.STARTED), ("batch", "running")):
            digest = images["job" if kind == "task" else "batch"].digest
            session.add(
                JobRow(
                    workflow_id=f"{kind}/1",
                    run_id="r",
                    kind=kind,
                    app="a",
                    state=state,
                    image=f"elsewhere/it@{digest}",
                    spec={},
                    created_at=now(),
                )
            )
        session.add(
            OSReleaseRow(
                name="baseos",
                version="1",
                workflow_id="os/baseos/1",
                run_id="r",
                state=ReleaseState.HELD,
                image_digest=images["release"].digest,
                spec={},
                release={},
                created_at=now(),
            )
        )
        session.add(ImageDigestRow(digest=images["bake"].digest, bake_key="k", created_at=now()))
    for name in images:
        box.untag(APP, name)
    assert box.collect().kept[Kept.IN_USE] == 4
    assert len(box.manifests(APP)) == 4
    assert box.faults() == []
    # What stays for a use is looked at again, although nobody tells when a use ends.
    with box.store.write() as session:
        job = session.exec(select(JobRow).where(JobRow.kind == "task")).one()
        job.state = TaskState.FINISHED
        session.add(job)
        for review in session.exec(select(ReviewRow)):
            review.review_after = now()
            session.add(review)
    box.collect()
    assert images["job"].digest not in box.manifests(APP)
    assert len(box.manifests(APP)) == 3


def test_a_retired_release_no_longer_keeps_its_image(box: Shelf) -> None:
    box.upload("baseos/base", "config", "root")
    found = box.push("baseos/base", image("root"), "1")
    with box.store.write() as session:
        session.add(
            OSReleaseRow(
                name="base",
                version="1",
                workflow_id="os/base/1",
                run_id="r",
                state=ReleaseState.RETIRED,
                image_digest=found.digest,
                spec={},
                release={},
                created_at=now(),
            )
        )
    box.untag("baseos/base", "1")
    box.collect()
    assert box.manifests("baseos/base") == set()


def test_a_blob_of_two_repositories_stays_for_the_other(box: Shelf) -> None:
    for name in (APP, "apps/other"):
        box.upload(name, "config", "shared")
        box.push(name, image("shared"), "v1")
    box.untag(APP, "v1")
    report = box.collect()
    assert box.stored("shared", "config") == {"shared", "config"}
    assert not box.storage.has_layer(APP, blob("shared"))
    assert box.storage.has_layer("apps/other", blob("shared"))
    assert (report.manifests, report.links) == (1, 2)
    assert box.faults() == []


def test_the_bytes_of_a_manifest_stay_while_another_repository_has_it(box: Shelf) -> None:
    for name in (APP, "apps/other"):
        box.upload(name, "config", "shared")
        same = box.push(name, image("shared"), "v1")
    box.untag(APP, "v1")
    box.collect()
    assert box.storage.blob(same.digest) is not None
    assert box.storage.revision(APP, same.digest) is None
    assert box.faults() == []


def test_a_blob_without_a_manifest_stays_for_its_lease(database_url: str, tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    with shelf(database_url, tmp_path, lease=hour) as box:
        box.upload(APP, "leased")
        assert box.collect().kept == {Kept.FRESH: 1}
        assert box.stored("leased") == {"leased"}
        assert box.faults() == []
    with shelf(database_url, tmp_path) as box:
        box.admit(APP, "leased")  # does not shorten the lease
        box.collect()
        assert box.stored("leased") == {"leased"}


def test_what_was_touched_is_left_alone_for_the_delay(database_url: str, tmp_path: Path) -> None:
    with shelf(database_url, tmp_path, delay=timedelta(hours=24)) as box:
        box.upload(APP, "config", "a")
        box.push(APP, image("a"), "v1")
        box.untag(APP, "v1")
        assert box.collect().reviewed == 0
        with box.store.write() as session:
            for row in session.exec(select(ReviewRow)):
                row.review_after = now()
                session.add(row)
        report = box.collect()
        assert report.manifests == 0
        assert report.kept[Kept.FRESH] == 1
        assert len(box.manifests(APP)) == 1


def test_a_plan_tells_what_would_go_and_changes_nothing(box: Shelf) -> None:
    box.upload(APP, "config", "a", "own", "signature")
    box.push(APP, image("a"), "kept")
    child = box.push(APP, image("own"))
    whole = box.push(APP, index(child), "gone")
    box.push(APP, image("signature", subject=whole.digest))
    box.untag(APP, "gone")
    before = sorted(path for path in box.root.rglob("*") if path.is_file())
    with box.store.read() as session:
        plan = registry_gc_plan.plan(session, now=now(), told=lambda _: None)
    assert sorted(path for path in box.root.rglob("*") if path.is_file()) == before
    assert len(box.manifests(APP)) == 4
    assert (plan.dry_run, plan.manifests, plan.blobs) == (True, 3, 2)
    assert plan.bytes == len("own") + len("signature")
    [share] = plan.repositories
    assert (share.repository, share.manifests, share.blobs) == (APP, 3, 2)
    report = box.collect()
    assert report.manifests == plan.manifests
    assert box.stored("a", "own", "signature", "config") == {"a", "config"}


def test_a_plan_tells_what_comes_when_it_is_due(database_url: str, tmp_path: Path) -> None:
    day, heard = timedelta(hours=24), list[str]()
    with shelf(database_url, tmp_path, delay=day) as box:
        box.upload(APP, "config", "a", "own", "loose")
        box.push(APP, image("a"), "kept")
        box.push(APP, image("own"), "gone")
        box.untag(APP, "gone")
        with box.store.read() as session:
            plan = registry_gc_plan.plan_all(session, now=now(), told=heard.append)
            later = registry_gc_plan.plan_all(session, now=now() + 2 * day, told=heard.append)
    assert (plan.manifests, plan.blobs, plan.reviewed) == (0, 0, 0)
    assert plan.coming is not None
    assert (plan.coming.manifests, plan.coming.blobs) == (1, 2)
    assert plan.coming.bytes == len("own") + len("loose")
    assert day - timedelta(minutes=10) < plan.coming.by - now() <= day
    assert "removed" not in plan.sentence
    assert "; 1 manifests and 2 blobs, 0.0 MiB more by " in plan.sentence
    assert (later.manifests, later.blobs, later.coming) == (1, 2, None)
    assert len(heard) > 4


def test_what_a_killed_collection_marked_is_finished_or_revived(box: Shelf) -> None:
    box.upload(APP, "dead", "revived")
    with box.store.write() as session:
        rows = registry_gc.due(session, now(), 10)
        outcome = registry_gc.collect_blobs(session, rows, now=now())
    assert len(outcome.removed) == 2
    box.lease = timedelta(hours=1)
    box.admit(APP, "revived")
    box.collect()
    assert box.stored("dead", "revived") == {"revived"}
    assert box.faults() == []


def test_a_manifest_that_comes_back_is_put_there_again(box: Shelf) -> None:
    """Its push wrote to Distribution before the collection's removal, and records it after."""
    box.upload(APP, "config", "a")
    lost = box.push(APP, image("a"), "v1")
    box.untag(APP, "v1")
    first = GarbageBatch(limit=1, per_second=1e6)
    box.collector.reviews(first, lambda _: None)
    while box.storage.revision(APP, lost.digest) is not None:
        box.collector.reviews(first, lambda _: None)
    box.upload(APP, "config", "a")
    box.record(APP, lost, ["v2"])
    assert box.storage.revision(APP, lost.digest) is None
    box.collect()
    assert box.manifests(APP) == {lost.digest}
    assert box.faults() == []


def test_old_uploads_go_and_fresh_ones_stay(box: Shelf) -> None:
    uploads = box.root / "docker/registry/v2/repositories" / APP / "_uploads"
    for name in ("old", "fresh"):
        (uploads / name).mkdir(parents=True)
        (uploads / name / "startedat").write_text("2026")
        (uploads / name / "data").write_bytes(b"x")
    for file in ("startedat", "data"):
        grow_old(uploads / "old" / file, 25)
    object.__setattr__(box.collector, "upload_age", timedelta(hours=24))
    dry = GarbageBatch(limit=10, per_second=1e6, dry_run=True)
    assert box.collector.leftovers(dry, lambda _: None).report.uploads == 1
    assert {path.name for path in uploads.iterdir()} == {"old", "fresh"}
    with (uploads / "old/data").open("rb") as held:  # as Distribution does after a full disk
        done = box.collector.leftovers(GarbageBatch(limit=10, per_second=1e6), lambda _: None)
        assert os.fstat(held.fileno()).st_size == 0
    assert done.report.uploads == 1
    assert not done.more
    assert {path.name for path in uploads.iterdir()} == {"fresh"}


def test_an_empty_repository_that_nobody_knows_goes_from_the_storage(box: Shelf) -> None:
    folders = box.root / "docker/registry/v2/repositories"
    for name in ("strange/empty", "strange/full", APP):
        (folders / name / "_layers/sha256/abc").mkdir(parents=True)
    (folders / "strange/full/_layers/sha256/abc/link").write_text("x")
    box.upload(APP, "a")
    dry = GarbageBatch(limit=10, per_second=1e6, dry_run=True)
    assert box.collector.leftovers(dry, lambda _: None).report.empty == 1
    assert (folders / "strange/empty").exists()
    done = box.collector.leftovers(GarbageBatch(limit=10, per_second=1e6), lambda _: None)
    assert done.report.empty == 1
    assert list(box.storage.repositories()) == [APP, "strange/full"]


def test_a_review_of_what_somebody_deleted_is_dropped(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    parsed = box.push(APP, image("a"))
    with box.store.write() as session:
        row = registry_repositories.require(session, APP)
        registry_manifests.delete(session, row, parsed.digest, by="tests", now=now())
    assert box.collect().kept[Kept.GONE] == 1
    assert box.stored("config", "a") == set()


def test_what_lost_its_reference_after_a_batch_was_read_waits_anew(
    box: Shelf, database_url: str
) -> None:
    """A HEAD before that said that it stays; the push that relies on it is still on its way."""
    box.upload(APP, "config", "a", "b")
    child = box.push(APP, image("a"))
    parent, other = box.push(APP, index(child), "set"), box.push(APP, image("b"), "other")
    with box.store.write() as session:
        number = id_of(registry_repositories.require(session, APP))
        reviews.enqueue(session, reviews.MANIFEST, number, [child.digest], "untagged", now=now())
        reviews.enqueue(session, reviews.BLOB, 0, [blob("b")], "unreferenced", now=now())
    with box.store.read() as session:
        rows = registry_gc.due(session, now(), 100)
    with shelf(database_url, box.root, delay=timedelta(hours=1)) as patient:
        for one in (parent, other):
            with patient.store.write() as session:
                row = registry_repositories.require(session, APP)
                registry_manifests.delete(session, row, one.digest, by="tests", now=now())
    of_manifests = [row for row in rows if row.digest == child.digest]
    of_blobs = [row for row in rows if row.digest == blob("b")]
    assert (len(of_manifests), len(of_blobs)) == (1, 1)
    with box.store.write() as session:
        assert not registry_gc.collect_manifests(session, number, of_manifests, now=now()).removed
    with box.store.write() as session:
        assert not registry_gc.collect_blobs(session, of_blobs, now=now()).unlinked
    assert child.digest in box.manifests(APP)
    with box.store.read() as session:
        waiting = {row.digest for row in session.exec(select(ReviewRow))}
    assert {child.digest, blob("b")} <= waiting


def test_the_bytes_of_a_deleted_manifest_go_too(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    gone = box.push(APP, image("a"), "v1")
    box.storage.unlink_revision(APP, gone.digest)
    with box.store.write() as session:
        row = registry_repositories.require(session, APP)
        registry_manifests.delete(session, row, gone.digest, by="tests", now=now())
    box.collect()
    assert box.storage.blob(gone.digest) is None
    assert box.stored("config", "a") == set()
    with box.store.read() as session:
        assert session.exec(select(BlobRow)).all() == []
