"""What is garbage, and how index and storage differ: judgements without I/O."""

from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.models.registry_gc import (
    Difference,
    GarbageReport,
    Kept,
    ReconcileReport,
    RepositoryShare,
)
from fleetwide.registry.garbage import (
    BlobFacts,
    ManifestFacts,
    Membership,
    judge_blob,
    judge_manifest,
)
from fleetwide.registry.reconcile import IndexView, Meaning, StorageView, compare

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
OLD = NOW - 2 * DAY
LONELY = ManifestFacts(tagged=False, child=False, subject_lives=False, in_use=False, touched_at=OLD)
A, B = ("sha256:" + letter * 64 for letter in "ab")


def test_a_manifest_goes_when_nothing_speaks_for_it() -> None:
    assert judge_manifest(LONELY, NOW, DAY).goes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tagged": True}, Kept.TAGGED),
        ({"child": True}, Kept.CHILD),
        ({"subject_lives": True}, Kept.REFERRER),
        ({"in_use": True}, Kept.IN_USE),
        ({"touched_at": NOW - DAY / 2}, Kept.FRESH),
    ],
)
def test_any_one_reason_keeps_a_manifest(change: dict[str, object], reason: Kept) -> None:
    facts = ManifestFacts(**{**LONELY.__dict__, **change})
    assert judge_manifest(facts, NOW, DAY).kept is reason


def test_uses_are_asked_for_again_since_nobody_tells_when_they_end() -> None:
    used = ManifestFacts(**{**LONELY.__dict__, "in_use": True})
    assert judge_manifest(used, NOW, DAY).later == NOW + DAY
    assert judge_manifest(used, NOW, timedelta()).later == NOW + timedelta(minutes=1)


def member(number: int, *, referenced: bool = False, leased: bool = False) -> Membership:
    return Membership(number, referenced, NOW + DAY if leased else OLD)


def blob(*members: Membership, touched_at: datetime = OLD, manifest: bool = False) -> BlobFacts:
    return BlobFacts(members, is_manifest=manifest, touched_at=touched_at)


def test_a_blob_goes_when_it_belongs_nowhere() -> None:
    assert judge_blob(blob(), NOW, DAY).goes
    verdict = judge_blob(blob(member(1), member(2)), NOW, DAY)
    assert verdict.goes
    assert verdict.unlink == (1, 2)


def test_a_blob_leaves_one_repository_and_stays_for_another() -> None:
    verdict = judge_blob(blob(member(1), member(2, referenced=True)), NOW, DAY)
    assert (verdict.kept, verdict.unlink, verdict.later) == (Kept.REFERENCED, (1,), None)


def test_a_lease_keeps_a_blob_until_it_ends() -> None:
    verdict = judge_blob(blob(member(1, leased=True)), NOW, DAY)
    assert (verdict.kept, verdict.unlink, verdict.later) == (Kept.FRESH, (), NOW + DAY)


def test_a_blob_that_was_asked_for_a_moment_ago_stays_where_it_is() -> None:
    verdict = judge_blob(blob(member(1), touched_at=NOW), NOW, DAY)
    assert (verdict.kept, verdict.unlink, verdict.later) == (Kept.FRESH, (), NOW + DAY)


def test_the_bytes_of_a_manifest_stay_with_it() -> None:
    assert judge_blob(blob(manifest=True), NOW, DAY).kept is Kept.REFERENCED


def view(tags: dict[str, str], since: datetime = OLD) -> dict[str, Meaning]:
    return {name: Meaning(digest, since) for name, digest in tags.items()}


def kinds(index: IndexView, storage: StorageView) -> dict[str, Difference]:
    return {found.name: found.kind for found in compare(index, storage, NOW - DAY)}


def test_equal_views_do_not_differ() -> None:
    index = IndexView(view({"v1": A}), {}, frozenset({A}), frozenset({B}))
    assert compare(index, StorageView(view({"v1": A}), frozenset({A}), frozenset({B})), NOW) == []


def test_each_side_may_lack_what_the_other_has() -> None:
    index = IndexView(view({"ours": A}), {}, frozenset({A}), frozenset({A}))
    storage = StorageView(view({"theirs": B}), frozenset({B}), frozenset({B}))
    found = compare(index, storage, NOW - DAY)
    assert [one.kind for one in found] == [
        Difference.MISSING_LINK,
        Difference.UNKNOWN_LINK,
        Difference.MISSING_MANIFEST,
        Difference.UNKNOWN_MANIFEST,
        Difference.MISSING_TAG,
        Difference.UNKNOWN_TAG,
    ]


def test_the_newer_meaning_of_a_tag_is_right() -> None:
    newer = OLD + timedelta(hours=1)
    behind = kinds(IndexView(view({"v": A})), StorageView(view({"v": B}, newer)))
    assert behind == {"v": Difference.TAG_DIFFERS}
    undone = kinds(IndexView(view({"v": A}, newer)), StorageView(view({"v": B})))
    assert undone == {"v": Difference.MISSING_TAG}


def test_a_tag_that_was_deleted_here_is_not_taken_over_again() -> None:
    ended = view({"v": A}, OLD + timedelta(hours=1))
    assert kinds(IndexView(ended=ended), StorageView(view({"v": A}))) == {"v": Difference.ENDED_TAG}
    pushed_since = StorageView(view({"v": A}, OLD + timedelta(hours=2)))
    assert kinds(IndexView(ended=ended), pushed_since) == {"v": Difference.UNKNOWN_TAG}


@pytest.mark.parametrize("side", ["index", "storage"])
def test_what_was_written_a_moment_ago_is_left_alone(side: str) -> None:
    fresh = view({"v": A}, NOW)
    index = IndexView(fresh) if side == "index" else IndexView()
    storage = StorageView(fresh) if side == "storage" else StorageView()
    assert kinds(index, storage) == {}


def test_reports_add_up() -> None:
    first = GarbageReport(
        manifests=1,
        kept={Kept.TAGGED: 1},
        repositories=[RepositoryShare(repository="a", bytes=1)],
    )
    second = GarbageReport(
        manifests=2,
        kept={Kept.TAGGED: 1, Kept.FRESH: 1},
        repositories=[RepositoryShare(repository="a", bytes=2), RepositoryShare(repository="b")],
    )
    both = first.plus(second)
    assert both.manifests == 3
    assert both.kept == {Kept.TAGGED: 2, Kept.FRESH: 1}
    assert [(one.repository, one.bytes) for one in both.repositories] == [("a", 3), ("b", 0)]


def test_a_reconciliation_keeps_few_examples_of_many() -> None:
    many = ReconcileReport(examples=[str(number) for number in range(15)])
    assert len(many.plus(many).examples) == 20
