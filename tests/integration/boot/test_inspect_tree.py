"""The static checks on a real tree, whole and broken in every way at once."""

import os
import shutil
from pathlib import Path

import pytest

from fleetwide.baseos.stanzas import parse_stanza
from fleetwide.models.baseos import CommandTest, Target
from fleetwide.models.os_releases import StaticReport
from fleetwide.providers.inspect_tree import InspectRequest, inspect_tree
from fleetwide.providers.progress import no_progress

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n"


class Cancelled(Exception):
    pass


def packages_of(tree: Path) -> dict[str, str]:
    stanzas = (tree / "var/lib/dpkg/status").read_text().strip().split("\n\n")
    return {fields["package"]: fields["version"] for fields in map(parse_stanza, stanzas)}


def found(report: StaticReport) -> dict[str, list[str]]:
    return {check.name: check.found for check in report.checks if not check.passed}


def listing(tree: Path) -> list[tuple[str, int, int]]:
    return sorted(
        (str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in tree.rglob("*")
    )


def test_a_sound_vm_passes_and_is_not_changed(vm_tree: Path) -> None:
    before = listing(vm_tree)
    commands = [CommandTest(name="writes", run="rm /etc/passwd && touch /new && apt-get clean")]
    request = InspectRequest(Target.VM, packages_of(vm_tree), commands=commands)
    phrases: list[str] = []
    report = inspect_tree(vm_tree, request, lambda phrase, _fraction: phrases.append(phrase))
    assert found(report) == {}
    assert report.passed
    assert {"looking at the files", "running dpkg --audit", "running apt-get check"} <= {*phrases}
    assert listing(vm_tree) == before


def test_a_vm_tree_is_no_container_base(vm_tree: Path) -> None:
    report = inspect_tree(
        vm_tree, InspectRequest(Target.CONTAINER, packages_of(vm_tree)), no_progress
    )
    assert list(found(report)) == ["boot_files"]


def test_every_fault_is_found_and_nothing_outside_is_read(vm_tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key.pem").write_text(KEY)
    tree = tmp_path / "tree"
    shutil.copytree(vm_tree, tree, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    packages = packages_of(tree)
    (tree / "opt/away").symlink_to(outside)
    (tree / "opt/away.pem").symlink_to(outside / "key.pem")
    (tree / "root/key.pem").write_text(KEY)
    (tree / "opt/door").touch()
    (tree / "opt/door").chmod(0o4777)
    os.mknod(tree / "srv/disk", 0o60660, os.makedev(254, 0))
    os.mkfifo(tree / "etc/machine-id.pipe")
    (tree / "etc/machine-id").write_text("96246374f5d4442087abf8be77f6f318\n")
    status = tree / "var/lib/dpkg/status"
    half = "Status: install ok half-configured"
    status.write_text(status.read_text().replace("Status: install ok installed", half, 1))
    commands = [CommandTest(name="no-such", run="echo looking; exit 3")]
    report = inspect_tree(tree, InspectRequest(Target.VM, packages, commands=commands), no_progress)
    faults = found(report)
    assert faults["secrets"] == ["/root/key.pem line 1 holds a private key"]
    assert faults["setuid"] == ["/opt/door is setuid (mode 4777)"]
    assert faults["world_writable"] == ["/opt/door can be written by everybody (mode 4777)"]
    assert faults["device_nodes"] == ["/srv/disk is a device node"]
    assert faults["machine_state"][0].startswith("/etc/machine-id holds a machine id")
    assert faults["commands"] == ["no-such ended with exit code 3: looking"]
    assert "half-configured" in faults["packages"][0]
    assert "dpkg --audit" in faults["dependencies"][0]
    assert "MIIEvQ" not in report.model_dump_json()


def test_missing_dependencies_are_told_by_apt(vm_tree: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(vm_tree, tree, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    status = tree / "var/lib/dpkg/status"
    kept = [text for text in status.read_text().split("\n\n") if "Package: udev\n" not in text]
    status.write_text("\n\n".join(kept))
    request = InspectRequest(Target.VM, packages_of(vm_tree))
    faults = found(inspect_tree(tree, request, no_progress))
    assert "udev" in faults["packages"][0]
    assert faults["dependencies"][0].startswith("apt-get check says:")


def test_cancel_ends_a_command_that_would_go_on(vm_tree: Path) -> None:
    def cancel(phrase: str, _fraction: float | None) -> None:
        if "sleep" in phrase:
            raise Cancelled

    commands = [CommandTest(name="sleeps", run="sleep 300")]
    request = InspectRequest(Target.VM, packages_of(vm_tree), commands=commands)
    with pytest.raises(Cancelled):
        inspect_tree(vm_tree, request, cancel)
