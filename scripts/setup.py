#!/usr/bin/env python3
"""Prepare a machine for Fleetwide: system packages, then the virtual environment.

Needs nothing but Python. Installs only what is missing, says what and why, and does nothing when
all is there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from quiet_services import quiet_services

MINIMUM = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".fleetwide-setup"
LOCK = ROOT / "requirements.lock"
KEYRINGS = Path("/usr/share/keyrings")
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
SEARCH_PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"

if TYPE_CHECKING:  # an older Python has to get as far as saying that it is too old
    Package = tuple[str, str]
    Word = str | Path


def say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def fail(text: str, hint: str) -> NoReturn:
    sys.stderr.write(f"setup: {text}\nhint: {hint}\n")
    sys.exit(1)


def choose_python() -> None:
    """Go on under a Python that is new enough, or say that there is none."""
    if sys.version_info >= MINIMUM:
        return
    for minor in range(14, MINIMUM[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and subprocess.run([other, "-c", ""], check=False).returncode == 0:
            os.execv(other, [other, *sys.argv])  # noqa: S606 (the same program, a newer Python)
    found = ".".join(map(str, sys.version_info[:3]))
    fail(
        f"Python {MINIMUM[0]}.{MINIMUM[1]} or newer is needed, this is {found}",
        "install a newer one, then: make setup PYTHON=/path/to/python3",
    )


def program(name: str) -> bool:
    return shutil.which(name, path=SEARCH_PATH) is not None


def docker_present() -> bool:
    if program("dockerd"):
        return True
    url = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not url.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(url[len("unix://") :])
        except OSError:
            return False
    return True


def postgresql_present() -> bool:
    """Its server lies in a folder of its version, on no path."""
    return any(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or program("postgres")


def missing_packages() -> list[Package]:
    """Package and reason of everything that the platform cannot do without and that is absent."""
    needed = [
        ("docker.io", "runs the containers", docker_present()),
        ("docker-registry", "stores the images (Docker Distribution)", program("docker-registry")),
        ("nginx-light", "serves the registry's front door", program("nginx")),
        ("postgresql", "keeps the books of the tests that need it", postgresql_present()),
        ("skopeo", "is a client that tests try the registry with", program("skopeo")),
        ("containerd", "is another: its ctr pulls without Docker", program("ctr")),
        ("mmdebstrap", "builds root file systems from packages", program("mmdebstrap")),
        ("crun", "starts baked images to test them", program("crun")),
        ("e2fsprogs", "makes disk images without mounting them", program("mkfs.ext4")),
        ("qemu-system-x86", "boots VM images to test them", program("qemu-system-x86_64")),
        ("ovmf", "firmware for the boot test of UEFI images", OVMF.exists()),
        ("gpgv", "checks the signatures of package archives", program("gpgv")),
        ("ca-certificates", "trusts HTTPS servers", Path("/etc/ssl/certs").is_dir()),
        (
            f"python3.{sys.version_info[1]}-venv",
            "makes the virtual environment",
            VENV_PYTHON.exists() or importlib.util.find_spec("ensurepip") is not None,
        ),
    ]
    return [(name, why) for name, why, present in needed if not present]


def missing_keyrings() -> list[Package]:
    """Keyrings that let one distribution build the other; not every release packages them."""
    keyrings = [
        ("debian-archive-keyring", "debian-archive-keyring.gpg", "checks Debian's packages"),
        ("ubuntu-keyring", "ubuntu-archive-keyring.gpg", "checks Ubuntu's packages"),
    ]
    return [(name, why) for name, file, why in keyrings if not (KEYRINGS / file).exists()]


def install_packages(required: list[Package], optional: list[Package]) -> None:
    names = " ".join(name for name, _ in required)
    if not program("apt-get"):
        if required:
            fail(f"these are missing: {names}", "this is no Debian or Ubuntu; install them by hand")
        return
    prefix = privilege(names, needed=bool(required))
    if prefix is None:
        return
    say("asking the package index")
    run([*prefix, "apt-get", "-q", "update"], "the package index is out of reach")
    packages = required + [(name, why) for name, why in optional if in_index(name)]
    for name, why in packages:
        say(f"installing {name}: {why}")
    if packages:
        quiet = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0"]
        chosen = [name for name, _ in packages]
        install = ["install", "--no-install-recommends", *chosen]
        with quiet_services(prefix, chosen):
            run([*prefix, "env", *quiet, *install], "system packages could not be installed")


def privilege(names: str, *, needed: bool) -> list[str] | None:
    """What to put before a command that only root may run; None when that may be left out."""
    if os.geteuid() == 0:
        return []
    if not needed:
        return None
    if program("sudo"):
        return ["sudo"]
    fail(
        f"these are missing: {names}; only root may install them, and there is no sudo",
        f"as root: apt-get update && apt-get install --no-install-recommends {names}",
    )


def in_index(name: str) -> bool:
    shown = subprocess.run(["apt-cache", "show", name], capture_output=True, check=False)
    return shown.returncode == 0 and bool(shown.stdout)


def run(command: list[Word], what: str) -> None:
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        fail(what, f"look at the lines above; the command was: {' '.join(map(str, command))}")


def fingerprint() -> str:
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    parts += [repr(sys.version_info[:2]).encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def make_venv() -> None:
    if not usable_venv():
        say(f"making the virtual environment {VENV} with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", VENV], "no virtual environment could be made")
    total = len(re.findall(r"^[\w.-]+==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    say(f"installing up to {total} Python packages from requirements.lock, each by its hash")
    pip_install(["--require-hashes", "-r", LOCK], total)
    say("installing fleetwide itself, editable")
    pip_install(["--no-deps", "--no-build-isolation", "-e", ROOT], total)


def usable_venv() -> bool:
    """Whether pip runs in the environment, under a Python of the same minor version."""
    if not VENV_PYTHON.exists():
        return False
    ask = "import pip, sys; print(*sys.version_info[:2])"
    answer = subprocess.run([VENV_PYTHON, "-c", ask], capture_output=True, text=True, check=False)
    return answer.stdout.split() == [str(part) for part in sys.version_info[:2]]


def pip_install(arguments: list[Word], total: int) -> None:
    """Run pip; one line for every twentieth package, all of its output when it fails."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [VENV_PYTHON, "-m", "pip", "install", *options, *arguments]
    lines: list[str] = []
    count = 0
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as pip:
        for line in pip.stdout or ():
            lines.append(line)
            if line.startswith(("Collecting", "Requirement already")):
                count += 1
                if count % 20 == 0:
                    say(f"  {count} of {total} packages fetched")
            elif line.startswith("Installing collected"):
                say("  unpacking them")
    if pip.returncode:
        sys.stderr.write("".join(lines[-30:]))
        fail("pip could not install what is locked", "look at pip's lines above, then: make setup")


def main() -> None:
    choose_python()
    required = missing_packages()
    wanted = fingerprint()  # before pip runs: a pull meanwhile is for the next setup
    current = STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted
    optional = [] if current else missing_keyrings()
    if required or optional:
        install_packages(required, optional)
    if not current:
        make_venv()
        STAMP.write_text(wanted, encoding="utf-8")
    say("ready")


if __name__ == "__main__":
    main()
