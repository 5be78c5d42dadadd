import hashlib
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetwide.baseos.suites import Mirrors
from fleetwide.errors import InvalidInput, PlatformError
from fleetwide.models.baseos import Face, OSImageSpec
from fleetwide.models.os_locks import lock_key
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.progress import no_progress
from tests.integration.os_builds.archive import SUITE, Archive

pytestmark = pytest.mark.integration


@pytest.fixture
def keyring(archive: Archive) -> Iterator[str]:
    """The archive's key where specs may name it."""
    path = Path(f"/usr/share/keyrings/fleetwide-test-{os.getpid()}.gpg")
    path.write_bytes(archive.keyring.read_bytes())
    path.chmod(0o644)
    yield str(path)
    path.unlink()


@pytest.fixture
def objects(archive: Archive) -> FolderStore:
    return FolderStore(archive.folder / "objects")


@pytest.fixture
def resolver(archive: Archive, objects: FolderStore) -> LockResolver:
    return LockResolver(archive.folder / "resolver", objects, Mirrors())


@pytest.fixture
def spec(archive: Archive, keyring: str) -> OSImageSpec:
    return made(archive, keyring)


def made(archive: Archive, keyring: str, **more: Any) -> OSImageSpec:
    given = {
        "name": "tiny",
        "suite": SUITE,
        "variant": "essential",
        "mirror": archive.url,
        "keyring": keyring,
        "packages": ["hello-tool"],
    }
    return OSImageSpec.model_validate({**given, **more})


class Phrases:
    """What a call told; apt is at work when it tells of resolving."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, phrase: str, _fraction: float | None) -> None:
        self.told.append(phrase)

    @property
    def solved(self) -> bool:
        return any(phrase.startswith("resolving packages") for phrase in self.told)


def resolved_again(resolver: LockResolver, spec: OSImageSpec) -> bool:
    """Whether apt was asked."""
    phrases = Phrases()
    resolver.resolve(spec, phrases)
    return phrases.solved


def test_a_lock_pins_every_package_to_the_byte(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec, objects: FolderStore
) -> None:
    lock, ref = resolver.resolve(spec, no_progress)
    names = ["hello-engine", "hello-tool", "tiny-base", "tiny-lib"]
    assert [package.name for package in lock.packages] == names
    for package in lock.packages:
        deb = archive.www / package.url.removeprefix(f"{archive.url}/")
        assert package.size == deb.stat().st_size
        assert package.stanza == archive.paragraphs()[package.name]
        assert package.faces == [Face.CONTAINER]
    assert ref.size == sum(package.size for package in lock.packages)
    assert ref.package_count == len(lock.packages)
    assert objects.exists(lock_key(ref.digest))
    assert resolver.load(ref.digest) == lock


def test_bad_wishes_are_told_by_field(
    archive: Archive, resolver: LockResolver, keyring: str
) -> None:
    with pytest.raises(InvalidInput, match="nearest: hello-tool"):
        resolver.resolve(made(archive, keyring, packages=["hallo-tool"]), no_progress)
    with pytest.raises(InvalidInput, match=r"suite: .*tinnny"):
        resolver.resolve(made(archive, keyring, suite="tinnny"), no_progress)
    missing = "/usr/share/keyrings/fleetwide-no-such.gpg"
    with pytest.raises(InvalidInput, match="no keyring") as caught:
        resolver.resolve(made(archive, missing), no_progress)
    assert "apt-get install debian-archive-keyring" in (caught.value.hint or "")


def test_the_same_question_is_asked_once(resolver: LockResolver, spec: OSImageSpec) -> None:
    first = resolver.resolve(spec, no_progress)
    phrases = Phrases()
    assert resolver.resolve(spec, phrases) == first
    assert phrases.told == []


def test_another_process_remembers_too(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec, objects: FolderStore
) -> None:
    resolver.resolve(spec, no_progress)
    other = LockResolver(archive.folder / "resolver", objects, Mirrors())
    assert not resolved_again(other, spec)


def test_what_apt_is_not_asked_about_changes_nothing(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec, keyring: str
) -> None:
    resolver.resolve(spec, no_progress)
    renamed = made(archive, keyring, name="other", files=[{"path": "/a", "content": "b"}])
    assert not resolved_again(resolver, renamed)
    assert resolved_again(resolver, made(archive, keyring, packages=["hello-motor"]))
    assert resolved_again(resolver, made(archive, keyring, exclude=["hello-engine"]))


def test_a_new_index_is_read(archive: Archive, resolver: LockResolver, spec: OSImageSpec) -> None:
    before, _ = resolver.resolve(spec, no_progress)
    archive.add("hello-engine", "1.1-1", {"Depends": "tiny-lib"})
    archive.publish()
    after, _ = resolver.resolve(spec, no_progress)
    versions = [{one.name: one.version for one in lock.packages} for lock in (before, after)]
    assert [found["hello-engine"] for found in versions] == ["1.0-1", "1.1-1"]


def test_an_index_that_was_only_signed_again_gives_the_same_lock(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec
) -> None:
    before = resolver.resolve(spec, no_progress)[1].digest
    archive.publish(timedelta(days=8))
    phrases = Phrases()
    assert resolver.resolve(spec, phrases)[1].digest == before
    assert phrases.solved


def test_an_answer_from_an_expired_index_is_not_given_again(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec
) -> None:
    """As when a mirror is frozen to keep fixes from us: apt must say so, each time."""
    resolver.resolve(spec, no_progress)
    [memo] = (archive.folder / "resolver").glob("*.json")
    archive.publish(timedelta(days=-1))
    told = json.loads(memo.read_text())
    now = hashlib.sha256(archive.in_release.read_bytes()).hexdigest()
    told["releases"] = dict.fromkeys(told["releases"], now)
    memo.write_text(json.dumps(told))
    with pytest.raises(PlatformError, match="expired"):
        resolver.resolve(spec, no_progress)


def test_an_answer_whose_lock_is_gone_is_not_given_again(
    resolver: LockResolver, spec: OSImageSpec, objects: FolderStore
) -> None:
    _, ref = resolver.resolve(spec, no_progress)
    objects.delete(lock_key(ref.digest))
    assert resolved_again(resolver, spec)
    assert objects.exists(lock_key(ref.digest))


def test_a_mirror_that_is_down_is_not_answered_from_memory(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec
) -> None:
    resolver.resolve(spec, no_progress)
    archive.in_release.rename(archive.in_release.with_suffix(".away"))
    with pytest.raises((PlatformError, InvalidInput)):
        resolver.resolve(spec, no_progress)


def test_a_forged_index_is_neither_used_nor_remembered(
    archive: Archive, resolver: LockResolver, spec: OSImageSpec
) -> None:
    resolver.resolve(spec, no_progress)
    true = archive.in_release.read_bytes()
    archive.in_release.write_bytes(true.replace(b"Origin: Tiny", b"Origin: Tidy"))
    for _ in range(2):
        with pytest.raises(PlatformError, match="BADSIG"):
            resolver.resolve(spec, no_progress)
    archive.in_release.write_bytes(true)
    assert not resolved_again(resolver, spec)
