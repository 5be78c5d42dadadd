"""Artifacts of every kind as they lie on a developer's machine, looked over before any bake."""

import io
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fleetwide.bakery.lint import lint
from fleetwide.bakery.lint_subject import LintSubject
from fleetwide.errors import ArtifactRejected
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.policy import BakeryPolicy
from fleetwide.providers.lint_local import read_local_subject
from fleetwide.providers.local_artifacts import LocalArtifact, list_artifact
from fleetwide.providers.progress import no_progress
from tests.unit.bakes import bake_spec
from tests.unit.test_wheels import make_wheel

pytestmark = pytest.mark.integration

TOKEN = b"ghp_" + b"a" * 36


def tarball(folder: Path, *members: tuple[str, bytes, int], compression: str = "gz") -> Path:
    path = folder / f"hello.tar.{compression}"
    mode: Any = f"w:{compression}"
    with tarfile.open(path, mode) as archive:
        for name, content, mode in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return path


def deb(folder: Path, compression: str = "xz") -> Path:
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: gdb\nVersion: 1:2.0\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: a tool\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "usr/bin/gdb").write_bytes(b"\x7fELF")
    (tree / "usr/bin/gdb").chmod(0o4755)
    (tree / "usr/bin/link").symlink_to("gdb")
    (tree / "etc/tool.conf").write_bytes(b"\n" + TOKEN)
    target = folder / "gdb_2.0_all.deb"
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build"]
    subprocess.run([*command, str(tree), str(target)], check=True, capture_output=True)
    return target


def looked_at(kind: str, *paths: Path, **spec: Any) -> LintSubject:
    local = [LocalArtifact(path, ArtifactType(kind), "hello") for path in paths]
    return read_local_subject(bake_spec(**spec), local, no_progress)


def told(subject: LintSubject) -> set[tuple[str, str]]:
    return {(one.rule, one.where) for one in lint(subject, BakeryPolicy())}


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_a_tarball_lies_below_opt_with_plain_modes(tmp_path: Path, compression: str) -> None:
    members = [("./run", b"#!/bin/sh\n", 0o4755), ("conf/x", b"\n" + TOKEN, 0o666)]
    subject = looked_at("tarball", tarball(tmp_path, *members, compression=compression))
    assert {one.path: one.mode for one in subject.entries} == {
        "opt/hello/run": stat.S_IFREG | 0o755,
        "opt/hello/conf/x": stat.S_IFREG | 0o644,
    }
    assert subject.leaks == [("opt/hello/conf/x", "line 2 holds a GitHub token")]
    assert subject.program is not None
    assert (subject.program.path, subject.program.obstacle) == ("opt/hello/run", "")
    rules = {rule for rule, _ in told(subject)}
    assert "secret" in rules
    assert not {"setuid", "world_writable", "entrypoint_not_found"} & rules


def test_a_program_that_a_tarball_lacks_is_told_but_not_one_that_the_base_may_have(
    tmp_path: Path,
) -> None:
    path = tarball(tmp_path, ("other", b"x", 0o644))
    assert ("entrypoint_not_found", "command[0]") in told(looked_at("tarball", path))
    assert looked_at("tarball", path, command=["python3"]).program is None
    found = looked_at("tarball", path, command=["/opt/hello/other"]).program
    assert found is not None
    assert found.obstacle == "may not execute /opt/hello/other"
    assert looked_at("tarball", path, command=[]).program is None


def test_a_zip_is_read_like_a_tarball(tmp_path: Path) -> None:
    path = tmp_path / "hello.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        run = zipfile.ZipInfo("bin/run")
        run.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(run, b"#!/bin/sh\n")
        link = zipfile.ZipInfo("run")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, b"bin/run")
        archive.writestr("conf", TOKEN)
    subject = looked_at("zip", path)
    assert subject.program is not None
    assert subject.program.path == "opt/hello/bin/run"
    assert subject.leaks == [("opt/hello/conf", "line 1 holds a GitHub token")]


def test_a_wheel_has_its_package_and_its_programs(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": b"",
        "app/settings.py": TOKEN,
        "app-1.0.data/scripts/tool": b"#!python\n",
    }
    made = make_wheel(tmp_path, files=files)
    path = made.path.rename(tmp_path / made.name)
    subject = looked_at("wheel", path, command=["app-run"])
    assert subject.packages == {"app": "1.0"}
    assert subject.program is not None
    assert subject.program.path == "usr/local/bin/app-run"
    assert "usr/local/bin/tool" in {one.path for one in subject.entries}
    assert told(subject) >= {("secret", "/usr/local/lib/python3/dist-packages/app/settings.py:1")}
    assert looked_at("wheel", path, command=["other"]).program is None


@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_a_deb_is_read_without_being_installed(tmp_path: Path, compression: str) -> None:
    subject = looked_at("deb", deb(tmp_path, compression), command=["link"])
    assert subject.packages == {"gdb": "1:2.0"}
    assert subject.program is not None
    assert subject.program.path == "usr/bin/gdb"
    assert told(subject) >= {
        ("setuid", "/usr/bin/gdb"),
        ("secret", "/etc/tool.conf:2"),
        ("debug_tool", "artifacts"),
        ("outside_app_folders", "/etc/tool.conf"),
    }


def test_a_binary_and_an_sdist(tmp_path: Path) -> None:
    program = tmp_path / "serve"
    program.write_bytes(b"\x7fELF" + b"\0" * 5000)
    found = looked_at("binary", program, command=["/opt/hello/bin/serve"])
    assert found.program is not None
    assert found.program.path == "opt/hello/bin/serve"
    sdist = tarball(tmp_path, ("hello-1.0/setup.cfg", TOKEN, 0o644))
    subject = looked_at("sdist", sdist)
    assert (subject.entries, subject.program) == ([], None)
    assert subject.leaks == [("opt/hello/hello-1.0/setup.cfg", "line 1 holds a GitHub token")]


@pytest.mark.parametrize(
    ("kind", "name", "content", "why"),
    [
        ("tarball", "x.tar.gz", b"not a tar", "not a readable .tar"),
        ("zip", "x.zip", b"not a zip", "not a readable zip"),
        ("deb", "x.deb", b"not a deb", "no readable Debian package"),
        ("wheel", "x.whl", b"not a wheel", "x.whl"),
        ("binary", "x", b"not a program", "is no program"),
        ("image", "x", b"", "on the platform only"),
    ],
)
def test_what_is_no_artifact_is_refused(
    tmp_path: Path, kind: str, name: str, content: bytes, why: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ArtifactRejected, match=why):
        looked_at(kind, path)


def test_entries_that_no_artifact_may_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected, match="leaves the archive"):
        looked_at("tarball", tarball(tmp_path, ("../../etc/passwd", b"", 0o644)))
    with pytest.raises(ArtifactRejected, match="an absolute path"):
        looked_at("tarball", tarball(tmp_path, ("/etc/passwd", b"", 0o644)))


def test_artifacts_that_were_cut_off_are_refused(tmp_path: Path) -> None:
    whole = deb(tmp_path)
    cut = tmp_path / "cut.deb"
    cut.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ArtifactRejected, match="no readable Debian package"):
        looked_at("deb", cut)
    packed = tarball(tmp_path, ("x", bytes(range(256)) * 4000, 0o644))
    packed.write_bytes(packed.read_bytes()[:-500])
    with pytest.raises(ArtifactRejected, match=r"not a readable \.tar"):
        looked_at("tarball", packed)


def test_a_look_that_is_given_up_leaves_no_program_running(tmp_path: Path) -> None:
    listing = list_artifact(LocalArtifact(deb(tmp_path), ArtifactType.DEB, "hello"))
    next(listing)
    del listing
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"{tmp_path}/gdb_2.0_all.deb" not in running.stdout
