"""What a console says, and the unit that makes a machine say it."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from fleetwide.baseos.smoke import (
    COMMAND_MARKER,
    MARKER,
    MAX_STRINGS_BYTES,
    oem_strings,
    smoke_script,
    smoke_unit,
)
from fleetwide.baseos.verdicts import dead_end, judge, last_lines, read_verdict
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import CommandTest
from tests.unit.consoles import TOKEN, frame, report

GOOD = {
    "state": "running",
    "jobs": "",
    "failed": "",
    "kernel": "6.1.0-cloud-amd64",
    "root": "/dev/vda1 / ext4 rw,relatime 0 0",
    "machine-id": "96246374f5d4442087abf8be77f6f318",
    "network": "enp0s2",
}


def failed(facts: dict[str, str], *commands: CommandTest) -> dict[str, list[str]]:
    return {check.name: check.found for check in judge(facts, commands) if not check.passed}


def test_a_report_is_read_from_between_other_output() -> None:
    console = f"[    0.1] booting\r\nlogin: {report(GOOD)}[   20.123456] kvm: hello\r\n"
    verdict = read_verdict(console, TOKEN)
    assert verdict.complete
    assert verdict.facts == GOOD


def test_a_frame_that_the_kernel_wrote_into_is_still_read() -> None:
    whole = report(GOOD)
    middle = whole.index("root:") + 9
    broken = f"{whole[:middle]}[   20.733980] kvm: Nested Paging enabled\r\n{whole[middle:]}"
    assert read_verdict(broken, TOKEN).facts == GOOD


def test_a_report_without_all_its_facts_is_not_complete() -> None:
    lines = report(GOOD).splitlines()
    assert not read_verdict("\n".join(lines[:-1]), TOKEN).complete
    assert not read_verdict("\n".join(lines[1:]), TOKEN).complete
    assert read_verdict("\n".join([*lines[1:], *lines]), TOKEN).complete


def test_neither_another_token_nor_a_wrong_sum_makes_a_fact() -> None:
    forged = frame("state", "running", token="f" * 16)
    altered = frame("state", "running")[:-5] + "000@@"
    assert read_verdict(f"{forged}\n{altered}\n", TOKEN).facts == {}


@pytest.mark.parametrize(
    ("console", "words"),
    [
        (
            "[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block\r\n",
            "the kernel panicked: VFS: Unable to mount root fs on unknown-block",
        ),
        ("error: no such partition.\r\nEntering rescue mode...\r\ngrub rescue> ", "rescue prompt"),
        ("GNU GRUB  version 2.06\r\n\x1b[0mgrub> ", "found no menu"),
        ("ALERT! UUID=1 does not exist.\r\n(initramfs) ", "the initramfs did not find"),
        ("You are in emergency mode. After logging in", "emergency mode"),
        ("Cannot open access to console, the root account is locked.", "emergency mode"),
        ("Boot failed: not a bootable disk\r\n\r\nNo bootable device.", "no bootable device"),
        ("BdsDxe: No bootable option or device was found.", "no boot loader"),
    ],
)
def test_dead_ends_are_told_from_what_goes_on(console: str, words: str) -> None:
    assert words in (dead_end(console) or "")


@pytest.mark.parametrize(
    "console",
    [
        "",
        "Booting from Hard Disk...",
        "[  OK  ] Reached emergency.target",
        "vm login: ",
        "[    1.5] Kernel panic - not syncing: Attempte",
    ],
)
def test_a_machine_on_its_way_is_left_alone(console: str) -> None:
    assert dead_end(console) is None


def test_last_lines_leave_out_blanks_and_terminal_sequences() -> None:
    assert last_lines("a\r\n\x1b[0;32m  OK \x1b[0m b\r\n\r\n \r\n", 5) == ["a", "OK  b"]


def test_a_good_machine_passes_every_check() -> None:
    assert failed(GOOD) == {}
    installed = {**GOOD, "ssh": "ssh_host_ed25519_key", "cloud-init": "status: done"}
    assert failed(installed) == {}


@pytest.mark.parametrize(
    ("changed", "check", "words"),
    [
        ({"state": "degraded"}, "system", "systemd says degraded instead of running"),
        (
            {"state": "starting", "jobs": "52 slow.service start running"},
            "system",
            "it still waits for slow.service",
        ),
        ({"state": ""}, "system", "systemd says nothing"),
        ({"failed": "a.service it broke\nb.mount "}, "units", "a.service failed: it broke"),
        ({"root": "/dev/vda1 / ext4 ro,relatime 0 0"}, "root_filesystem", "mounted read-only"),
        ({"root": ""}, "root_filesystem", "not among the mounts"),
        ({"machine-id": "uninitialized"}, "machine_id", "set no machine id"),
        ({"network": "lo"}, "network", "no network interface came up"),
        ({"ssh": ""}, "ssh_host_keys", "made no host key"),
        ({"cloud-init": "status: error"}, "cloud_init", "cloud-init says: status: error"),
    ],
)
def test_each_fault_fails_its_check(changed: dict[str, str], check: str, words: str) -> None:
    found = failed({**GOOD, **changed})
    assert list(found) == [check]
    assert words in found[check][0]


def test_commands_must_report_and_end_well() -> None:
    tests = [CommandTest(name=name, run="true") for name in ("good", "bad", "lost")]
    facts = {**GOOD, "command.good": "0\nfine", "command.bad": "3\nfirst\nthen"}
    assert failed(facts, *tests) == {
        "commands": ["bad ended with exit code 3: first / then", "lost did not report"]
    }


def test_the_marker_holds_token_and_commands_without_a_comma() -> None:
    tests = [CommandTest(name="a", run="echo 'x, y'; exit 1")]
    marker, command = oem_strings(TOKEN, 500, tests)
    assert marker == f"{MARKER}:{TOKEN}:300"
    head, name, code = command.split(":")
    assert (head, name) == (COMMAND_MARKER, "a")
    assert base64.b64decode(code).decode() == tests[0].run
    assert "," not in command


def test_commands_that_do_not_fit_into_the_firmware_are_refused() -> None:
    tests = [CommandTest(name=f"n{number}", run="x" * 4000) for number in range(20)]
    with pytest.raises(InvalidInput, match=str(MAX_STRINGS_BYTES)) as caught:
        oem_strings(TOKEN, 400, tests)
    assert caught.value.hint


def test_the_unit_asks_the_firmware_before_it_does_anything() -> None:
    content = smoke_unit().content or ""
    assert f"ExecCondition=/bin/grep -q {MARKER}: /sys/firmware/dmi/tables/DMI" in content
    assert f"ExecStart=/bin/sh {smoke_script().path}\n" in content


def test_the_script_stops_where_the_firmware_holds_no_marker(tmp_path: Path) -> None:
    """Run for real on tables of our own; what would follow needs programs that are not there."""
    table = tmp_path / "DMI"
    table.write_bytes(b"\x01\x1b\x01\x00\x01QEMU\x00Standard PC\x00\x00")
    script = (smoke_script().content or "").replace("/sys/firmware/dmi/tables/DMI", str(table))
    done = subprocess.run(["sh", "-c", script], env=os.environ, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
