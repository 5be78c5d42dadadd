"""From apt's words to a lock, and what a lock is called by."""

from typing import Any

import pytest

from fleetwide.baseos.locks import (
    Chosen,
    build_key,
    lock_digest,
    make_lock,
    packages_index,
    parse_solution,
    parse_uris,
    pool_path,
    release_file,
    same_wishes,
    security_digest,
)
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import Architecture, Face
from fleetwide.models.os_locks import Lock, LockedPackage, LockedSource
from fleetwide.registry.digests import digest_of
from tests.unit.locked import DIGEST, package, small_set
from tests.unit.os_plans import plan, spec_of

APT = """\
NOTE: This is only a simulation!
Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])
Inst libc6 (2.36-9+deb12u14 Debian-Security:12/oldstable-security, Debian:12.15/oldstable [amd64])
Inst libgcc-s1:amd64 (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64]) [libc6:amd64 ]
Inst tzdata (2026b-0+deb12u1 Debian:12.15/oldstable, Debian:12-updates [all]) []
Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])
"""
SOURCE = LockedSource(url="http://x", suite="bookworm", components=["main"], keyring="/k")


def lock_of(*packages: LockedPackage) -> Lock:
    return Lock(
        suite="bookworm",
        architecture=Architecture.AMD64,
        sources=[SOURCE],
        packages=list(packages),
    )


def test_a_solution_is_read_with_its_versions_and_origins() -> None:
    assert parse_solution(APT) == [
        Chosen("gcc-12-base", "12.2.0-14+deb12u1", "amd64", security=False),
        Chosen("libc6", "2.36-9+deb12u14", "amd64", security=True),
        Chosen("libgcc-s1", "12.2.0-14+deb12u1", "amd64", security=False),
        Chosen("tzdata", "2026b-0+deb12u1", "all", security=False),
    ]


def test_urls_are_known_by_their_hash() -> None:
    line = f"'http://x/pool/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 100 SHA256:{'a' * 64}\n"
    assert parse_uris(f"noise\n{line}") == {"a" * 64: "http://x/pool/a_1%3a2_amd64.deb"}


def index_of(*packages: LockedPackage) -> tuple[list[str], dict[str, str]]:
    stanzas = [f"{one.stanza}\nSize: {one.size}" for one in packages]
    return stanzas, {one.sha256: one.url for one in packages}


def test_a_lock_joins_faces_paragraphs_and_urls() -> None:
    dash, kernel = package("dash", "1"), package("linux", "6", security=True)
    chosen = [Chosen(one.name, one.version, "amd64", one.security) for one in (dash, kernel)]
    stanzas, urls = index_of(kernel, dash)
    solutions = {Face.CONTAINER: chosen[:1], Face.VM: chosen}
    lock = make_lock(spec_of(), [SOURCE], solutions, stanzas, urls)
    assert [(one.name, one.faces, one.security) for one in lock.packages] == [
        ("dash", [Face.CONTAINER, Face.VM], False),
        ("linux", [Face.VM], True),
    ]
    assert lock.packages[0].stanza == stanzas[1]
    assert [one.name for one in lock.of(Face.CONTAINER)] == ["dash"]


def test_an_index_that_changed_in_between_is_no_lock() -> None:
    stanzas, urls = index_of(package("dash", "2"))
    solutions = {Face.CONTAINER: [Chosen("dash", "1", "amd64", security=False)]}
    with pytest.raises(PlatformError, match="changed while it was read: dash=1"):
        make_lock(spec_of(), [SOURCE], solutions, stanzas, urls)


@pytest.mark.parametrize(
    "other",
    [
        package("dash", "2"),
        package("dash", "1", bytes_of="a rebuild"),
        package("dash", "1", faces=[Face.VM]),
        package("bash", "1"),
    ],
)
def test_another_package_is_another_lock(other: LockedPackage) -> None:
    assert lock_digest(lock_of(package("dash", "1"))) != lock_digest(lock_of(other))


def test_only_security_packages_are_in_the_security_digest() -> None:
    fixed = package("openssl", "3", security=True)
    before = security_digest(lock_of(package("dash", "1"), fixed))
    assert before == security_digest(lock_of(package("dash", "2"), fixed))
    newer = package("openssl", "4", security=True)
    assert before != security_digest(lock_of(package("dash", "1"), newer))


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "me"},
        {"version": "7"},
        {"force": True},
        {"promotion": {"soak_hours": 3}},
        {"retention": {"keep": 3}},
        {"rebuild_on": "security"},
    ],
)
def test_what_is_not_in_the_bytes_is_not_in_the_key(change: dict[str, Any]) -> None:
    assert build_key(plan(), DIGEST, []) == build_key(plan(**change), DIGEST, [])
    assert same_wishes(spec_of(), spec_of(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"packages": ["vim"]},
        {"files": [{"path": "/etc/motd", "content": "hi"}]},
        {"trim": []},
        {"source_date_epoch": 1},
        {"sysctls": {"vm.swappiness": 1}},
        {"vm": {"boot": "uefi"}},
        {"scripts": [{"name": "x", "run": "true"}]},
        {"users": [{"name": "app", "uid": 900}]},
    ],
)
def test_what_is_in_the_bytes_is_in_the_key(change: dict[str, Any]) -> None:
    assert build_key(plan(), DIGEST, []) != build_key(plan(**change), DIGEST, [])
    assert not same_wishes(spec_of(), spec_of(**change))


def test_the_lock_and_the_archives_are_in_the_key() -> None:
    key = build_key(plan(), DIGEST, [SOURCE])
    assert key != build_key(plan(), digest_of(b"another"), [SOURCE])
    moved = SOURCE.model_copy(update={"url": "http://y"})
    assert key != build_key(plan(), DIGEST, [moved])  # the image's own sources.list names it


def test_the_private_mirror_keeps_the_paragraphs_and_moves_the_files() -> None:
    one = package("dash", "1", Filename="pool/main/d/dash.deb", Priority="required")
    text = packages_index([one]).decode()
    assert f"Filename: {pool_path(one)}\n" in text
    assert "Priority: required\n" in text
    assert text.endswith("\n\n")


def test_the_release_file_names_the_suite_and_fits_its_index() -> None:
    lock = lock_of(*small_set())
    index = packages_index(lock.packages)
    text = release_file(lock, index).decode()
    assert "Suite: bookworm\nCodename: bookworm\n" in text
    hashed = digest_of(index).removeprefix("sha256:")
    assert f" {hashed} {len(index)} main/binary-amd64/Packages\n" in text


def test_sizes_are_bytes_also_where_names_are_not_ascii() -> None:
    one = package("dash", "1", Maintainer="Jürgen Größe <j@example.org>")
    index = packages_index([one])
    assert len(index) > len(index.decode())
    assert f" {len(index)} main/" in release_file(lock_of(one), index).decode()
