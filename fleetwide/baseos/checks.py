"""What a finished root file system must look like: pure rules over what lies in it."""

import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetwide.baseos.stanzas import parse_stanza
from fleetwide.models.baseos import Target
from fleetwide.models.os_releases import CheckResult

MAX_FOUND = 40
"""Sentences per check; more only say that something is wrong altogether."""
DPKG_STATUS = "var/lib/dpkg/status"
MACHINE_ID = "etc/machine-id"
RESOLVER = "etc/resolv.conf"
READ_FILES = (DPKG_STATUS, MACHINE_ID, RESOLVER)
"""The files whose content the rules want."""
_INSTALLED = "install ok installed"

# Setuid and setgid files that packages of Debian and Ubuntu bring, by their merged-/usr paths.
_BIN = """at bsd-write chage chfn chsh crontab dotlockfile expiry fusermount fusermount3 gpasswd
    locate mlocate mount newgidmap newgrp newuidmap ntfs-3g passwd ping pkexec plocate screen
    ssh-agent su sudo sudoedit traceroute6.iputils umount wall write write.ul"""
_SBIN = """exim4 mount.cifs mount.nfs mount.ntfs mount.ntfs-3g pam_extrausers_chkpwd postdrop
    postqueue pppd unix_chkpwd"""
_LIB = """dbus-1.0/dbus-daemon-launch-helper openssh/ssh-keysign polkit-1/polkit-agent-helper-1
    policykit-1/polkit-agent-helper-1 snapd/snap-confine xorg/Xorg.wrap
    x86_64-linux-gnu/utempter/utempter aarch64-linux-gnu/utempter/utempter"""
KNOWN_SETUID = frozenset(
    f"/usr/{folder}/{name}"
    for folder, names in (("bin", _BIN), ("sbin", _SBIN), ("lib", _LIB))
    for name in names.split()
)

# Whatever holds the identity or the past of one machine: path pattern, what it is.
_MACHINE_STATE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"etc/ssh/ssh_host_.*_key(\.pub)?", "is an SSH host key"),
        (r"var/lib/(systemd|urandom)/random-seed", "is the random seed of a machine"),
        (r"var/lib/systemd/credential\.secret", "is the credential secret of a machine"),
        (r"var/lib/dbus/machine-id", "is the machine id of a machine"),
        (r"var/lib/(dhcp|dhcpcd|dhclient|NetworkManager)/.*\.leases?", "is a DHCP lease"),
        (r"var/lib/NetworkManager/secret_key", "is the secret of a machine's NetworkManager"),
        (r"etc/udev/rules\.d/\d+-persistent-(net|cd)\.rules", "names the cards of a machine"),
        (r"etc/iscsi/initiatorname\.iscsi", "is the iSCSI name of a machine"),
        (r"etc/nvme/host(id|nqn)", "is the NVMe name of a machine"),
        (r"etc/hostid", "is the host id of a machine"),
        (r"var/log/.*", "is a log with content"),
        (r"var/lib/systemd/(coredump|pstore)/.*", "is left of a crash"),
    )
)
_KERNEL = re.compile(r"boot/vmlinu[xz]-(.+)")
_INITRD = re.compile(r"boot/initrd\.img-(.+)")


@dataclass(frozen=True)
class Entry:
    """One thing in the tree; ``path`` is relative to its root."""

    path: str
    mode: int
    """Type and permission bits, as stat gives them."""
    size: int = 0


def shown(path: str) -> str:
    """A path as an absolute one for people; bytes that are no text are escaped."""
    text = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "/" + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def result(name: str, found: Iterable[str]) -> CheckResult:
    """A check that passed when nothing was found."""
    sentences = list(found)
    more = len(sentences) - MAX_FOUND
    told = [*sentences[:MAX_FOUND], f"and {more} more"] if more > 0 else sentences
    return CheckResult(name=name, passed=not sentences, found=told)


def check_packages(status: str | None, expected: Mapping[str, str]) -> CheckResult:
    """Every package fully installed, and exactly the ``expected`` ones (name to version)."""
    if status is None:
        return result("packages", [f"/{DPKG_STATUS} is missing"])
    found = []
    installed: dict[str, str] = {}
    for fields in map(parse_stanza, filter(str.strip, status.split("\n\n"))):
        name, state = fields.get("package", "?"), fields.get("status", "?")
        if state == _INSTALLED:
            installed[name] = fields.get("version", "?")
        else:
            found.append(f"{name} is in the state: {state}")
    return result("packages", [*found, *_differences(installed, expected)])


def _differences(installed: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    missing = sorted(expected.keys() - installed.keys())
    extra = sorted(installed.keys() - expected.keys())
    changed = sorted(
        name for name in expected.keys() & installed.keys() if expected[name] != installed[name]
    )
    return [
        *(f"{name} {expected[name]} is not installed" for name in missing),
        *(f"{name} {installed[name]} is installed but not in the lock" for name in extra),
        *(f"{name} is installed as {installed[name]} not {expected[name]}" for name in changed),
    ]


def check_setuid(entries: Iterable[Entry], allowed: Sequence[str]) -> CheckResult:
    """No setuid or setgid file but the distribution's own and the ``allowed`` (absolute) ones."""
    known = KNOWN_SETUID | {_merged(path) for path in allowed}
    found = []
    for entry in entries:
        bits = entry.mode & (stat.S_ISUID | stat.S_ISGID)
        if bits and stat.S_ISREG(entry.mode) and _merged(f"/{entry.path}") not in known:
            kind = "setuid" if bits & stat.S_ISUID else "setgid"
            found.append(f"{shown(entry.path)} is {kind} (mode {stat.S_IMODE(entry.mode):04o})")
    return result("setuid", found)


def _merged(path: str) -> str:
    """Where a file lies once /bin, /sbin and /lib are links into /usr."""
    return f"/usr{path}" if path.startswith(("/bin/", "/sbin/", "/lib/")) else path


def check_world_writable(entries: Iterable[Entry]) -> CheckResult:
    """No file that everybody can write, and no such folder without the sticky bit."""
    found = []
    for entry in entries:
        if not entry.mode & stat.S_IWOTH or _is_under_dev(entry.path):
            continue
        folder = stat.S_ISDIR(entry.mode) and not entry.mode & stat.S_ISVTX
        if folder or stat.S_ISREG(entry.mode):
            mode = f"{stat.S_IMODE(entry.mode):04o}"
            found.append(f"{shown(entry.path)} can be written by everybody (mode {mode})")
    return result("world_writable", found)


def check_device_nodes(entries: Iterable[Entry]) -> CheckResult:
    """No device node outside /dev."""
    found = [
        f"{shown(entry.path)} is a device node"
        for entry in entries
        if (stat.S_ISBLK(entry.mode) or stat.S_ISCHR(entry.mode)) and not _is_under_dev(entry.path)
    ]
    return result("device_nodes", found)


def _is_under_dev(path: str) -> bool:
    return path.startswith("dev/")


def check_machine_state(
    entries: Sequence[Entry], texts: Mapping[str, str], target: Target
) -> CheckResult:
    """Nothing that belongs to one machine, be it the builder or a machine that was booted once."""
    found = [
        f"{shown(entry.path)} {meaning}"
        for entry in entries
        if stat.S_ISREG(entry.mode) and entry.size
        for pattern, meaning in _MACHINE_STATE
        if pattern.fullmatch(entry.path)
    ]
    return result("machine_state", [*_machine_id(texts, target), *_resolver(texts), *found])


def _machine_id(texts: Mapping[str, str], target: Target) -> list[str]:
    content = texts.get(MACHINE_ID)
    if content is None and target is Target.VM:
        return [f"/{MACHINE_ID} is missing; an empty file makes the first boot set one"]
    if content and content.strip() not in ("", "uninitialized"):
        return [f"/{MACHINE_ID} holds a machine id that all copies would share"]
    return []


def _resolver(texts: Mapping[str, str]) -> list[str]:
    lines = texts.get(RESOLVER, "").splitlines()
    if any(line.split()[:1] == ["nameserver"] for line in lines):
        return [f"/{RESOLVER} holds the name servers of the builder"]
    return []


def check_boot_files(entries: Sequence[Entry], target: Target) -> CheckResult:
    """A VM has kernel, initrd and init; a container base has no kernel."""
    paths = {entry.path for entry in entries}
    kernels = {match[1] for path in paths if (match := _KERNEL.fullmatch(path))}
    if target is Target.CONTAINER:
        extra = [f"/boot holds the kernel {kernel}" for kernel in sorted(kernels)]
        return result("boot_files", extra)
    initrds = {match[1] for path in paths if (match := _INITRD.fullmatch(path))}
    found = [f"the kernel {kernel} has no initrd" for kernel in sorted(kernels - initrds)]
    if not kernels:
        found.append("/boot holds no kernel")
    if not paths & {"sbin/init", "usr/sbin/init"}:
        found.append("/sbin/init is missing")
    return result("boot_files", found)
