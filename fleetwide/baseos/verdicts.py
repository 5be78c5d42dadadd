"""What the console of a booting machine says: the report of the boot test, or why there is none."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetwide.baseos.smoke import END
from fleetwide.models.baseos import CommandTest
from fleetwide.models.os_releases import CheckResult

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-Za-z]|[=>78cDEHM])")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
# What the kernel and systemd may write into the middle of another line, up to its end.
_INTRUDER = re.compile(
    r"\[ *(?:\d+\.\d{3,}|OK|FAILED|DEPEND|WARN|INFO|\*+) *\](?:\[[^\]\n]{1,20}\])? [^\n]*\n"
)
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")

# What a console shows when nothing more can come, and what that means.
_DEAD_ENDS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The whole line: its end may still be under way.
    (re.compile(r"Kernel panic - not syncing: ?([^\n]*)\n"), "the kernel panicked: {}"),
    (re.compile(r"grub rescue> *$"), "GRUB did not find its files: it shows its rescue prompt"),
    (re.compile(r"^grub> *$", re.MULTILINE), "GRUB found no menu: it shows its prompt"),
    (
        re.compile(r"\(initramfs\) *$"),
        "the initramfs did not find the root file system: it started a shell",
    ),
    (
        re.compile(r"(?:You are in emergency mode|access to console, the root account is locked)"),
        "systemd went into emergency mode",
    ),
    (re.compile(r"No bootable device"), "the firmware found no bootable device"),
    (
        re.compile(r"No bootable option or device was found|UEFI Interactive Shell"),
        "the firmware found no boot loader on the EFI system partition",
    ),
)


@dataclass(frozen=True)
class Verdict:
    """The facts that a machine reported so far; ``complete`` when none is missing."""

    facts: dict[str, str]
    complete: bool


def plain(console: str) -> str:
    """Console output as text: no terminal sequences, no control characters but line feeds."""
    return _CONTROL.sub("", _ANSI.sub("", console))


def last_lines(console: str, count: int) -> list[str]:
    """The last lines of a console that hold anything."""
    lines = [line.strip() for line in plain(console).split("\n")]
    return [line for line in lines if line][-count:]


def dead_end(console: str) -> str | None:
    """Why nothing more can come from this machine; None while it may still report."""
    text = plain(console)
    for pattern, meaning in _DEAD_ENDS:
        found = pattern.search(text)
        if found:
            return meaning.format(*(group.strip() for group in found.groups()))
    return None


def read_verdict(console: str, token: str) -> Verdict:
    """The report in a console's output.

    Frames count only with this boot's ``token`` and an intact sum. Line ends, terminal sequences
    and whole lines of the kernel's in the middle of a frame do no harm.
    """
    text = plain(console)
    facts: dict[str, str] = {}
    for version in (text, _INTRUDER.sub("", text)):
        facts |= _frames(re.sub(r"\s", "", version), token)
    count = facts.pop(END, None)
    return Verdict(facts, complete=count == str(len(facts)))


def _frames(joined: str, token: str) -> dict[str, str]:
    pattern = rf"@@fleetwide:{re.escape(token)}:([a-z0-9._-]+):([A-Za-z0-9+/=]*):([0-9a-f]{{12}})@@"
    return {
        key: _decode(payload)
        for key, payload, told in re.findall(pattern, joined)
        if hashlib.sha256(f"{key}:{payload}".encode()).hexdigest()[:12] == told
    }


def _decode(payload: str) -> str:
    try:
        raw = base64.b64decode(payload, validate=True)
    except binascii.Error:
        return ""
    return plain(raw.decode(errors="replace")).strip()


def judge(facts: dict[str, str], commands: Sequence[CommandTest]) -> list[CheckResult]:
    """The checks that the reported facts pass or fail."""
    return [
        _check("system", _system(facts)),
        _check("units", _units(facts.get("failed", ""))),
        _check("root_filesystem", _root(facts.get("root", ""))),
        _check("machine_id", _machine_id(facts.get("machine-id", ""))),
        _check("network", _network(facts.get("network", ""))),
        _check("ssh_host_keys", _host_keys(facts.get("ssh"))),
        _check("cloud_init", _cloud_init(facts.get("cloud-init", ""))),
        _check("commands", _commands(facts, commands)),
    ]


def _check(name: str, found: Iterable[str]) -> CheckResult:
    sentences = list(found)
    return CheckResult(name=name, passed=not sentences, found=sentences)


def _system(facts: dict[str, str]) -> list[str]:
    state = facts.get("state", "")
    if state == "running":
        return []
    jobs = [line.split()[1] for line in facts.get("jobs", "").splitlines() if line[:1].isdigit()]
    waiting = f"; it still waits for {', '.join(jobs)}" if jobs and state == "starting" else ""
    return [f"systemd says {state or 'nothing'} instead of running{waiting}"]


def _units(failed: str) -> list[str]:
    """Each line names a unit and repeats the last that its programs said."""
    parts = (line.partition(" ") for line in failed.splitlines())
    return [f"{unit} failed{f': {said}' if said else ''}" for unit, _, said in parts]


def _root(mount: str) -> list[str]:
    fields = mount.split()
    if len(fields) < 4:
        return ["the root file system is not among the mounts"]
    if "rw" in fields[3].split(","):
        return []
    return [f"the root file system on {fields[0]} is mounted read-only"]


def _machine_id(value: str) -> list[str]:
    return [] if _MACHINE_ID.fullmatch(value) else ["the first boot set no machine id"]


def _network(interfaces: str) -> list[str]:
    if set(interfaces.split()) - {"lo"}:
        return []
    return ["no network interface came up; the machine offers DHCP on its one interface"]


def _host_keys(keys: str | None) -> list[str]:
    """The image holds none (a static check sees to that), so what is there is the machine's own."""
    return (
        [] if keys is None or keys else ["sshd is installed, but the first boot made no host key"]
    )


def _cloud_init(status: str) -> list[str]:
    words = set(re.findall(r"[a-z]+", status.lower()))
    bad = words & {"error", "degraded", "running"}
    return [f"cloud-init says: {' '.join(status.split())}"] if bad else []


def _commands(facts: dict[str, str], commands: Sequence[CommandTest]) -> list[str]:
    found = []
    for test in commands:
        code, _, output = facts.get(f"command.{test.name}", "").partition("\n")
        if code != "0":
            found.append(command_failure(test.name, code, output.splitlines()))
    return found


def command_failure(name: str, code: str, output: Sequence[str]) -> str:
    """One sentence about a command that did not end with exit code 0."""
    said = " / ".join(line.strip() for line in output[-5:] if line.strip())
    ending = f"ended with exit code {code}" if code else "did not report"
    return f"{name} {ending}{f': {said}' if said else ''}"
