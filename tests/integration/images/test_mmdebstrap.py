import tarfile
from pathlib import Path

import psutil
import pytest

from fleetwide.errors import BuildFailed, InvalidInput
from fleetwide.models.bakery import BaseImage
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.mmdebstrap import BuiltRootfs, build_rootfs
from fleetwide.providers.progress import no_progress
from fleetwide.registry.references import ImageReference
from tests.integration.images.conftest import small_plan

pytestmark = pytest.mark.integration


def test_the_same_plan_gives_the_same_bytes(built: BuiltRootfs, tmp_path: Path) -> None:
    again = build_rootfs(small_plan(), None, tmp_path / "b", no_progress)
    assert again.rootfs.layer == built.rootfs.layer
    assert again.rootfs.packages == built.rootfs.packages


def test_the_packages_are_listed(built: BuiltRootfs) -> None:
    assert {"dpkg", "python3-minimal", "libc6"} <= built.rootfs.packages.keys()


def test_the_release_is_told_inside_and_nothing_shared_is_left(built: BuiltRootfs) -> None:
    with tarfile.open(built.layer_path) as archive:
        names = archive.getnames()
        release = archive.extractfile("./usr/lib/os-release")
        machine_id = archive.extractfile("./etc/machine-id")
        assert release is not None
        assert machine_id is not None
        assert b'IMAGE_ID="tiny"\nIMAGE_VERSION="20261122.1"\n' in release.read()
        assert machine_id.read() == b""
        assert max(member.mtime for member in archive) <= small_plan().source_date_epoch
    assert not [name for name in names if "ssh_host" in name or name.endswith("aux-cache")]
    assert not [name for name in names if name.startswith("./var/log/") and name.endswith(".log")]


def test_the_base_image_is_in_the_registry(base: BaseImage, client: RegistryClient) -> None:
    reference = ImageReference(base.repository, tag="20261122.1")
    assert client.resolve(reference) == base.digest


def test_an_unknown_package_fails_with_the_tool_s_words(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no-such-package-at-all"):
        build_rootfs(
            small_plan(packages=["no-such-package-at-all"]), None, tmp_path / "b", no_progress
        )
    assert not (tmp_path / "b").exists()


def test_an_unknown_suite_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="nosuchsuite"):
        build_rootfs(small_plan(suite="nosuchsuite"), None, tmp_path / "b", no_progress)


def test_a_keyring_that_is_not_installed_is_the_user_s_to_see(tmp_path: Path) -> None:
    plan = small_plan(keyring="/usr/share/keyrings/no-such.gpg")
    with pytest.raises(InvalidInput, match="keyring") as caught:
        build_rootfs(plan, None, tmp_path / "b", no_progress)
    assert "apt-get install debian-archive-keyring" in (caught.value.hint or "")


class Cancelled(Exception):
    pass


def test_a_cancelled_build_leaves_no_process_mount_or_file(tmp_path: Path) -> None:
    workdir = tmp_path / "b"

    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "extracting packages":
            assert running(workdir)
            raise Cancelled

    with pytest.raises(Cancelled):
        build_rootfs(small_plan(), None, workdir, stop)
    assert not running(workdir)
    assert not workdir.exists()
    assert str(workdir) not in Path("/proc/self/mountinfo").read_text()


def running(workdir: Path) -> list[int]:
    """Processes that work in or for ``workdir``."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if any(str(workdir) in word for word in words):
            found.append(process.info["pid"])
    return found
