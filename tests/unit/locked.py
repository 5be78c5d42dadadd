"""Locked packages for tests: a few of a Debian release, with paragraphs as the archive writes."""

import hashlib
from typing import Any

from fleetwide.baseos.sbom import SbomSubject
from fleetwide.models.baseos import Architecture, Distribution, Face, Target
from fleetwide.models.os_locks import LockedPackage

DIGEST = "sha256:" + "ab" * 32
IMAGES = [Face.CONTAINER, Face.VM]


def package(
    name: str,
    version: str = "1.0-1",
    *,
    faces: list[Face] | None = None,
    security: bool = False,
    bytes_of: str = "",
    **fields: str,
) -> LockedPackage:
    """``fields`` are those of the paragraph, with ``_`` for ``-``; ``bytes_of`` varies the hash."""
    sha256 = hashlib.sha256(f"{name}{version}{bytes_of}".encode()).hexdigest()
    known = {
        "Package": name,
        "Version": version,
        "Architecture": "amd64",
        **fields,
        "SHA256": sha256,
    }
    stanza = "\n".join(f"{key.replace('_', '-')}: {value}" for key, value in known.items())
    return LockedPackage(
        name=name,
        version=version,
        architecture=known["Architecture"],
        sha256=sha256,
        size=1000,
        url=f"http://mirror.example/main/pool/main/{name[0]}/{name}_{version}.deb",
        stanza=stanza,
        faces=faces or IMAGES,
        security=security,
    )


def small_set() -> list[LockedPackage]:
    """Packages that need each other in every way that matters."""
    return [
        package(
            "libssl3",
            "3.0.22-1~deb12u2",
            Source="openssl",
            Maintainer="Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>",
            Homepage="https://www.openssl.org/",
            Description="Secure Sockets Layer toolkit - shared libraries",
            Depends="libc6 (>= 2.34)",
            security=True,
        ),
        package("libc6", "2.36-9+deb12u14", Source="glibc", Depends="libgcc-s1"),
        package(
            "libgcc-s1",
            "12.2.0-14+deb12u1",
            Source="gcc-12",
            Maintainer="Matthias Klose <doko@debian.org>",
            Provides="libgcc1 (= 1:12.2.0-14+deb12u1)",
        ),
        package(
            "mawk", "1.3.4.20200120-3.1+b1", Source="mawk (1.3.4.20200120-3.1)", Provides="awk"
        ),
        package(
            "base-files",
            "12.4+deb12u13",
            Architecture="all",
            Pre_Depends="awk",
            Depends="gone | libgcc1 (>= 1:12), libstdc++6 (>= 99), nowhere:any",
            Homepage="ftp://ftp.debian.org/",
        ),
        package("libstdc++6", "12.2.0-14+deb12u1", Source="gcc-12"),
    ]


def subject(**changes: Any) -> SbomSubject:
    given = {
        "target": Target.CONTAINER,
        "name": "baseos",
        "version": "20261122.1",
        "digest": DIGEST,
        "repository": "os/baseos",
        "distribution": Distribution.DEBIAN,
        "suite": "bookworm",
        "architecture": Architecture.AMD64,
        "source_date_epoch": 1_700_000_000,
        **changes,
    }
    return SbomSubject.model_validate(given)
