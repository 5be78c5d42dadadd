"""A signed archive of our own, and one small real Debian with all its packages at hand."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetwide.models.baseos import Face
from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import LockedPlan, RootFilesystem
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.mmdebstrap import LockedBuild, bootstrap
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.os_builds import Workshop
from fleetwide.providers.progress import no_progress
from tests.integration.os_builds.archive import Archive, served
from tests.integration.os_builds.driver import opened

ROOT = Path(__file__).parents[3]
DRIVER = [sys.executable, "-m", "tests.integration.os_builds.driver"]
# Every way in which a spec changes the tree; python and perl are not needed for any of it.
SPEC: dict[str, Any] = {
    "name": "tiny",
    "version": "1",
    "suite": "bookworm",
    "variant": "apt",
    "users": [
        {
            "name": "app",
            "uid": 1500,
            "groups": ["adm"],
            "home": "/srv/app",
            "authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKz test"],
        }
    ],
    "files": [
        {"path": "/etc/motd", "content": "naïve\n", "mode": "0640", "owner": "app:adm"},
        {"path": "/srv/app/deep/er/link", "link": "/etc/motd"},
    ],
    "scripts": [
        {"name": "stamp", "run": "echo $(id -u) $HOME > /srv/stamp\ndate > /srv/app/now\n"},
        {"name": "unstamp", "run": "rm /srv/app/now; chown app: /srv/stamp"},
    ],
}


@pytest.fixture
def archive() -> Iterator[Archive]:
    """A signed archive; below /tmp itself, where apt's own user may read."""
    with tempfile.TemporaryDirectory(prefix="fw-archive-") as folder:
        made = Archive(Path(folder))
        try:
            with served(made):
                yield made
        finally:
            made.close()


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The folder of a builder."""
    with tempfile.TemporaryDirectory(prefix="fw-builder-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def locked(home: Path) -> LockedPlan:
    """The plan of ``SPEC``, its lock as of today, and its packages in the builder's pool."""
    command = [*DRIVER, "prepare", str(home), json.dumps(SPEC)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return LockedPlan.model_validate_json(done.stdout)


@pytest.fixture(scope="session")
def lock(home: Path, locked: LockedPlan) -> Lock:
    return opened(home)[1].load(locked.lock.digest)


@pytest.fixture
def workdir(home: Path) -> Iterator[Path]:
    """A folder for one build, made by nobody yet."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=home) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "build"


@pytest.fixture(scope="session")
def pristine(home: Path, locked: LockedPlan, lock: Lock) -> Path:
    """A bootstrapped tree that nobody changes."""
    cache = BuilderCache(home, FolderStore(home / "objects"))
    build = LockedBuild(locked.plan.spec, lock, locked.source_date_epoch)
    return bootstrap(build, Face.CONTAINER, cache.pool, home / "pristine", no_progress)


@pytest.fixture
def tree(pristine: Path, workdir: Path) -> Iterator[Path]:
    """A copy of the tree to do anything to."""
    workdir.mkdir(exist_ok=True)
    copy = workdir / "tree"
    subprocess.run(["cp", "--archive", str(pristine), str(copy)], check=True)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@dataclass(frozen=True)
class Built:
    layer: Path
    rootfs: RootFilesystem


def build_command(home: Path, locked: LockedPlan, workdir: Path) -> list[str]:
    return [*DRIVER, "build", str(home), locked.model_dump_json(), str(workdir)]


def build_offline(home: Path, locked: LockedPlan, workdir: Path) -> Built:
    """Build in a process that has no network at all."""
    command = ["unshare", "--net", *build_command(home, locked, workdir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return Built(workdir / "layer.tar.gz", RootFilesystem.model_validate_json(done.stdout))


@pytest.fixture(scope="session")
def built(home: Path, locked: LockedPlan) -> Built:
    return build_offline(home, locked, home / "first")


@pytest.fixture
def other_home(home: Path, locked: LockedPlan) -> Iterator[Path]:
    """Another builder's folder: the same pool and locks, nothing else."""
    folder = home.with_name(f"{home.name}-of-another-builder-with-a-longer-name")
    folder.mkdir()
    shutil.copytree(home / "pool", folder / "pool")
    locks = Path("objects/baseos/locks")
    shutil.copytree(home / locks, folder / locks)
    yield folder
    shutil.rmtree(folder)


def workshop(home: Path, lock: Lock) -> Workshop:
    """A place below a builder's folder for one build."""
    workdir = home / "work"
    workdir.mkdir()
    return Workshop(workdir, BuilderCache(home, FolderStore(home / "objects")), lock)


def mounts_below(folder: Path) -> list[str]:
    """Mounts at or below a folder, as any process of the machine has them."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        found |= {place for line in lines if str(folder) in (place := line.split()[4])}
    return sorted(found)


def processes_about(folder: Path) -> list[str]:
    """The command lines of processes that work in or for a folder, ours aside."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join([*(process.info["cmdline"] or []), process.info["cwd"] or ""])
        with suppress(OSError):
            words += f" in {Path('/proc', str(process.pid), 'root').readlink()}"
        if str(folder) in words and process.pid != os.getpid():
            found.append(words)
    return found
