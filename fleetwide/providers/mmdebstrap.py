"""Bootstrap a root file system from the locked packages and nothing else."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.bootstrap import Bootstrap, mmdebstrap_command, read_progress, variant_of
from fleetwide.baseos.checks import check_packages
from fleetwide.baseos.packages import MERGED_USR, included
from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import Face, OSImageSpec, Trim
from fleetwide.models.os_locks import Lock
from fleetwide.providers.architectures import check_runs
from fleetwide.providers.pool import Pool
from fleetwide.providers.progress import Progress
from fleetwide.providers.root_tree import RootTree
from fleetwide.providers.sandbox import Finished, run_isolated

TOLD_LINES = 12
MAX_TOLD = 5
# This machine failed, not the spec: worth another try.
TRANSIENT = ("No space left on device", "Cannot allocate memory", "Hash Sum mismatch")
STATUS_FILE = "/var/lib/dpkg/status"


@dataclass(frozen=True)
class LockedBuild:
    """A spec, its lock, and the lock's clock in seconds since 1970."""

    spec: OSImageSpec
    lock: Lock
    epoch: int


def bootstrap(
    build: LockedBuild, face: Face, pool: Pool, workdir: Path, progress: Progress
) -> Path:
    """Unpack and configure one face's packages; answers the tree below ``workdir``.

    The packages must be in ``pool``. There is no network: what the lock does not hold cannot come
    in, and a tree with other packages than the lock's is refused (mmdebstrap has been seen to end
    well with an empty tree).

    Raises:
        BuildFailed: mmdebstrap's last lines, or how the packages differ.
        InvalidInput: programs of the spec's architecture do not run here.
        PlatformError: this machine failed.
    """
    check_runs(build.spec.architecture)
    mirror, tree, scratch = workdir / "mirror", workdir / "tree", workdir / "scratch"
    for folder in (mirror, scratch):
        folder.mkdir(parents=True)
    # apt's download user must reach its folders below.
    workdir.chmod(0o755)
    scratch.chmod(0o755)
    pool.lay_out_mirror(build.lock, face, mirror)
    names = {package.name for package in build.lock.of(face)}
    run = Bootstrap(
        variant=variant_of(build.spec, face),
        architecture=build.spec.architecture,
        suite=build.spec.suite,
        include=included(build.spec, face, names),
        merged_usr=face is not Face.TOOLS and build.spec.suite in MERGED_USR,
        trim=_trim(build.spec, face),
        mirror=str(mirror.absolute()),
        target=str(tree.absolute()),
    )
    finished = run_isolated(
        mmdebstrap_command(run),
        env=_environment(build.epoch, scratch),
        progress=progress,
        read=read_progress,
        network=False,
    )
    if finished.returncode != 0:
        raise _failure(build.spec, finished)
    for folder in (mirror, scratch):
        shutil.rmtree(folder)
    if face is not Face.TOOLS:
        _check_packages(build.lock, face, tree)
    return tree


def _trim(spec: OSImageSpec, face: Face) -> list[Trim]:
    return {Face.CONTAINER: list(spec.trim), Face.VM: [], Face.TOOLS: list(Trim)}[face]


def _environment(epoch: int, scratch: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(scratch.absolute()),
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
    }


def _failure(spec: OSImageSpec, finished: Finished) -> BuildFailed | PlatformError:
    words = "\n".join(finished.lines[-TOLD_LINES:])
    message = f"{spec.name} did not build (mmdebstrap exit {finished.returncode}):\n{words}"
    output = "\n".join(finished.lines)
    reasons = [phrase for phrase in TRANSIENT if phrase in output]
    if finished.returncode < 0 or reasons:
        return PlatformError(f"{message}\n{'; '.join(reasons)}".rstrip())
    return BuildFailed(message, hint="look at the package whose script failed above")


def _check_packages(lock: Lock, face: Face, tree: Path) -> None:
    with RootTree(tree) as files:
        status = files.text(STATUS_FILE)
    expected = {package.name: package.version for package in lock.of(face)}
    check = check_packages(status or None, expected)
    if not check.passed:
        more = len(check.found) - MAX_TOLD
        told = "; ".join(check.found[:MAX_TOLD]) + (f"; and {more} more" if more > 0 else "")
        raise BuildFailed(f"the tree has other packages than the lock: {told}")
