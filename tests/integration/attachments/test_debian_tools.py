"""What we read and compare ourselves, against Debian's own programs and OpenSSL."""

import base64
import gzip
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.baseos.debversions import compare_versions
from fleetwide.errors import ArtifactRejected
from fleetwide.models.os_locks import LockedPackage
from fleetwide.providers import fixes
from fleetwide.providers.fixes import Candidate, find_fixes, read_changelog
from fleetwide.providers.signing import load_or_create_key, sign
from tests.property.test_package_changes import VERSIONS
from tests.unit.locked import package
from tests.unit.test_fixes import CHANGELOG, UPSTREAM

pytestmark = pytest.mark.integration


def dpkg_says(one: str, sign: str, other: str) -> bool:
    command = ["dpkg", "--compare-versions", one, sign, other]
    return subprocess.run(command, check=False).returncode == 0


@settings(max_examples=300, deadline=None)
@given(VERSIONS, VERSIONS)
def test_versions_compare_as_dpkg_compares_them(one: str, other: str) -> None:
    found = compare_versions(one, other)
    assert dpkg_says(one, {-1: "lt", 0: "eq", 1: "gt"}[found], other), (one, found, other)


@settings(max_examples=100, deadline=None)
@given(VERSIONS, st.sampled_from(["~", "+", "-0", ".0", "a", "0", "~~", "-1~", "+b1"]))
def test_versions_that_nearly_agree_compare_as_dpkg_does(version: str, end: str) -> None:
    found = compare_versions(version, version + end)
    assert dpkg_says(version, {-1: "lt", 0: "eq", 1: "gt"}[found], version + end)


def build_deb(folder: Path, name: str, files: dict[str, bytes], compression: str = "xz") -> Path:
    """A package with ``files``; one whose content starts with ``->`` is a symbolic link."""
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    (tree / "DEBIAN/control").write_text(control)
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(b"->"):
            target.symlink_to(content[2:].decode())
        else:
            target.write_bytes(content)
    deb = folder / f"{name}.deb"
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "-b", str(tree), str(deb)]
    subprocess.run(command, check=True, capture_output=True)
    return deb


DOC = "usr/share/doc/openssl"
PACKED = gzip.compress(CHANGELOG.encode())


@pytest.mark.parametrize("compression", ["xz", "gzip", "zstd", "none"])
def test_the_changelog_is_read_out_of_the_package(tmp_path: Path, compression: str) -> None:
    files = {f"{DOC}/changelog.Debian.gz": PACKED, f"{DOC}/changelog.gz": gzip.compress(b"no")}
    assert read_changelog(build_deb(tmp_path, "openssl", files, compression)) == CHANGELOG


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("changelog.gz", PACKED),
        ("changelog", CHANGELOG.encode()),
        ("changelog.Debian", CHANGELOG.encode()),
    ],
)
def test_native_and_unpacked_changelogs_are_read_too(
    tmp_path: Path, name: str, content: bytes
) -> None:
    files = {f"{DOC}/{name}": content, "usr/share/doc/x/y/changelog.gz": gzip.compress(b"deeper")}
    assert read_changelog(build_deb(tmp_path, "openssl", files)) == CHANGELOG


def test_a_package_that_shares_anothers_changelog_has_none(tmp_path: Path) -> None:
    shared = {f"{DOC}/changelog.Debian.gz": b"->../libssl3/changelog.Debian.gz"}
    assert read_changelog(build_deb(tmp_path, "openssl", shared)) is None
    assert (
        read_changelog(build_deb(tmp_path, "whole", {"usr/share/doc/whole": b"->libssl3"})) is None
    )


def test_a_huge_changelog_is_read_only_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixes, "MAX_CHANGELOG_BYTES", 100)
    bomb = {f"{DOC}/changelog.Debian.gz": gzip.compress(b"a" * 10_000_000)}
    assert read_changelog(build_deb(tmp_path, "openssl", bomb)) == "a" * 100


def damaged(deb: Path, keep: int) -> Path:
    deb.write_bytes(deb.read_bytes()[:keep])
    return deb


@pytest.mark.parametrize("keep", [0, 50, 3000])
def test_a_damaged_package_is_told_by_name(tmp_path: Path, keep: int) -> None:
    payload = {f"usr/lib/{n}": gzip.compress(b"%d" % n * 999) for n in range(99)}
    deb = damaged(build_deb(tmp_path, "openssl", payload, "none"), keep)
    with pytest.raises(ArtifactRejected, match=r"openssl\.deb is no readable Debian package"):
        read_changelog(deb)


def test_a_damaged_changelog_is_told_too(tmp_path: Path) -> None:
    broken = {f"{DOC}/changelog.Debian.gz": PACKED[:200]}
    with pytest.raises(ArtifactRejected, match="no readable Debian package"):
        read_changelog(build_deb(tmp_path, "openssl", broken))
    with pytest.raises(ArtifactRejected):
        read_changelog(tmp_path / "missing.deb")


class Cancelled(Exception):
    pass


def test_cancelling_ends_the_program_that_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remembered(*args: object, **kwargs: object) -> "subprocess.Popen[bytes]":
        started.append(real(*args, **kwargs))  # type: ignore[call-overload]
        return started[-1]

    def cancel(_phrase: str, _fraction: float | None) -> None:
        raise Cancelled

    deb = build_deb(tmp_path, "openssl", {f"usr/lib/{n}": bytes(100_000) for n in range(99)})
    monkeypatch.setattr(subprocess, "Popen", remembered)
    with pytest.raises(Cancelled):
        read_changelog(deb, cancel)
    (process,) = started
    assert process.returncode is not None


def test_fixes_are_found_in_real_packages(tmp_path: Path) -> None:
    with_one = build_deb(tmp_path, "openssl", {f"{DOC}/changelog.Debian.gz": PACKED})
    upstream = {"usr/share/doc/libssl3/changelog.gz": gzip.compress(UPSTREAM.encode())}
    without = build_deb(tmp_path, "libssl3", upstream)
    seen: list[float | None] = []
    found = find_fixes(
        [
            Candidate(old("openssl"), new("openssl"), with_one),
            Candidate(old("libssl3"), new("libssl3"), without),
        ],
        lambda _phrase, fraction: seen.append(fraction),
    )
    assert [(fix.package, len(fix.cves), fix.note) for fix in found] == [
        ("libssl3", 4, ""),
        ("openssl", 4, ""),
    ]
    assert seen[0] == 0.0
    assert 0.5 in seen


def old(name: str) -> LockedPackage:
    return package(name, "3.0.9-1", Source="openssl")


def new(name: str) -> LockedPackage:
    return package(name, "3.0.15-1~deb12u1", Source="openssl")


def test_openssl_takes_the_signature_for_good(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "signing.pem")
    signature = json.loads(sign(key, b"hello", "t"))["signatures"][0]["sig"]
    (tmp_path / "public.pem").write_bytes(key.verifying.pem())
    (tmp_path / "message").write_bytes(b"DSSEv1 1 t 5 hello")
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    command = (
        "openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in message -sigfile signature"
    )
    done = subprocess.run(
        command.split(), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "Signature Verified Successfully\n", done.stderr
