"""Real packages that take more of the builder than they may; what runs beside them is unharmed."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetwide.errors import InstallFailed, LimitExceeded
from fleetwide.models.bakes import BaseImage
from fleetwide.providers import cgroups
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.progress import no_progress
from fleetwide.providers.script_limits import ScriptLimits
from tests.integration.images.payloads import inputs_of, made, make_deb

pytestmark = pytest.mark.integration
MIB = 1024**2
LIMITS = ScriptLimits(seconds=60, memory=160 * MIB, processes=60, disk=60 * MIB)
FORK_BOMB = "bomb() { bomb | bomb & }; bomb; sleep 100"
# It keeps the whole of its last line.
HOG = "head -c 400000000 /dev/zero | tail -n 1 > /dev/null"
ONE_FILE = "dd if=/dev/zero of=/big bs=1M count=400"
MANY_FILES = """
mkdir /many; cd /many; number=0
while :; do head -c 300000 /dev/zero > $number; number=$((number + 1)); done
"""
EMPTY_FILES = """
mkdir /many; cd /many; folder=0
while :; do mkdir $folder; (cd $folder; touch $(seq 500)); folder=$((folder + 1)); done
"""
NAMELESS = """
for number in 4 5 6; do
  eval "exec $number> /nameless"; rm /nameless
  head -c 30000000 /dev/zero >&$number
done
sleep 100
"""

Bake = Callable[..., Any]


@pytest.fixture
def root(base: BaseImage, cache: BaseCache) -> Path:
    return cache.rootfs(base, no_progress)


@pytest.fixture
def bake(base: BaseImage, root: Path, tmp_path: Path) -> Bake:
    def baked(name: str, script: str, limits: ScriptLimits = LIMITS) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        deb = make_deb(folder, f"#!/bin/sh\n{script}\n")
        given = ("deb", deb, "tool.deb")
        return made(inputs_of(base, root, given, limits=limits), folder / "w")

    return baked


def started() -> list[psutil.Process]:
    """What of all that these bakes started still runs."""
    return psutil.Process().children(recursive=True)


def groups() -> list[Path]:
    return [*cgroups.MOUNT.glob(f"**/fleetwide-script-{os.getpid()}-*")]


@pytest.mark.parametrize(
    ("script", "told", "setting"),
    [
        (FORK_BOMB, "may take 60 processes", "FLEETWIDE_SCRIPT_PROCESSES=120"),
        (HOG, "may take 160 MiB of memory", f"FLEETWIDE_SCRIPT_MEMORY={320 * MIB}"),
        (f"{HOG} || true", "may take 160 MiB of memory", f"FLEETWIDE_SCRIPT_MEMORY={320 * MIB}"),
        (ONE_FILE, "may take 60 MiB of disk", f"FLEETWIDE_SCRIPT_DISK={120 * MIB}"),
        (MANY_FILES, "may take 60 MiB of disk", f"FLEETWIDE_SCRIPT_DISK={120 * MIB}"),
        (EMPTY_FILES, "may take 60 MiB of disk", f"FLEETWIDE_SCRIPT_DISK={120 * MIB}"),
        (NAMELESS, "may take 60 MiB of disk", f"FLEETWIDE_SCRIPT_DISK={120 * MIB}"),
    ],
    ids=["processes", "memory", "memory-ignored", "one-file", "many-files", "empty", "nameless"],
)
def test_a_script_that_takes_too_much_is_ended_and_a_bake_beside_it_is_unharmed(
    bake: Bake, script: str, told: str, setting: str
) -> None:
    before = started()
    with ThreadPoolExecutor(1) as thread:
        beside = thread.submit(bake, "beside", "sleep 2; echo fine > /fine")
        with pytest.raises(LimitExceeded, match=told) as caught:
            bake("greedy", script)
        payload = beside.result()
    assert caught.value.message.startswith("the installation of the packages may take")
    assert setting in (caught.value.hint or "")
    assert "fine" in {entry.path for entry in payload.entries}
    assert started() == before
    assert groups() == []


def test_a_full_folder_in_memory_is_the_script_s_own_failure(bake: Bake) -> None:
    with pytest.raises(InstallFailed, match="No space left on device"):
        bake("full", "head -c 70000000 /dev/zero > /run/full", replace(LIMITS, disk=100 * MIB))


def test_a_script_within_its_limits_is_let_be(bake: Bake) -> None:
    payload = bake("modest", "head -c 20000000 /dev/zero > /some")
    assert "some" in {entry.path for entry in payload.entries}
