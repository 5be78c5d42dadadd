"""Immutable tags and quotas over the index, on both databases."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session

from fleetwide.errors import Denied
from fleetwide.models.registry_policy import BUILDER, ImmutableRule, RegistryPolicy
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store import registry_tags as tags
from fleetwide.store.registry_admission import (
    Rules,
    check_quota,
    check_tags,
    check_upload,
    namespace_bytes,
    quota_of,
)
from fleetwide.store.registry_tables import NamespaceRow
from fleetwide.store.session import Store
from tests.registry_index import NOW, image, push, upload

A, B = image("a"), image("b")
HOUR = timedelta(hours=1)
BUILT_IN = Rules(RegistryPolicy(), "the platform's own policy")
LIMIT = 10_000
LIMITED = RegistryPolicy.model_validate({"quotas": {"ci": LIMIT, "*": 10**6}})


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    upload(opened, "apps/x", "config", "a", "b")
    yield opened
    opened.engine.dispose()


def check(store: Store, tag: str, parsed: ParsedManifest, *, by: str | None = "ci") -> None:
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        check_tags(session, row, [tag], parsed.digest, BUILT_IN, by=by)


def test_a_new_tag_and_the_same_digest_again_pass(store: Store) -> None:
    check(store, "1.0", A)
    push(store, "apps/x", A, tags=["1.0"])
    check(store, "1.0", A)


def test_another_digest_is_denied_with_rule_and_policy(store: Store) -> None:
    push(store, "apps/x", A, tags=["1.0", "latest"])
    with pytest.raises(Denied, match="rule bakes of the platform's own policy") as caught:
        check(store, "1.0", B)
    assert A.digest in caught.value.message
    check(store, "latest", B)
    check(store, "1.0", B, by=BUILDER)


def test_deleting_a_tag_is_no_way_around(store: Store) -> None:
    push(store, "apps/x", A, tags=["1.0"])
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        assert tags.delete(session, row, "1.0", by="ci", now=NOW + HOUR)
    with pytest.raises(Denied):
        check(store, "1.0", B)
    check(store, "1.0", A)


def test_what_the_builder_moved_a_tag_to_is_kept_from_then_on(store: Store) -> None:
    push(store, "apps/x", A, tags=["1.0"])
    push(store, "apps/x", B, tags=["1.0"], now=NOW + HOUR)
    check(store, "1.0", B)
    with pytest.raises(Denied):
        check(store, "1.0", A)


def test_of_two_pushes_of_one_immutable_tag_one_wins(store: Store) -> None:
    start, outcomes = threading.Barrier(2), list[str]()

    def race(parsed: ParsedManifest) -> None:
        start.wait(10)
        try:
            with store.write() as session:
                row = repositories.require(session, "apps/x")
                check_tags(session, row, ["1.0"], parsed.digest, BUILT_IN, by="ci")
                manifests.record(session, row, parsed, manifests.Push("ci", NOW, ["1.0"]))
            outcomes.append("pushed")
        except Denied:
            outcomes.append("denied")

    threads = [threading.Thread(target=race, args=[one]) for one in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["denied", "pushed"]


def judge(session: Session, parsed: ParsedManifest, name: str = "ci/x") -> None:
    row = repositories.require(session, name)
    check_quota(session, row, parsed, LIMITED)


def test_a_push_beyond_the_quota_is_denied_with_its_numbers(store: Store) -> None:
    more = "b" * (LIMIT - 100)
    fits, grows = image("a"), image("a", more)
    upload(store, "ci/x", "config", "a")
    with store.read() as session:
        judge(session, fits)
    push(store, "ci/x", fits, tags=["1"])
    upload(store, "ci/x", more)
    used, asked = len("config") + 1 + len(fits.data), len(more) + len(grows.data)
    with (
        store.read() as session,
        pytest.raises(Denied, match=f"used {used}, asked {asked}, limit {LIMIT} bytes"),
    ):
        judge(session, grows)
    with store.read() as session:
        judge(session, fits)


def test_the_bytes_of_manifests_count_and_go_with_them(store: Store) -> None:
    upload(store, "ci/x", "config", "a", "b")
    both = image("a", "b")
    for parsed in (A, B, both):
        push(store, "ci/x", parsed)
    blobs = len("config") + 2
    every = sum(len(one.data) for one in (A, B, both))
    with store.write() as session:
        assert namespace_bytes(session, "ci") == blobs + every
        row = repositories.require(session, "ci/x")
        assert (row.size, row.manifest_bytes) == (blobs, every)
        manifests.delete(session, row, both.digest, by="ci", now=NOW + HOUR)
        assert namespace_bytes(session, "ci") == blobs + len(A.data) + len(B.data)


def test_uploads_that_began_before_the_namespace_was_full_end_at_their_manifest(
    store: Store,
) -> None:
    half = "h" * (LIMIT * 2 // 3)
    for name in ("ci/x", "ci/y"):
        with store.read() as session:
            check_upload(session, name, LIMITED)
    upload(store, "ci/x", "config", half)
    upload(store, "ci/y", "config", half)
    for name in ("ci/x", "ci/y"):
        with store.read() as session, pytest.raises(Denied, match="would add"):
            judge(session, image(half), name)


def test_a_full_namespace_takes_no_upload_and_others_do(store: Store) -> None:
    upload(store, "ci/x", "0" * LIMIT)
    upload(store, "ci", "abc")
    upload(store, "ci0/x", "0" * LIMIT)
    with store.read() as session:
        assert namespace_bytes(session, "ci") == LIMIT + 3
        with pytest.raises(Denied, match=f"limit {LIMIT} bytes"):
            check_upload(session, "ci/new", LIMITED)
        check_upload(session, "ci0/x", LIMITED)
        check_upload(session, "ci/new", RegistryPolicy())


def test_what_was_set_goes_before_the_file_also_without_a_limit(store: Store) -> None:
    upload(store, "ci/x", "0" * LIMIT)
    with store.write() as session:
        session.add(NamespaceRow(name="ci", quota=None, updated_at=NOW))
        session.add(NamespaceRow(name="apps", quota=7, updated_at=NOW))
    with store.read() as session:
        assert quota_of(session, "ci", LIMITED) is None
        assert quota_of(session, "apps", LIMITED) == 7
        check_upload(session, "ci/x", LIMITED)


def test_of_blobs_that_are_referred_to_only_the_manifest_is_asked_for(store: Store) -> None:
    push(store, "apps/x", A)
    push(store, "apps/x", B)
    both = image("a", "b")
    held = len("config") + 2 + len(A.data) + len(B.data)
    for room, fits in ((len(both.data), True), (len(both.data) - 1, False)):
        policy = RegistryPolicy.model_validate({"quotas": {"apps": held + room}})
        with store.read() as session:
            row = repositories.require(session, "apps/x")
            if fits:
                check_quota(session, row, both, policy)
                continue
            with pytest.raises(Denied, match=f"asked {len(both.data)},"):
                check_quota(session, row, both, policy)


def test_a_rule_of_the_organisation_names_its_file(store: Store) -> None:
    own = ImmutableRule(name="own", repositories=["apps/*"])
    rules = Rules(RegistryPolicy(immutable=[own]), "/etc/policy.yaml")
    push(store, "apps/x", A, tags=["1.0"])
    with store.write() as session:
        row = repositories.require(session, "apps/x")
        with pytest.raises(Denied, match=r"rule own of /etc/policy\.yaml"):
            check_tags(session, row, ["1.0"], B.digest, rules, by=BUILDER)
