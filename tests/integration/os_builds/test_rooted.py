"""What a script in a build root can reach: its own tree, and nothing else of the machine."""

import os
import platform
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleetwide.providers.rooted import run_rooted
from fleetwide.providers.sandbox import Finished
from tests.integration.os_builds.conftest import mounts_below

pytestmark = pytest.mark.integration
PERL_ESCAPE = """
perl -e 'mkdir "/jail"; chroot("/jail") or die "chroot: $!"; chdir("..") for 1..100;
chroot(".") or die; opendir(my $d, "/") or die; print join(" ", sort grep {!/^[.]/} readdir $d), "\n"'
"""


def run(tree: Path, text: str) -> Finished:
    return run_rooted(tree, ["/bin/sh", "-c", text])


@pytest.fixture(scope="module")
def tree(pristine: Path, home: Path) -> Iterator[Path]:
    """One copy for all: what a script may do to its own tree is of no interest here."""
    copy = home / "rooted"
    subprocess.run(["cp", "--archive", str(pristine), str(copy)], check=True)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file of the builder where every tree has a folder too."""
    with tempfile.TemporaryDirectory(prefix="fw-canary-", dir="/var/tmp") as folder:
        path = Path(folder) / "secret"
        path.write_text("of the builder")
        yield path


def test_the_builder_s_files_are_out_of_sight(tree: Path, canary: Path) -> None:
    done = run(tree, f"cat {canary}; cat /proc/1/root{canary}; cat /proc/self/cwd{canary}; ls /tmp")
    assert done.returncode == 0
    assert "of the builder" not in "".join(done.lines)
    assert all("No such file" in line for line in done.lines)
    assert canary.read_text() == "of the builder"


def test_a_chroot_in_a_chroot_leads_nowhere_else(tree: Path) -> None:
    done = run(tree, PERL_ESCAPE)
    names = {path.name for path in tree.iterdir()}
    assert (done.returncode, set(done.lines[-1].split())) == (0, names)


def test_the_builder_s_descriptors_and_variables_do_not_come_along(
    tree: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with canary.open("rb") as held:
        os.set_inheritable(held.fileno(), True)
        done = run(tree, "env; ls -l /proc/self/fd /proc/1/fd; cat /proc/1/environ")
    assert "hunter2" not in "".join(done.lines)
    assert "secret" not in "".join(done.lines)


def test_nothing_can_be_mounted(tree: Path) -> None:
    """The system calls themselves: an image need not have the programs."""
    mount, umount = {"x86_64": (165, 166), "aarch64": (40, 39)}[platform.machine()]
    calls = [
        f"{mount}, $fs, $mnt, $fs, 0, 0",
        f"{mount}, $fs, $mnt, $proc, 0, 0",
        f"{mount}, $root, $mnt, 0, 4096, 0",
        f"{mount}, 0, $proc, 0, 32, 0",
        f"{umount}, $proc, 0",
    ]
    for call in calls:
        texts = '($fs, $proc, $mnt, $root) = ("tmpfs", "/proc", "/mnt", "/");'
        done = run(tree, f"perl -e '{texts} print syscall({call}) == 0 ? 1 : $!'")
        assert done.lines == ["Operation not permitted"], call


def test_kernel_settings_cannot_be_changed(tree: Path) -> None:
    done = run(
        tree, "echo x > /proc/sys/kernel/hostname || echo refused; hostname other || echo refused"
    )
    assert done.lines.count("refused") == 2
    assert not (tree / "sys/kernel").exists()


def test_devices_cannot_be_made(tree: Path) -> None:
    done = run(tree, "mknod /srv/disk b 254 0 || mknod /srv/mem c 1 1 || echo refused")
    assert done.lines[-1] == "refused"
    assert [path for path in (tree / "srv").iterdir() if path.is_block_device()] == []


def test_only_harmless_devices_are_there(tree: Path) -> None:
    done = run(tree, "ls /dev; head -c 4 /dev/zero | od -An -tx1; echo x > /dev/null")
    assert done.returncode == 0
    assert done.lines == ["fd", "full", "null", "random", "urandom", "zero", " 00 00 00 00"]


def test_the_network_is_out_of_reach(tree: Path) -> None:
    """Neither by an address, nor by a socket of no place that only a namespace hides."""
    abstract = f"\0fleetwide-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        hidden.bind(abstract)
        hidden.listen()
        port = server.getsockname()[1]
        done = run(
            tree,
            f"""perl -MSocket -e 'socket(my $s, PF_INET, SOCK_STREAM, 0) or die;
            print connect($s, sockaddr_in({port}, INADDR_LOOPBACK)) ? "in\n" : "out\n";
            socket(my $u, PF_UNIX, SOCK_STREAM, 0) or die;
            print connect($u, pack_sockaddr_un("\\0{abstract[1:]}")) ? "in\n" : "out\n";'
            cut -d: -f1 /proc/net/dev""",
        )
    assert done.lines[:2] == ["out", "out"]
    assert [line.strip() for line in done.lines[4:]] in (["lo"], [])


def test_other_processes_are_neither_seen_nor_killed(tree: Path) -> None:
    with subprocess.Popen(["sleep", "300"]) as bystander:
        done = run(
            tree, f"ls -d /proc/[0-9]*; kill -9 {bystander.pid}; kill -9 -1; kill -9 1; echo on"
        )
        alive = bystander.poll() is None
        bystander.kill()
    assert alive
    assert len([line for line in done.lines if line.startswith("/proc/")]) <= 3
    assert any("No such process" in line for line in done.lines)


def test_run_and_tmp_are_forgotten(tree: Path) -> None:
    before = sorted(path.name for path in (*(tree / "tmp").iterdir(), *(tree / "run").iterdir()))
    assert run(tree, "echo x > /tmp/a; echo x > /run/b; mkdir -p /run/c/d").returncode == 0
    after = sorted(path.name for path in (*(tree / "tmp").iterdir(), *(tree / "run").iterdir()))
    assert after == before


def test_a_bound_folder_can_be_written_to(tree: Path, tmp_path: Path) -> None:
    done = run_rooted(tree, ["/bin/sh", "-c", "echo hi > /tmp/in/file"], binds={"tmp/in": tmp_path})
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "hi\n"


def test_no_program_gets_more_rights_than_the_script(tree: Path) -> None:
    """No capability that reaches the machine, and none comes back by a setuid program."""
    done = run(tree, "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status")
    told = dict(line.split(":\t") for line in done.lines)
    reaching = sum(1 << number for number in (12, 13, 16, 17, 19, 21, 22, 25, 27, 38, 39))
    assert int(told["CapBnd"], 16) & reaching == 0
    assert int(told["CapEff"], 16) & reaching == 0
    assert told["NoNewPrivs"] == "1"


@pytest.mark.parametrize("name", ["tmp", "run", "proc", "dev"])
@pytest.mark.parametrize("there", [True, False])
def test_a_mount_place_that_is_a_link_is_refused(
    tree: Path, canary: Path, name: str, there: bool
) -> None:
    """A tree's ``/tmp`` that leads to the builder's must not be mounted upon."""
    target = canary.parent if there else canary.parent / "new"
    (tree / name).rename(tree / f"{name}.old")
    (tree / name).symlink_to(target)
    try:
        done = run(tree, "echo ran")
    finally:
        (tree / name).unlink()
        (tree / f"{name}.old").rename(tree / name)
    assert done.returncode != 0
    assert "ran" not in done.lines
    assert mounts_below(canary.parent) == []
    assert [path.name for path in canary.parent.iterdir()] == ["secret"]


def marked(marker: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(marker in word for word in process.info["cmdline"] or [])
    ]


def test_what_a_script_leaves_running_ends_with_it(tree: Path) -> None:
    marker = f"left-behind-{os.getpid()}"
    daemon = f"trap '' HUP TERM; while :; do sleep 1; : {marker}; done"
    text = f'setsid sh -c "{daemon}" < /dev/null > /dev/null 2>&1 & sleep 0.2; ls /proc | grep -c "^[0-9]"'
    done = run(tree, text)
    assert done.returncode == 0
    assert int(done.lines[-1]) >= 4
    assert marked(marker) == []
    assert mounts_below(tree) == []


class Cancelled(Exception):
    pass


def test_cancel_ends_a_script_and_what_it_started(tree: Path) -> None:
    marker = f"cancelled-{os.getpid()}"
    daemon = f"trap '' HUP TERM INT; while :; do sleep 1; : {marker}; done"

    def cancel(phrase: str, _fraction: float | None) -> None:
        if phrase == "ready" and marked(marker):
            raise Cancelled

    with pytest.raises(Cancelled):
        run_rooted(
            tree,
            ["/bin/sh", "-c", f'setsid sh -c "{daemon}" & echo ready; wait'],
            progress=cancel,
            read=lambda line: (line, None),
        )
    assert marked(marker) == []
    assert mounts_below(tree) == []


def test_the_builder_s_devices_keep_their_mode(tree: Path) -> None:
    """The nodes are the machine's own: a change of one would be a change of the machine."""
    node = Path("/dev/full")
    before = node.stat()
    try:
        run(tree, "chmod 0642 /dev/full; chown 1:1 /dev/full; touch -d @1 /dev/full")
        after = node.stat()
    finally:
        node.chmod(stat.S_IMODE(before.st_mode))
        os.chown(node, before.st_uid, before.st_gid)
        os.utime(node, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (after.st_mode, after.st_uid, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime,
    )


def test_a_builder_folder_behind_a_link_will_do(tree: Path, tmp_path: Path) -> None:
    """Operators put builders on other disks by a symbolic link."""
    (tmp_path / "link").symlink_to(tree)
    assert run(tmp_path / "link", "echo ran").lines == ["ran"]
