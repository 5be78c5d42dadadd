"""Build a real root file system with mmdebstrap."""

import os
import shutil
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.bootstrap import (
    KEYRING_PACKAGES,
    keyring_of,
    mmdebstrap_command,
    parse_dpkg_status,
    read_progress,
)
from fleetwide.errors import BuildFailed, InvalidInput, PlatformError
from fleetwide.models.baseos import BuildPlan, RootFilesystem
from fleetwide.providers.compress import compress_layer
from fleetwide.providers.progress import Progress, span
from fleetwide.providers.sandbox import Finished, run_isolated

BUILD_SHARE = 0.75
TOLD_LINES = 12
# The mirror or this machine failed, not the spec: worth another try.
TRANSIENT = (
    "No space left on device",
    "Temporary failure resolving",
    "Could not connect",
    "Connection failed",
    "Connection timed out",
    "503  Service Unavailable",
    "Hash Sum mismatch",
)
STATUS_FILE = "./var/lib/dpkg/status"


@dataclass(frozen=True)
class BuiltRootfs:
    """A finished build: its compressed layer on disk, and what is known about it."""

    layer_path: Path
    rootfs: RootFilesystem


def build_rootfs(
    plan: BuildPlan, default_mirror: str | None, workdir: Path, progress: Progress
) -> BuiltRootfs:
    """Build ``plan`` and compress it into a layer file in ``workdir``.

    ``workdir`` belongs to this build alone and is emptied first, so a retry starts clean; the
    caller removes it after the push. The same plan gives the same digest while the mirror offers
    the same packages. Raises ``InvalidInput`` for a keyring that is not installed, ``BuildFailed``
    with mmdebstrap's last lines, and whatever ``progress`` raises (that cancels the build).
    """
    started = time.monotonic()
    _check_keyring(plan)
    shutil.rmtree(workdir, ignore_errors=True)
    workdir.mkdir(parents=True)
    try:
        tar = _bootstrap(plan, default_mirror, workdir, span(progress, 0.0, BUILD_SHARE))
        packages = _installed_packages(tar)
        target = workdir / "rootfs.tar.gz"
        packed = compress_layer(tar, target, span(progress, BUILD_SHARE, 1.0))
        tar.unlink()
    except BaseException:
        shutil.rmtree(workdir, ignore_errors=True)
        raise
    rootfs = RootFilesystem(
        layer=packed.layer,
        uncompressed_size=packed.uncompressed_size,
        packages=packages,
        build_seconds=round(time.monotonic() - started, 3),
    )
    return BuiltRootfs(target, rootfs)


def _check_keyring(plan: BuildPlan) -> None:
    keyring = keyring_of(plan)
    if not Path(keyring).is_file():
        package = KEYRING_PACKAGES[plan.spec.distribution]
        raise InvalidInput.for_field(
            "keyring",
            f"the builder has no keyring for {plan.spec.distribution}",
            given=keyring,
            hint=f"on the builder: apt-get install {package} (or name its own file as `keyring`)",
        )


def _bootstrap(
    plan: BuildPlan, default_mirror: str | None, workdir: Path, progress: Progress
) -> Path:
    tar = workdir / "rootfs.tar"
    scratch = workdir / "scratch"
    scratch.mkdir()
    # apt's download user must reach its folders below.
    for folder in (workdir, scratch):
        folder.chmod(0o755)
    finished = run_isolated(
        mmdebstrap_command(plan, str(tar.absolute()), default_mirror),
        env=_environment(plan, scratch),
        progress=progress,
        read=read_progress,
    )
    shutil.rmtree(scratch)
    if finished.returncode != 0:
        raise _failure(plan, finished)
    return tar


def _environment(plan: BuildPlan, scratch: Path) -> dict[str, str]:
    # No locale, home or proxy of the worker's leaks in, except how to reach the network.
    proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    return {
        **proxies,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(scratch.absolute()),
        "SOURCE_DATE_EPOCH": str(plan.source_date_epoch),
        "PYTHONHASHSEED": "0",
    }


def _failure(plan: BuildPlan, finished: Finished) -> BuildFailed | PlatformError:
    words = "\n".join(finished.lines[-TOLD_LINES:])
    message = f"{plan.name} {plan.version} did not build (mmdebstrap exit {finished.returncode})"
    if finished.returncode < 0 or any(phrase in words for phrase in TRANSIENT):
        return PlatformError(f"{message}:\n{words}")
    return BuildFailed(
        f"{message}:\n{words}",
        hint="check suite, components and packages against what the mirror offers",
    )


def _installed_packages(tar: Path) -> dict[str, str]:
    """The packages in the tar; an empty tar has been seen with exit code 0, so it is checked."""
    try:
        with tarfile.open(tar, "r:") as archive:
            status = archive.extractfile(STATUS_FILE)
            packages = parse_dpkg_status(status.read().decode()) if status else {}
    except (KeyError, tarfile.TarError) as error:
        raise BuildFailed(
            f"the built root file system has no readable dpkg status: {error}"
        ) from error
    if not packages:
        raise BuildFailed(
            "the built root file system has no installed package",
            hint="the mirror must be a whole archive of the suite, not a flat repository",
        )
    return packages
