import base64
import hashlib
import zipfile
from pathlib import Path
from unittest import mock

import pytest
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from fleetwide.bakery.requirements import PythonPlatform
from fleetwide.errors import ArtifactRejected
from fleetwide.providers import wheels as wheels_module
from fleetwide.providers.installed_wheels import install_wheels
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.progress import no_progress
from fleetwide.providers.wheels import inspect_wheels, python_of

PYTHON = PythonPlatform((3, 11), "3.11.2", "x86_64", (2, 36))
PACKAGES = "usr/local/lib/python3.11/dist-packages"


def record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def make_wheel(
    folder: Path,
    name: str = "app",
    *,
    files: dict[str, bytes] | None = None,
    extra: str = "",
    compression: int = zipfile.ZIP_STORED,
    changed: dict[str, bytes] | None = None,
) -> NamedFile:
    """A wheel; ``changed`` files are not those that its record names."""
    info = f"{name}-1.0.dist-info"
    content = files or {f"{name}/__init__.py": b"def main(): ...\n"}
    content = {
        **content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{extra}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-run = {name}:main\n".encode(),
    }
    record = "\n".join([*(record_line(*pair) for pair in content.items()), f"{info}/RECORD,,"])
    path = folder / f"{name}.file"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for entry, data in {
            **content,
            f"{info}/RECORD": record.encode(),
            **(changed or {}),
        }.items():
            archive.writestr(entry, data)
    return NamedFile(path, f"{name}-1.0-py3-none-any.whl")


def installed(tmp_path: Path, *wheels: NamedFile) -> Path:
    staging = tmp_path / "staging"
    staging.mkdir()
    checked = inspect_wheels(wheels, PYTHON, tmp_path / "links", no_progress)
    install_wheels(checked, PYTHON, staging, no_progress)
    return staging


def test_packages_and_console_scripts_are_where_the_base_looks(tmp_path: Path) -> None:
    staging = installed(tmp_path, make_wheel(tmp_path))
    assert (staging / PACKAGES / "app/__init__.py").is_file()
    script = staging / "usr/local/bin/app-run"
    assert script.read_text().startswith("#!/usr/bin/python3\n")
    assert script.stat().st_mode & 0o111


def test_a_file_that_two_wheels_bring_is_refused(tmp_path: Path) -> None:
    files = {"same.py": b""}
    wheels = make_wheel(tmp_path, files=files), make_wheel(tmp_path, "lib", files=files)
    with pytest.raises(ArtifactRejected, match=r"lib-1.0.* has /usr/local/.*/same.py"):
        installed(tmp_path, *wheels)


def test_the_same_wheel_twice_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    with pytest.raises(ArtifactRejected, match="twice"):
        installed(tmp_path, wheel, wheel)


def test_content_that_differs_from_the_record_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    with zipfile.ZipFile(wheel.path, "a") as archive:
        archive.writestr("app/smuggled.py", b"")
    with pytest.raises(ArtifactRejected, match="not a sound wheel"):
        installed(tmp_path, wheel)


@pytest.mark.parametrize(
    "changed",
    [
        {"app/__init__.py": b"def evil(): ...\n"},
        {"app/__init__.py": b"def main(): ...\nmore"},
        {"app/__init__.py": b""},
        {"app-1.0.data/scripts/run": b"#!python\nevil"},
        {"app-1.0.data/scripts/plain": b"#!/bin/sh\nevil"},
        {"app-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: app\nVersion: 1.0\nX: 1\n"},
    ],
)
def test_a_file_that_is_not_as_the_record_says_is_refused(
    tmp_path: Path, changed: dict[str, bytes]
) -> None:
    files = {
        "app/__init__.py": b"def main(): ...\n",
        "app-1.0.data/scripts/run": b"#!python\nmain",
        "app-1.0.data/scripts/plain": b"#!/bin/sh\nmain",
    }
    with pytest.raises(ArtifactRejected, match=r"app.1\.0.*is not as its RECORD says"):
        installed(tmp_path, make_wheel(tmp_path, files=files, changed=changed))


def test_scripts_are_installed_as_the_record_has_them(tmp_path: Path) -> None:
    scripts = {
        "app-1.0.data/scripts/run": b"#!python\nmain",
        "app-1.0.data/scripts/plain": b"#!/bin/sh\nmain",
    }
    staging = installed(tmp_path, make_wheel(tmp_path, files=scripts))
    assert (staging / "usr/local/bin/run").read_bytes() == b"#!/usr/bin/python3\nmain"
    assert (staging / "usr/local/bin/plain").read_bytes() == b"#!/bin/sh\nmain"


def test_a_wheel_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, files={"app/a": b"abcdefgh" * 100})
    content = wheel.path.read_bytes()
    wheel.path.write_bytes(content.replace(b"abcdefgh", b"abcdefgX", 1))
    with pytest.raises(ArtifactRejected, match="sound wheel"):
        installed(tmp_path, wheel)


def test_a_path_out_of_the_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected, match="leaves the archive"):
        installed(tmp_path, make_wheel(tmp_path, files={"../../etc/cron.d/x": b""}))


@pytest.mark.parametrize(
    "name", ["app.whl", "app-2.0-py3-none-any.whl", "other-1.0-py3-none-any.whl"]
)
def test_a_name_that_is_not_the_wheel_s_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactRejected):
        installed(tmp_path, NamedFile(make_wheel(tmp_path).path, name))


def test_the_python_of_a_base_is_read_off_its_files(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: python3.11-minimal\nStatus: install ok installed\nVersion: 3.11.2-6+deb12u6\n\n"
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9+deb12u10\n\n"
    )
    assert python_of(tmp_path, "amd64") == PYTHON
    with mock.patch.object(wheels_module, "installed_packages") as parsed:
        assert python_of(tmp_path, "amd64") == PYTHON
    parsed.assert_not_called()
    status.write_text(status.read_text().replace("3.11.2", "3.11.10"))
    assert python_of(tmp_path, "amd64").full_version == "3.11.10"


def test_a_base_without_python_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected) as caught:
        python_of(tmp_path, "amd64")
    assert "python3" in (caught.value.hint or "")


def test_the_python_that_is_added_to_a_base_counts(tmp_path: Path) -> None:
    added = {"python3-minimal": "3.11.2-1+b1", "python3.11-minimal": "3.11.2-6", "libc6": "2.36-9"}
    assert python_of(tmp_path, "amd64", added) == PYTHON


def test_a_wheel_whose_files_share_their_bytes_is_refused(tmp_path: Path) -> None:
    files = {f"app/{number}": bytes(30_000_000) for number in range(3)}
    with pytest.raises(ArtifactRejected, match="bytes unpacked"):
        installed(tmp_path, make_wheel(tmp_path, files=files, compression=zipfile.ZIP_DEFLATED))


def test_a_tree_is_the_one_that_the_library_makes(tmp_path: Path) -> None:
    files = {
        "app/__init__.py": b"def main(): ...\n",
        "app/big": b"some words " * 20_000,
        "app/empty": b"",
        "app-1.0.data/scripts/run": b"#!python\nmain",
        "app-1.0.data/data/share/it": b"data",
    }
    given = make_wheel(tmp_path, files=files, compression=zipfile.ZIP_DEFLATED)
    staging, expected = installed(tmp_path, given), tmp_path / "expected"
    places = dict.fromkeys(("purelib", "platlib"), f"/{PACKAGES}")
    places |= {"headers": "/usr/local/include", "scripts": "/usr/local/bin", "data": "/usr/local"}
    destination = SchemeDictionaryDestination(
        places, interpreter="/usr/bin/python3", script_kind="posix", destdir=str(expected)
    )
    with WheelFile.open(tmp_path / "links" / given.name) as wheel:
        install(wheel, destination, additional_metadata={"INSTALLER": b"fleetwide"})
    assert contents(staging) == contents(expected)


def contents(tree: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(tree).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o111)
        for path in tree.rglob("*")
        if path.is_file()
    }
