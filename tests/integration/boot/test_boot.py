"""Real machines in QEMU: one whole boot, and every way in which a boot comes to nothing."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import Architecture, BootMode, CommandTest
from fleetwide.providers import qemu_command
from fleetwide.providers.disks import digest_disk
from fleetwide.providers.progress import no_progress
from fleetwide.providers.qemu import MAX_CONSOLE, boot_test
from fleetwide.providers.qemu_command import BootRequest
from tests.integration.boot.conftest import disk_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LOOP = b"\xeb\xfe"  # jmp to itself
FLOOD = b"\xba\xf8\x03\xb0A\xee\xeb\xfd"  # mov dx,3f8h; mov al,'A'; out dx,al; jmp to the out
POWER_OFF = b"\xba\x04\x06\xb8\x00\x20\xef\xeb\xfd"  # mov dx,604h; mov ax,2000h; out dx,ax


class Cancelled(Exception):
    pass


def boot_sector(path: Path, program: bytes, signature: bytes = b"\x55\xaa") -> Path:
    path.write_bytes(program.ljust(510, b"\0") + signature + bytes(1024**2 - 512))
    return path


def request(disk: Path, seconds: float, boot: BootMode = BootMode.BIOS) -> BootRequest:
    return BootRequest(disk, boot, disk.with_suffix(".console"), timeout_seconds=seconds)


def machines(disk: Path) -> list[psutil.Process]:
    """The processes that have the disk in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid()
        and any(f"file={disk}" in word for word in process.info["cmdline"] or [])
    ]


def eventually(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.1)


def test_a_whole_boot_reports_and_leaves_the_disk_as_it_was(
    vm_tree: Path, tools: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    digest = disk_of(vm_tree, tools, disk)
    commands = [
        CommandTest(name="writes", run="echo said, here; test -d /run/systemd/system && touch /x"),
        CommandTest(name="fails", run="echo out of luck >&2; exit 7"),
    ]
    console = tmp_path / "console"
    phrases: list[str] = []
    report = boot_test(
        BootRequest(disk, BootMode.BIOS, console, commands=commands, timeout_seconds=550),
        lambda phrase, _fraction: phrases.append(phrase),
    )
    found = {check.name: check.found for check in report.checks if check.found}
    assert found == {"commands": ["fails ended with exit code 7: out of luck"]}
    assert (report.passed, report.state, report.accelerator) == (False, "running", "tcg")
    assert any("Linux version" in phrase or "systemd" in phrase for phrase in phrases)
    assert b"Linux version" in console.read_bytes()
    assert digest_disk(disk, no_progress)[0] == digest
    assert machines(disk) == []


def test_a_kernel_panic_ends_the_test_at_once(vm_tree: Path, tools: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk_of(vm_tree, tools, disk, cmdline="init=/bin/false")
    with pytest.raises(BuildFailed, match="the kernel panicked: Attempted to kill init") as caught:
        boot_test(request(disk, 550), no_progress)
    assert "The console's last lines:" in caught.value.message
    assert b"Kernel panic - not syncing: Attempted" in disk.with_suffix(".console").read_bytes()


def test_a_machine_that_hangs_is_ended_and_told_where(tmp_path: Path) -> None:
    disk = boot_sector(tmp_path / "disk.raw", LOOP)
    with pytest.raises(BuildFailed, match=r"no report within 8 s; it hung at: Booting from") as err:
        boot_test(request(disk, 8), no_progress)
    assert err.value.hint == "tests: {boot_timeout_seconds: 16}"
    assert b"SeaBIOS" in disk.with_suffix(".console").read_bytes()
    assert machines(disk) == []


@pytest.mark.parametrize(
    ("boot", "words"),
    [(BootMode.BIOS, "no bootable device"), (BootMode.UEFI, "no boot loader on the EFI")],
)
def test_a_disk_without_a_boot_loader_is_no_matter_of_time(
    boot: BootMode, words: str, tmp_path: Path
) -> None:
    disk = boot_sector(tmp_path / "disk.raw", b"", signature=b"\0\0")
    with pytest.raises(BuildFailed, match=words):
        boot_test(request(disk, 300, boot), no_progress)


def test_a_machine_that_goes_off_without_a_report_failed(tmp_path: Path) -> None:
    disk = boot_sector(tmp_path / "disk.raw", POWER_OFF)
    with pytest.raises(BuildFailed, match="went off or started anew before it reported"):
        boot_test(request(disk, 300), no_progress)


def test_a_flooded_console_is_cut(tmp_path: Path) -> None:
    disk = boot_sector(tmp_path / "disk.raw", FLOOD)
    with pytest.raises(BuildFailed, match="the console was flooded"):
        boot_test(request(disk, 300), no_progress)
    assert disk.with_suffix(".console").stat().st_size == MAX_CONSOLE


def test_cancel_in_the_middle_leaves_no_machine(tmp_path: Path) -> None:
    disk = boot_sector(tmp_path / "disk.raw", LOOP)
    seen: list[int] = []

    def cancel(phrase: str, _fraction: float | None) -> None:
        if "Booting from" in disk.with_suffix(".console").read_text():
            seen.append(len(machines(disk)))
            raise Cancelled

    with pytest.raises(Cancelled):
        boot_test(request(disk, 300), cancel)
    assert seen[0] > 0
    assert machines(disk) == []


def test_a_killed_worker_leaves_no_machine(tmp_path: Path) -> None:
    disk = boot_sector(tmp_path / "disk.raw", LOOP)
    program = f"""
from pathlib import Path
from fleetwide.models.baseos import BootMode
from fleetwide.providers.qemu import boot_test
from fleetwide.providers.qemu_command import BootRequest
disk = Path({str(disk)!r})
boot_test(BootRequest(disk, BootMode.BIOS, disk.with_suffix(".console")), lambda *_: None)
"""
    console = disk.with_suffix(".console")
    with subprocess.Popen([sys.executable, "-c", program]) as worker:
        eventually(lambda: console.exists() and "Booting from" in console.read_text())
        assert machines(disk)
        worker.kill()
    eventually(lambda: not machines(disk))


def test_a_missing_disk_is_told_in_qemus_words(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="No such file or directory"):
        boot_test(request(tmp_path / "none.raw", 60), no_progress)


def test_a_builder_without_qemu_or_firmware_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = qemu_command._MACHINES[Architecture.AMD64]
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(PlatformError) as caught:
            boot_test(request(tmp_path / "disk.raw", 60), no_progress)
    assert caught.value.hint == "on the builder: apt-get install qemu-system-x86"
    bare = replace(machine, firmware=tmp_path / "none.fd")
    monkeypatch.setitem(qemu_command._MACHINES, Architecture.AMD64, bare)
    with pytest.raises(PlatformError) as caught:
        boot_test(request(tmp_path / "disk.raw", 60, BootMode.UEFI), no_progress)
    assert caught.value.hint == "on the builder: apt-get install ovmf"
