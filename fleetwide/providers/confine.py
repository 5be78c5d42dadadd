"""A program that makes a folder the whole world of another program: ``confine.py ROOT CALL``.

It runs in namespaces of its own already (``providers.sandbox``). It mounts what the call asks for,
turns ``ROOT`` into the root of its mount namespace and lets the old root go, so that there is no
way back, drops the capabilities that reach the machine, and becomes the program. Only the standard
library is imported. ``CALL`` is JSON: ``command``, ``env``, and ``binds`` from places inside to
paths outside.
"""

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MNT_DETACH = 2
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
# What maintainer scripts need: chown, dac_override, fowner, fsetid, kill, setgid, setuid,
# net_bind_service, sys_chroot (harmless once the old root is gone), setfcap.
KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 10, 18, 31})
# They lie in memory: full ones say "No space left on device" to the program alone.
MEMORY_FOLDERS = {
    "run": "mode=0755,size=64m,nr_inodes=10k",
    "tmp": "mode=1777,size=1g,nr_inodes=200k",
    "dev": "mode=0755,size=1m,nr_inodes=1k",
}
NODES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def main(root: Path, call: dict[str, object]) -> None:
    binds, command, env = call["binds"], call["command"], call["env"]
    assert isinstance(binds, dict)
    assert isinstance(command, list)
    assert isinstance(env, dict)
    _mount("--bind", root, root)
    _mount("-t", "proc", "-o", "ro,nosuid,nodev,noexec", "proc", _place(root, "proc"))
    for name, options in MEMORY_FOLDERS.items():
        _mount("-t", "tmpfs", "-o", options, "tmpfs", _place(root, name))
    for node in NODES:
        (root / "dev" / node).touch()
        _mount("--bind", f"/dev/{node}", root / "dev" / node)
        # The node is the machine's own: it can be written to, but its mode and owner stay.
        _mount("-o", "remount,bind,ro", root / "dev" / node)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    for inside, outside in binds.items():
        _mount("--bind", outside, _place(root, inside))
    _leave_old_root(root)
    _drop_capabilities()
    os.execvpe(command[0], command, env)  # noqa: S606 - the call is ours


def _place(root: Path, inside: str) -> Path:
    """A folder below ``root`` to mount on; a symbolic link there must not lead out."""
    place = root / inside
    place.mkdir(parents=True, exist_ok=True)
    if place.resolve() != place.absolute():
        sys.exit(f"confine: {inside} is a symbolic link")
    return place


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def _leave_old_root(root: Path) -> None:
    os.chdir(root)
    number = PIVOT_ROOT[platform.machine()]
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def _drop_capabilities() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability not in KEPT_CAPABILITIES:
            _check(_libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl")
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), json.loads(sys.argv[2]))
