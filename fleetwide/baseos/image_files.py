"""Texts that every image carries: who it is, where its packages come from, how a VM starts."""

from collections.abc import Callable

from fleetwide.baseos.suites import source_line
from fleetwide.models.baseos import BuildPlan
from fleetwide.models.os_locks import LockedSource

DPKG_CONFIG = "/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
TRIM_CONFIG = "/etc/dpkg/dpkg.cfg.d/fleetwide-trim"

# What must not be shared between machines, and what differs from build to build.
REMOVED = (
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    DPKG_CONFIG,
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/dbus/machine-id",
    "/var/cache/ldconfig/aux-cache",
    "/root/.bash_history",
    "/root/.wget-hsts",
)
# Folder to the start and end of the names in it that go.
REMOVED_NAMES: tuple[tuple[str, str, str], ...] = (
    ("/etc/ssh", "ssh_host_", "_key"),
    ("/etc/ssh", "ssh_host_", "_key.pub"),
    ("/etc/cloud", "build", ".info"),
    ("/var/cache/debconf", "", "-old"),
    ("/var/lib/dpkg", "", "-old"),
    ("/var/log", "", ".log"),
    ("/etc", "", "-"),
)
# Left by the package manager of the build, stale at once.
EMPTIED_FOLDERS = ("/var/log/apt", "/var/cache/apt", "/var/lib/apt/lists", "/var/lib/cloud")


def os_release(plan: BuildPlan, build_key: str) -> str:
    """Lines for /usr/lib/os-release. Source: os-release(5)."""
    return (
        f'IMAGE_ID="{plan.name}"\n'
        f'IMAGE_VERSION="{plan.version}"\n'
        f'BUILD_ID="{build_key.removeprefix("sha256:")[:16]}"\n'
    )


def sources_list(sources: list[LockedSource], has: Callable[[str], bool]) -> str:
    """The image's own sources.list; a keyring is named where the image ``has`` it."""
    lines = []
    for source in sources:
        line = source_line(source)
        if not has(source.keyring):
            line = line.replace(f"[signed-by={source.keyring}] ", "")
        lines.append(f"{line}\n")
    return "".join(lines)


def sysctl_conf(sysctls: dict[str, str | int]) -> str:
    """A file of sysctl.d."""
    return "".join(f"{name} = {value}\n" for name, value in sorted(sysctls.items()))


NETWORK = """\
# Any wired interface asks by DHCP, unless cloud-init or a file of a smaller number says otherwise.
[Match]
Name=en* eth*

[Network]
DHCP=yes
IPv6AcceptRA=yes
"""
CLOUD_CONFIG = """\
datasource_list: [Ec2, NoCloud, ConfigDrive, None]
ssh_pwauth: false
# The default, en_US.UTF-8, is in no image that did not ask for the package locales.
locale: C.UTF-8
"""
HOST_KEYS_UNIT = """\
[Unit]
Description=Make SSH host keys that no other machine has
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
ConditionFileIsExecutable=/usr/bin/ssh-keygen
Before=ssh.service
After=cloud-init.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
VM_FILES: dict[str, str] = {
    "/etc/systemd/network/99-fleetwide-dhcp.network": NETWORK,
    "/etc/cloud/cloud.cfg.d/90_fleetwide.cfg": CLOUD_CONFIG,
    "/etc/systemd/system/fleetwide-ssh-host-keys.service": HOST_KEYS_UNIT,
    "/etc/hostname": "localhost\n",
    "/etc/hosts": HOSTS,
}
VM_UNITS = ("systemd-networkd.service", "fleetwide-ssh-host-keys.service")
VM_UNITS_WHERE_THEY_EXIST = ("systemd-resolved.service",)
RESOLVER = "/run/systemd/resolve/stub-resolv.conf"
