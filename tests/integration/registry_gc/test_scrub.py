"""What a scrub finds and mends, also when it is killed in the middle or somebody writes meanwhile."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select, update

from activities import registry_scrub, registry_scrub_manifests
from activities.registry_scrub import ScrubActivities
from fleetwide.models.registry_gc import ScrubBatch, ScrubReport
from fleetwide.store import registry_broken
from fleetwide.store.registry_tables import BlobRow, ManifestRow
from fleetwide.store.tables import EventRow
from tests.registry_index import blob, image
from tests.registry_shelf import Shelf

pytestmark = pytest.mark.integration
APP = "apps/hello"


@pytest.fixture(autouse=True)
def outside_of_temporal(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registry_scrub, registry_scrub_manifests):
        monkeypatch.setattr(module, "heartbeat", lambda *_: None)


def scrub(box: Shelf, **more: Any) -> ScrubReport:
    """All of it, batch by batch, as the workflow does."""
    report, cursor = ScrubReport(), ""
    while True:
        batch = ScrubBatch(**{"after": cursor, "bytes_per_second": 1e9, "seconds": 60, **more})
        done = ScrubActivities(box.store, box.storage).scrub_blobs(batch)
        report = report.plus(done.report)
        if done.cursor is None:
            return report
        cursor = done.cursor


def place(box: Shelf, digest: str) -> Path:
    digits = digest.removeprefix("sha256:")
    return box.root / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"


def state(box: Shelf, name: str) -> str:
    with box.store.read() as session:
        return session.get_one(BlobRow, blob(name)).state


def told(box: Shelf, kind: str) -> int:
    with box.store.read() as session:
        return len(session.exec(select(EventRow).where(EventRow.kind == kind)).all())


def fill(box: Shelf) -> str:
    box.upload(APP, "config", "a")
    return box.push(APP, image("a"), "v1").digest


def manifest_states(box: Shelf) -> list[str]:
    with box.store.read() as session:
        return list(session.exec(select(ManifestRow.state)))


def test_a_kill_before_wrong_bytes_are_away_leaves_no_blob_that_an_upload_would_heal(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(box)
    place(box, blob("a")).write_bytes(b"b")

    def killed(_digest: str) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(box.storage, "remove_blob", killed)
        with pytest.raises(RuntimeError, match="killed"):
            scrub(box)
    assert (state(box, "a"), told(box, "blob-broken")) == ("live", 0)
    assert scrub(box).broken == [blob("a")]
    assert (state(box, "a"), box.storage.blob(blob("a"))) == ("broken", None)
    assert [one.read_bytes() for one in (box.root / "fleetwide-broken").iterdir()] == [b"b"]


def test_a_kill_after_wrong_bytes_are_away_is_made_good_by_the_next_try(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(box)
    place(box, blob("a")).write_bytes(b"b")
    real = box.storage.remove_blob

    def killed(digest: str) -> None:
        real(digest)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(box.storage, "remove_blob", killed)
        with pytest.raises(RuntimeError, match="killed"):
            scrub(box)
    assert scrub(box).broken == [blob("a")]
    assert state(box, "a") == "broken"


def test_an_upload_heals_a_blob_and_the_manifests_that_were_broken_with_it(box: Shelf) -> None:
    fill(box)
    box.upload(APP, "c")
    box.push(APP, image("a", "c"), "both")
    for name in ("a", "c"):
        place(box, blob(name)).write_bytes(b"b")
    assert scrub(box).broken_count == 2
    assert manifest_states(box) == ["broken", "broken"]
    box.upload(APP, "a")
    assert sorted(manifest_states(box)) == ["broken", "live"]
    box.upload("apps/other", "c")  # the bytes are the same wherever they come in
    assert manifest_states(box) == ["live", "live"]
    assert told(box, "blob-healed") == 2
    assert box.faults() == []


def test_bytes_that_came_while_the_blob_was_judged_stay(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(box)
    box.storage.remove_blob(blob("a"))
    real = registry_broken.mark_broken

    def mark(*arguments: Any, **more: Any) -> bool:
        box.storage.put_blob(blob("a"), [b"a"])
        return real(*arguments, **more)

    monkeypatch.setattr(registry_broken, "mark_broken", mark)
    assert scrub(box).broken == []
    assert (state(box, "a"), box.stored("a")) == ("live", {"a"})


def test_a_blob_that_would_take_too_long_is_read_faster_and_that_is_said(
    box: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.upload(APP, "a")
    assert scrub(box).hurried == 0
    monkeypatch.setattr(registry_scrub, "LONGEST_SECONDS", 0.001)
    report = scrub(box, bytes_per_second=0.0001)  # by which it would take three hours
    assert (report.hurried, report.broken) == (1, [])
    assert "1 faster than asked for" in report.sentence


def write_index(box: Shelf, digest: str, data: bytes) -> None:
    with box.store.write() as session:
        wrong = update(ManifestRow).where(col(ManifestRow.digest) == digest)
        session.exec(wrong.values(data=data))


def indexed(box: Shelf, digest: str) -> set[bytes]:
    with box.store.read() as session:
        query = select(ManifestRow.data).where(ManifestRow.digest == digest)
        return set(session.exec(query))


def test_a_manifest_that_is_wrong_in_the_index_is_mended_from_distribution(box: Shelf) -> None:
    digest = fill(box)
    write_index(box, digest, b"{}")
    assert (scrub(box).mended, indexed(box, digest)) == (1, {image("a").data})
    assert told(box, "manifest-mended") == 1
    assert scrub(box).mended == 0


@pytest.mark.parametrize("there", [b"{}", None])
def test_a_manifest_that_distribution_lost_or_has_wrong_is_mended_from_the_index(
    box: Shelf, there: bytes | None
) -> None:
    digest = fill(box)
    if there is None:
        box.storage.remove_blob(digest)
    else:
        place(box, digest).write_bytes(there)
    report = scrub(box)
    assert (report.manifests, report.mended, report.broken) == (1, 1, [])
    assert place(box, digest).read_bytes() == image("a").data
    assert scrub(box).mended == 0


def test_one_repositorys_manifest_mends_anothers(box: Shelf) -> None:
    digest = fill(box)
    write_index(box, digest, b"{}")
    box.upload("apps/other", "config", "a")
    box.push("apps/other", image("a"), "v1")
    box.storage.remove_blob(digest)
    assert scrub(box).mended == 2
    assert indexed(box, digest) == {image("a").data}
    assert box.faults() == []


def test_a_manifest_that_nobody_has_is_broken_until_it_is_pushed_again(box: Shelf) -> None:
    digest = fill(box)
    write_index(box, digest, b"{}")
    place(box, digest).write_bytes(b"[]")
    assert scrub(box).broken == [digest]
    assert (manifest_states(box), told(box, "manifest-broken")) == (["broken"], 1)
    assert scrub(box).broken_count == 1
    assert told(box, "manifest-broken") == 1


def test_a_scrub_goes_on_among_the_manifests(box: Shelf) -> None:
    box.upload(APP, "config", *(f"layer{number}" for number in range(5)))
    for number in range(5):
        box.push(APP, image(f"layer{number}"), f"v{number}")
    report = scrub(box, seconds=0)
    assert (report.blobs, report.manifests) == (6, 5)
