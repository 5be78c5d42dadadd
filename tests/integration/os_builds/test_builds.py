import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_locks import Lock, LockedPackage
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers import mmdebstrap
from fleetwide.providers.os_builds import build_container
from fleetwide.providers.progress import no_progress
from tests.integration.os_builds.conftest import Built, build_offline, workshop

# A whole build takes some fifteen seconds on two quiet cores, and several times that on busy ones.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_two_builders_make_the_same_bytes_without_a_network(
    built: Built, locked: LockedPlan, other_home: Path
) -> None:
    again = build_offline(other_home, locked, other_home / "deep/er/work")
    assert again.rootfs.layer == built.rootfs.layer
    with built.layer.open("rb") as ours, again.layer.open("rb") as theirs:
        digests = [hashlib.file_digest(file, "sha256").hexdigest() for file in (ours, theirs)]
    assert digests == [built.rootfs.layer.digest.removeprefix("sha256:")] * 2


def test_the_layer_holds_the_locked_packages_and_no_others(
    built: Built, lock: Lock, tmp_path: Path
) -> None:
    with tarfile.open(built.layer) as archive:
        status = archive.extractfile("var/lib/dpkg/status")
        assert status is not None
        (tmp_path / "status").write_bytes(status.read())
    command = ["dpkg-query", f"--admindir={tmp_path}", "-f", "${Package} ${Version}\n", "-W"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    installed = dict(line.split() for line in lines)
    assert installed == {package.name: package.version for package in lock.packages}
    assert built.rootfs.packages == installed


def test_the_layer_holds_what_the_spec_says_and_no_traces(built: Built, locked: LockedPlan) -> None:
    with tarfile.open(built.layer) as archive:
        found = {member.name: member for member in archive}
        stamp = archive.extractfile("srv/stamp")
        assert stamp is not None
        assert stamp.read() == b"0 /root\n"
    motd, keys = found["etc/motd"], found["srv/app/.ssh/authorized_keys"]
    assert (motd.uid, motd.gid, motd.mode) == (1500, 4, 0o640)
    assert (keys.uid, keys.gid, keys.mode) == (1500, 1500, 0o600)
    assert (found["srv/stamp"].uid, found["srv/stamp"].gid) == (1500, 1500)
    assert found["srv/app/deep/er/link"].linkname == "/etc/motd"
    assert max(member.mtime for member in found.values()) <= locked.source_date_epoch
    assert found["etc/machine-id"].size == 0
    gone = {"srv/app/now", "etc/resolv.conf", "etc/hostname", "tmp/fleetwide", "etc/passwd-"}
    assert not gone & found.keys()
    stale = ("var/log/apt/", "var/cache/apt/", "var/lib/apt/lists/")
    assert not [name for name, one in found.items() if one.isreg() and name.startswith(stale)]


def pack(work: Path, deb: Path) -> None:
    command = ["dpkg-deb", "--root-owner-group", "--build", str(work), str(deb)]
    subprocess.run(command, check=True, capture_output=True)


def other_version(lock: Lock, home: Path, folder: Path) -> tuple[LockedPackage, Path]:
    """A small package of the lock, and the same package as another version."""
    package = next(one for one in lock.packages if one.name == "hostname")
    work, deb = folder / "unpacked", folder / "other.deb"
    subprocess.run(["dpkg-deb", "-R", home / "pool" / f"{package.sha256}.deb", work], check=True)
    control = work / "DEBIAN/control"
    old = f"Version: {package.version}\n"
    assert old in control.read_text()
    control.write_text(control.read_text().replace(old, f"Version: {package.version}.1\n"))
    pack(work, deb)
    return package, deb


def test_a_pool_with_other_bytes_than_the_lock_s_is_refused(
    locked: LockedPlan, lock: Lock, other_home: Path, tmp_path: Path
) -> None:
    package, deb = other_version(lock, other_home, tmp_path)
    shutil.copy(deb, other_home / "pool" / f"{package.sha256}.deb")
    with pytest.raises(PlatformError, match="Hash Sum mismatch"):
        build_container(locked, workshop(other_home, lock), no_progress)
    assert not (other_home / "failed").exists()


def test_a_lock_that_is_wrong_about_a_version_is_refused(
    locked: LockedPlan, lock: Lock, other_home: Path, tmp_path: Path
) -> None:
    """All digests fit, yet what would be installed is not what the lock calls it."""
    package, deb = other_version(lock, other_home, tmp_path)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    shutil.copy(deb, other_home / "pool" / f"{digest}.deb")
    size = deb.stat().st_size
    kept = [
        line
        for line in package.stanza.splitlines()
        if not line.startswith(("Version", "Size", "SHA256", "MD5sum"))
    ]
    added = [f"Version: {package.version}.1", f"Size: {size}", f"SHA256: {digest}"]
    swapped = package.model_copy(
        update={"sha256": digest, "size": size, "stanza": "\n".join([*kept, *added])}
    )
    others = [one for one in lock.packages if one != package]
    wrong = lock.model_copy(update={"packages": [*others, swapped]})
    told = f"hostname is installed as {package.version}.1 not {package.version}"
    with pytest.raises(BuildFailed) as caught:
        build_container(locked, workshop(other_home, wrong), no_progress)
    assert told in caught.value.message


def test_an_empty_tree_is_no_success(
    locked: LockedPlan, lock: Lock, other_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As mmdebstrap has been seen to do after making nothing."""
    monkeypatch.setattr(mmdebstrap, "mmdebstrap_command", lambda run: ["mkdir", run.target])
    with pytest.raises(BuildFailed, match="the tree has other packages than the lock"):
        build_container(locked, workshop(other_home, lock), no_progress)


def test_a_failing_script_keeps_the_tree_for_somebody_to_look_into(
    lock: Lock, locked: LockedPlan, other_home: Path
) -> None:
    broken = {"name": "broken", "run": "echo so far so good; touch /srv/half-way; exit 9"}
    given = {**json.loads(locked.plan.spec.model_dump_json()), "scripts": [broken]}
    plan = locked.plan.model_copy(update={"spec": OSImageSpec.model_validate(given)})
    failing = locked.model_copy(update={"plan": plan})
    with pytest.raises(BuildFailed, match="exit code 9") as caught:
        build_container(failing, workshop(other_home, lock), no_progress)
    kept = other_home / "failed/tiny-1-container"
    assert caught.value.hint == f"on the builder: chroot {kept} /bin/sh"
    assert f"kept for 24 hours on the builder: {kept}" in caught.value.message
    assert (kept / "srv/half-way").is_file()
    assert (other_home / "failed/tiny-1-container.log").read_text() == "so far so good\n"
    command = ["chroot", str(kept), "/bin/sh", "-c", "echo in"]
    inside = subprocess.run(command, capture_output=True, check=True)
    assert inside.stdout == b"in\n"
