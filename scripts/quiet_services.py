"""Install packages for their programs alone: the servers that they bring are not started.

Debian's packages of servers start them at once and at every boot, on fixed ports; the platform
runs them itself. While packages are installed, a policy file says no to those starts and another
keeps PostgreSQL's package from making a cluster; both go again afterwards. Needs nothing but
Python.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Path("/usr/sbin/policy-rc.d")
KEPT = Path("/usr/sbin/policy-rc.d.before-fleetwide")
"""Where a policy lies meanwhile that the machine had; ours asks it about all other services."""
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/fleetwide.conf")
SERVICES = {"docker-registry": "docker-registry.service", "nginx-light": "nginx.service"}
"""What starts at boot, by the package that brings it; PostgreSQL has no cluster to start."""
POLICY_TEXT = f"""\
#!/bin/sh
# Here only while Fleetwide's setup installs packages.
case "$1" in docker-registry*|nginx*|postgresql*) exit 101 ;; esac
[ ! -x {KEPT} ] || exec {KEPT} "$@"
exit 0
"""


@contextmanager
def quiet_services(prefix: list[str], packages: list[str]) -> Iterator[None]:
    """While packages are installed in the block, none of these services starts, nor at boot.

    ``prefix`` is what makes a command run as root.
    """
    # A kept one that is still there was left by a setup that was killed: it is the machine's own.
    if POLICY.exists() and not KEPT.exists() and POLICY.read_text() != POLICY_TEXT:
        _run([*prefix, "mv", str(POLICY), str(KEPT)])
    _write(prefix, POLICY, POLICY_TEXT, "0755")
    _write(prefix, CLUSTERS, "create_main_cluster = false\n", "0644")
    try:
        yield
        for package in packages:
            if package in SERVICES:
                # The helper does nothing unless it is told on whose behalf it is called.
                caller = ["env", f"DPKG_MAINTSCRIPT_PACKAGE={package}"]
                _run([*prefix, *caller, "deb-systemd-helper", "disable", SERVICES[package]])
    finally:
        _run([*prefix, "rm", "-f", str(POLICY), str(CLUSTERS)])
        if KEPT.exists():
            _run([*prefix, "mv", str(KEPT), str(POLICY)])


def _write(prefix: list[str], path: Path, text: str, mode: str) -> None:
    command = [*prefix, "install", "-D", "-m", mode, "/dev/stdin", str(path)]
    subprocess.run(command, input=text.encode(), check=True)


def _run(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
