"""The rules for a finished root file system, on trees that exist only as data."""

import stat

import pytest

from fleetwide.baseos.checks import (
    MAX_FOUND,
    Entry,
    check_boot_files,
    check_device_nodes,
    check_machine_state,
    check_packages,
    check_setuid,
    check_world_writable,
    shown,
)
from fleetwide.baseos.leaks import MAX_FILE, find_leaks, is_scanned
from fleetwide.models.baseos import Target

FILE, FOLDER, LINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
STATUS = """\
Package: bash
Status: install ok installed
Version: 5.2-1
Description: shell
 with a second line

Package: dash
Status: install ok half-configured
Version: 0.5

Package: tar
Status: install ok installed
Version: 1.34
"""


def entry(path: str, mode: int = FILE | 0o644, size: int = 1) -> Entry:
    return Entry(path, mode, size)


def test_packages_must_be_the_expected_ones_in_the_expected_versions() -> None:
    found = check_packages(STATUS, {"bash": "5.3-1", "zlib1g": "1.2"}).found
    assert found == [
        "dash is in the state: install ok half-configured",
        "zlib1g 1.2 is not installed",
        "tar 1.34 is installed but not in the lock",
        "bash is installed as 5.2-1 not 5.3-1",
    ]


def test_a_tree_with_just_the_locked_packages_passes() -> None:
    whole = STATUS.replace("half-configured", "installed")
    assert check_packages(whole, {"bash": "5.2-1", "dash": "0.5", "tar": "1.34"}).passed
    assert check_packages(None, {}).found == ["/var/lib/dpkg/status is missing"]


def test_only_known_and_allowed_files_may_be_setuid() -> None:
    entries = [
        entry("usr/bin/su", FILE | 0o4755),
        entry("bin/mount", FILE | 0o4755),
        entry("usr/local/bin/mine", FILE | 0o4755),
        entry("opt/door", FILE | 0o4755),
        entry("opt/window", FILE | 0o2755),
        entry("var/mail", FOLDER | 0o2775),
        entry("opt/plain", FILE | 0o755),
    ]
    assert check_setuid(entries, ["/usr/local/bin/mine"]).found == [
        "/opt/door is setuid (mode 4755)",
        "/opt/window is setgid (mode 2755)",
    ]


def test_world_writable_files_and_folders_without_the_sticky_bit_are_told() -> None:
    entries = [
        entry("tmp", FOLDER | 0o1777),
        entry("var/drop", FOLDER | 0o777),
        entry("etc/open", FILE | 0o666),
        entry("etc/link", LINK | 0o777),
        entry("dev/null", stat.S_IFCHR | 0o666),
    ]
    assert check_world_writable(entries).found == [
        "/var/drop can be written by everybody (mode 0777)",
        "/etc/open can be written by everybody (mode 0666)",
    ]


def test_device_nodes_belong_under_dev() -> None:
    nodes = [entry("dev/sda", stat.S_IFBLK | 0o660), entry("srv/mem", stat.S_IFCHR | 0o600)]
    assert check_device_nodes(nodes).found == ["/srv/mem is a device node"]


@pytest.mark.parametrize(
    "path",
    [
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "var/lib/systemd/random-seed",
        "var/lib/systemd/credential.secret",
        "var/lib/dbus/machine-id",
        "var/lib/dhcp/dhclient.eth0.leases",
        "etc/udev/rules.d/70-persistent-net.rules",
        "var/log/apt/history.log",
        "var/log/journal/abc/system.journal",
    ],
)
def test_state_of_a_machine_is_refused_unless_it_is_empty(path: str) -> None:
    texts = {"etc/machine-id": ""}
    (found,) = check_machine_state([entry(path)], texts, Target.VM).found
    assert found.startswith((f"/{path} is ", f"/{path} names "))
    assert check_machine_state([entry(path, size=0)], texts, Target.VM).passed
    assert check_machine_state([entry(path, LINK | 0o777)], texts, Target.VM).passed


@pytest.mark.parametrize(
    ("texts", "target", "passed"),
    [
        ({"etc/machine-id": ""}, Target.VM, True),
        ({"etc/machine-id": "uninitialized\n"}, Target.VM, True),
        ({}, Target.VM, False),
        ({}, Target.CONTAINER, True),
        ({"etc/machine-id": "96246374f5d4442087abf8be77f6f318\n"}, Target.CONTAINER, False),
        ({"etc/machine-id": "", "etc/resolv.conf": "nameserver 10.0.0.2\n"}, Target.VM, False),
        ({"etc/machine-id": "", "etc/resolv.conf": "# none yet\n"}, Target.VM, True),
    ],
)
def test_machine_id_and_resolver(texts: dict[str, str], target: Target, passed: bool) -> None:
    assert check_machine_state([], texts, target).passed is passed


def test_a_vm_needs_what_it_boots_from_and_a_container_must_not_have_it() -> None:
    whole = [entry("boot/vmlinuz-6.1"), entry("boot/initrd.img-6.1"), entry("usr/sbin/init", LINK)]
    assert check_boot_files(whole, Target.VM).passed
    assert check_boot_files(whole, Target.CONTAINER).found == ["/boot holds the kernel 6.1"]
    assert check_boot_files([], Target.CONTAINER).passed
    assert check_boot_files([entry("boot/vmlinuz-6.1")], Target.VM).found == [
        "the kernel 6.1 has no initrd",
        "/sbin/init is missing",
    ]
    assert "/boot holds no kernel" in check_boot_files([], Target.VM).found


def test_a_flood_of_findings_is_cut() -> None:
    entries = [entry(f"opt/{number}", FILE | 0o666) for number in range(MAX_FOUND + 7)]
    found = check_world_writable(entries).found
    assert (len(found), found[-1]) == (MAX_FOUND + 1, "and 7 more")


def test_names_that_are_no_text_are_told_as_text() -> None:
    assert shown("opt/a\udcffb\n\x1b[2J") == "/opt/a\\xffb\\x0a\\x1b[2J"
    shown("opt/\udc80").encode()


BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n"
LEAKS = [
    ("etc/ssl/private/a.key", KEY, "line 1 holds a private key"),
    ("root/.ssh/id_ed25519", "\n" + KEY.replace("RSA", "OPENSSH"), "line 2 holds a private key"),
    ("srv/b.pem", KEY.replace("RSA ", ""), "line 1 holds a private key"),
    (
        "opt/c.pem",
        f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n{BODY}",
        "line 1 holds a private key",
    ),
    (
        "opt/account.json",
        f'"key": "-----BEGIN PRIVATE KEY-----\\n{BODY}"',
        "line 1 holds a private key",
    ),
    ("opt/env", "ID=AKIA" + "QWERTYUIOPASDFGH", "line 1 holds an AWS access key id"),
    (
        "root/.aws/credentials",
        "[default]\naws_secret_access_key = " + "Ab1/" * 10,
        "line 2 holds an AWS secret access key",
    ),
    ("etc/environment", "T=ghp_" + "a1" * 18, "line 1 holds a GitHub token"),
    ("etc/environment", "T=glpat-" + "a1" * 10, "line 1 holds a GitLab token"),
    ("etc/environment", "T=xoxb-" + "1234567890-", "line 1 holds a Slack token"),
    ("root/.netrc", "machine a login b password c", "line 1 holds a password"),
    ("etc/apt/auth.conf.d/x.conf", "machine a login b password c", "line 1 holds a password"),
    ("home/a/.pgpass", "# none\nhost:5432:db:user:secret", "line 2 holds a database password"),
    ("root/.git-credentials", "https://u:p@example.org", "line 1 holds git credentials"),
    (
        "root/.docker/config.json",
        '{"auths": {"r": {"auth": "dXNlcjpwYXNz"}}}',
        "line 1 holds registry credentials",
    ),
    (
        "etc/apt/sources.list",
        "# deb\ndeb https://user:secret@mirror.example/debian x main",
        "line 2 holds credentials in a URL",
    ),
    ("root/.bash_history", "ls\n", "line 1 holds a shell's or client's history"),
    (
        "var/lib/cloud/instances/i-1/user-data.txt",
        "x",
        "line 1 holds the state of a cloud-init instance",
    ),
    (
        "etc/shadow",
        "root:*:1::::::\nbob:!$y$j9T$abc:1::::::",
        "line 2 holds the password hash of bob",
    ),
    ("etc/shadow", "root::1::::::", "line 1 lets root in without a password"),
]


@pytest.mark.parametrize(("path", "content", "told"), LEAKS)
def test_secrets_are_found_and_never_repeated(path: str, content: str, told: str) -> None:
    assert is_scanned(path, len(content))
    assert list(find_leaks(path, content.encode())) == [told]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("etc/ssl/certs/ca.pem", "-----BEGIN CERTIFICATE-----\n" + BODY),
        ("usr/local/bin/tool", 'if line == "-----BEGIN RSA PRIVATE KEY-----": read()'),
        ("opt/readme", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("etc/apt/sources.list", "# deb https://user:secret@mirror/debian\ndeb http://m/debian x"),
        ("root/.docker/config.json", '{"auths": {}, "credsStore": "pass"}'),
        ("etc/shadow", "root:*:1::::::\ndaemon:!*:1::::::\nbob:!:1::::::"),
        ("etc/gshadow", "root:*::\nadm:::\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash"),
        ("etc/netrc.d", "password policy"),
    ],
)
def test_what_only_looks_like_a_secret_passes(path: str, content: str) -> None:
    assert list(find_leaks(path, content.encode())) == []


@pytest.mark.parametrize(
    ("path", "size", "scanned"),
    [
        ("etc/a", 1, True),
        ("etc/a", 0, False),
        ("etc/a", MAX_FILE + 1, False),
        ("usr/share/doc/key.pem", 10, False),
        ("usr/local/lib/python3.11/dist-packages/x/tests/key.pem", 10, False),
        ("usr/local/share/tests/key.pem", 10, True),
    ],
)
def test_what_is_read_at_all(path: str, size: int, scanned: bool) -> None:
    assert is_scanned(path, size) is scanned
