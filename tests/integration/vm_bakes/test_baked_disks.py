"""Whole VM bakes on disk files: what comes out, twice the same, and what is refused."""

import gzip
import hashlib
from pathlib import Path

import pytest

from fleetwide.bakery.workload_units import workload_unit
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES, blocks_to_send
from fleetwide.errors import ArtifactRejected, InvalidInput, PlatformError
from fleetwide.providers.baked_disks import PACKED, RAW, bake_disk, keep_disk
from fleetwide.providers.builder_cache import BuilderCache
from fleetwide.providers.disk_trees import DiskTrees
from fleetwide.providers.layers import LayerEntry, plain_entries
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.payloads import Payload
from fleetwide.providers.progress import no_progress
from fleetwide.providers.sparse_disks import open_disk
from tests.integration.vm_bakes.conftest import EPOCH, Base, bake_on, disk_bake, staged, unpacked

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
UNIT = "etc/systemd/system/hello.service"


def small(folder: Path) -> list[LayerEntry]:
    (folder / "opt/hello").mkdir(parents=True)
    (folder / "opt/hello/run").write_text("#!/bin/sh\n")
    return plain_entries(folder, EPOCH)


def test_a_baked_disk_is_what_is_told_and_the_same_each_time(base: Base, tmp_path: Path) -> None:
    bakes = []
    for name in ("first", "second"):
        payload = Payload(staged(tmp_path / name / "staging"), {"hello": "1.0"})
        request = disk_bake(base, bake_on(base), tmp_path / name, payload)
        bakes.append(bake_disk(request, no_progress))
    raw = tmp_path / "first/work" / RAW
    disk = bakes[0].disk
    assert disk.digest == bakes[1].disk.digest
    assert bakes[0].packages == {"hello": "1.0"}
    assert disk.digest == f"sha256:{hashlib.sha256(raw.read_bytes()).hexdigest()}"
    assert (disk.size, disk.boot, disk.root_uuid) == (
        base.image.size,
        base.image.boot,
        base.image.root_uuid,
    )
    with open_disk(base.raw) as before, open_disk(raw) as after:
        send = blocks_to_send(after.manifest(no_progress), before.manifest(no_progress))
    assert 0 < bakes[0].changed_bytes == len(send) * BLOCK_BYTES < disk.used
    with gzip.open(raw.with_name(PACKED)) as packed:
        assert hashlib.file_digest(packed, "sha256").hexdigest() == disk.digest[7:]


def test_the_workloads_unit_starts_with_the_machine(base: Base, tmp_path: Path) -> None:
    bake = bake_on(base, env={"A": "b c"}, user="app")
    request = disk_bake(base, bake, tmp_path, Payload(small(tmp_path / "staging")))
    bake_disk(request, no_progress)
    tree = unpacked(base, tmp_path / "work" / RAW, tmp_path / "trees")
    assert (tree / UNIT).read_text() == workload_unit(bake, {"TZ": "UTC"})
    wanted = tree / "etc/systemd/system/multi-user.target.wants/hello.service"
    assert wanted.readlink() == Path(f"/{UNIT}")
    assert (tree / "etc").stat().st_mtime == (base.tree / "etc").stat().st_mtime


def test_a_bake_without_a_command_brings_its_own_units(base: Base, tmp_path: Path) -> None:
    entries = small(tmp_path / "staging")
    request = disk_bake(base, bake_on(base, command=[]), tmp_path, Payload(entries))
    bake_disk(request, no_progress)
    assert not (unpacked(base, tmp_path / "work" / RAW, tmp_path / "trees") / UNIT).exists()


def test_a_bakes_unit_goes_before_one_of_the_artifacts(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    (staging / UNIT).parent.mkdir(parents=True)
    (staging / UNIT).write_text("[Service]\nExecStart=/bin/false\n")
    request = disk_bake(base, bake_on(base), tmp_path, Payload(plain_entries(staging, EPOCH)))
    bake_disk(request, no_progress)
    tree = unpacked(base, tmp_path / "work" / RAW, tmp_path / "trees")
    assert "ExecStart=:/opt/hello/run" in (tree / UNIT).read_text()


def test_a_name_of_a_unit_of_the_base_is_refused(base: Base, tmp_path: Path) -> None:
    request = disk_bake(base, bake_on(base, name="known"), tmp_path, Payload([]))
    with pytest.raises(InvalidInput, match=r"name: the base has a unit known\.service"):
        bake_disk(request, no_progress)


def test_a_kernel_among_the_artifacts_is_refused(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    (staging / "boot").mkdir(parents=True)
    (staging / "boot/vmlinuz-9.9").touch()
    request = disk_bake(base, bake_on(base), tmp_path, Payload(plain_entries(staging, EPOCH)))
    with pytest.raises(ArtifactRejected, match="bring a kernel, /boot/vmlinuz-9"):
        bake_disk(request, no_progress)


def test_a_base_without_a_vm_face_is_told(base: Base, tmp_path: Path) -> None:
    bake = bake_on(base)
    bare = bake.model_copy(update={"base": bake.base.model_copy(update={"disk": None})})
    with pytest.raises(InvalidInput, match="has no VM face") as caught:
        bake_disk(disk_bake(base, bare, tmp_path, Payload([])), no_progress)
    assert caught.value.hint == "in the spec of baseos: targets: [container, vm]"


def test_a_kept_disk_is_found_by_other_builders(base: Base, tmp_path: Path) -> None:
    objects = FolderStore(tmp_path / "objects")
    request = disk_bake(base, bake_on(base), tmp_path, Payload(small(tmp_path / "staging")))
    baked = bake_disk(request, no_progress)
    here = BuilderCache(tmp_path / "here", objects)
    keep_disk(baked, request.workdir, here, objects, no_progress)
    assert here.disk_path(baked.disk.digest).is_file()
    assert not list(request.workdir.glob("disk*"))
    there = BuilderCache(tmp_path / "there", objects)
    fetched = there.disk(baked.disk, no_progress)
    assert fetched.read_bytes() == here.disk_path(baked.disk.digest).read_bytes()


def test_a_disk_is_unpacked_once_and_a_broken_one_leaves_nothing(
    base: Base, tmp_path: Path
) -> None:
    trees = DiskTrees(tmp_path / "trees")
    first = trees.tree(base.image, base.raw, no_progress)
    assert trees.tree(base.image, Path("/nowhere"), no_progress) == first
    broken = tmp_path / "broken.raw"
    broken.write_bytes(bytes(base.image.size // 64))
    image = base.image.model_copy(update={"digest": "sha256:" + "9" * 64})
    with pytest.raises(PlatformError, match="could not be unpacked"):
        trees.tree(image, broken, no_progress)
    assert sorted(path.name for path in (tmp_path / "trees").iterdir() if path.is_dir()) == [
        first.name
    ]
