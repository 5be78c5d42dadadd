import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetwide.models.os_locks import Lock
from fleetwide.models.os_releases import LockedPlan
from fleetwide.providers.os_builds import build_container
from tests.integration.os_builds.conftest import (
    ROOT,
    Built,
    build_command,
    build_offline,
    mounts_below,
    processes_about,
    workshop,
)
from tests.integration.os_builds.driver import FAILED
from tests.platforms import eventually

# A whole build takes some fifteen seconds on two quiet cores, and several times that on busy ones.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Cancelled(Exception):
    pass


def test_a_cancelled_build_leaves_no_process_and_no_mount(
    locked: LockedPlan, lock: Lock, other_home: Path
) -> None:
    def cancel(phrase: str, _fraction: float | None) -> None:
        if phrase == "installing essential packages":
            assert processes_about(other_home)
            raise Cancelled

    with pytest.raises(Cancelled):
        build_container(locked, workshop(other_home, lock), cancel)
    assert processes_about(other_home) == []
    assert mounts_below(other_home) == []
    shutil.rmtree(other_home / "work")
    assert not (other_home / "failed").exists()


@pytest.mark.parametrize(
    "mebibytes",
    [
        100,
        135,
        170,
    ],
)
def test_a_full_disk_is_the_machine_s_fault(
    locked: LockedPlan, other_home: Path, mebibytes: int
) -> None:
    """Full while packages are unpacked, while they are configured, while the layer is written."""
    saved = other_home.with_name(f"{other_home.name}-saved")
    script = (
        'mv "$1" "$2"; mkdir "$1"; mount -t tmpfs -o size="$3"m tmpfs "$1"; '
        'cp -r "$2/pool" "$2/objects" "$1"; shift 3; "$@"; code=$?; exit $code'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(other_home), str(saved)]
    build = build_command(other_home, locked, other_home / "work")
    try:
        whole = [*command, str(mebibytes), *build]
        done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(saved)
    assert done.returncode == FAILED, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["code"] == "Internal"
    assert "No space left on device" in told["message"]
    assert processes_about(other_home) == []
    assert list(other_home.iterdir()) == []


MOMENTS = [
    "extracting packages",
    "installing essential packages",
    "script stamp",
    "compressing",
]


@pytest.mark.timeout(1200)
def test_a_killed_build_leaves_nothing_in_the_way_of_the_next(
    locked: LockedPlan, built: Built, other_home: Path
) -> None:
    workdir = other_home / "work"
    for moment in MOMENTS:
        kill_at(moment, build_command(other_home, locked, workdir))
        eventually(lambda: not processes_about(other_home), what="the end of what it started")
        assert mounts_below(other_home) == []
        # As a builder does when it starts again.
        shutil.rmtree(workdir)
    assert build_offline(other_home, locked, workdir).rootfs.layer == built.rootfs.layer


def kill_at(moment: str, command: list[str]) -> None:
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stderr is not None
        seen = any(line.startswith(moment) for line in worker.stderr)
        worker.kill()
    assert seen, f"the build ended before: {moment}"
