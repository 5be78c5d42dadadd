"""Whatever the facts: nothing that is needed goes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.models.registry_gc import Kept
from fleetwide.registry.garbage import (
    BlobFacts,
    ManifestFacts,
    Membership,
    judge_blob,
    judge_manifest,
)
from fleetwide.registry.reconcile import IndexView, Meaning, StorageView, compare

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TIMES = st.integers(-72, 72).map(lambda hours: NOW + timedelta(hours=hours))
GRACES = st.integers(0, 48).map(lambda hours: timedelta(hours=hours))
MEMBERS = st.lists(
    st.builds(Membership, st.integers(1, 5), st.booleans(), TIMES),
    max_size=5,
    unique_by=lambda one: one.repository_id,
)
BLOBS = st.builds(BlobFacts, MEMBERS, st.booleans(), TIMES)
MANIFESTS = st.builds(
    ManifestFacts,
    tagged=st.booleans(),
    child=st.booleans(),
    subject_lives=st.booleans(),
    in_use=st.booleans(),
    touched_at=TIMES,
)
DIGESTS = st.sampled_from(["sha256:" + letter * 64 for letter in "abc"])
TAGS = st.dictionaries(st.sampled_from("xyz"), st.builds(Meaning, DIGESTS, TIMES))
SETS = st.frozensets(DIGESTS)


@given(MANIFESTS, GRACES)
def test_only_a_manifest_that_nothing_speaks_for_goes(
    facts: ManifestFacts, grace: timedelta
) -> None:
    needed = facts.tagged or facts.child or facts.subject_lives or facts.in_use
    fresh = facts.touched_at + grace > NOW
    assert judge_manifest(facts, NOW, grace).goes == (not needed and not fresh)


@given(BLOBS, GRACES)
def test_a_blob_leaves_only_repositories_that_neither_refer_to_it_nor_lease_it(
    facts: BlobFacts, grace: timedelta
) -> None:
    verdict = judge_blob(facts, NOW, grace)
    held = {
        one.repository_id for one in facts.memberships if one.referenced or one.lease_until > NOW
    }
    assert not held & set(verdict.unlink)
    if verdict.goes:
        assert not held
        assert not facts.is_manifest
        assert facts.touched_at + grace <= NOW
        assert set(verdict.unlink) == {one.repository_id for one in facts.memberships}


@given(BLOBS, GRACES)
def test_a_blob_that_waits_for_time_alone_is_looked_at_again(
    facts: BlobFacts, grace: timedelta
) -> None:
    verdict = judge_blob(facts, NOW, grace)
    if verdict.kept is Kept.FRESH:
        assert verdict.later is not None
        assert verdict.later > NOW
        later = judge_blob(facts, max(TIME_OF_ALL, verdict.later), grace)
        assert later.goes or facts.is_manifest


TIME_OF_ALL = NOW + timedelta(hours=200)


@given(TAGS, TAGS, TAGS, SETS, SETS)
def test_equal_sides_never_differ_and_every_difference_is_of_something(
    ours: dict[str, Meaning],
    theirs: dict[str, Meaning],
    ended: dict[str, Meaning],
    manifests: frozenset[str],
    blobs: frozenset[str],
) -> None:
    same = compare(
        IndexView(ours, ended, manifests, blobs), StorageView(ours, manifests, blobs), NOW
    )
    assert same == []
    found = compare(
        IndexView(ours, ended, manifests, blobs), StorageView(theirs, blobs, manifests), NOW
    )
    for one in found:
        assert one.index != one.storage or one.name in manifests ^ blobs
