import gzip
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetwide.errors import NotFound, PlatformError
from fleetwide.models.baseos import MIB, Architecture, BootMode
from fleetwide.models.os_releases import DiskImage
from fleetwide.providers.builder_cache import (
    FAILED_TREES_SECONDS,
    RECENT_SECONDS,
    UPLOADS_SECONDS,
    BuilderCache,
)
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.progress import no_progress

SIZE = 64 * MIB
HOUR = 3600


class CountingStore(FolderStore):
    """Counts what is fetched from it."""

    fetched = 0

    def get_file(self, key: str, path: Path) -> None:
        self.fetched += 1
        super().get_file(key, path)


@pytest.fixture
def objects(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "objects")


@pytest.fixture
def cache(tmp_path: Path, objects: CountingStore) -> BuilderCache:
    return BuilderCache(tmp_path / "builder", objects)


@pytest.fixture
def disk(objects: CountingStore) -> DiskImage:
    """A disk in the object store: some bytes far apart, the rest holes."""
    raw = bytearray(SIZE)
    raw[:4], raw[40 * MIB : 40 * MIB + 4] = b"boot", b"root"
    objects.put_bytes("baseos/disks/a.raw.gz", gzip.compress(bytes(raw), 1))
    return DiskImage(
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        size=SIZE,
        used=2 * 512 * 1024,
        boot=BootMode.BIOS,
        architecture=Architecture.AMD64,
        key="baseos/disks/a.raw.gz",
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_disk_is_fetched_once_and_keeps_its_holes(
    cache: BuilderCache, disk: DiskImage, objects: CountingStore
) -> None:
    path = cache.disk(disk, no_progress)
    assert cache.disk(disk, no_progress) == path == cache.disk_path(disk.digest)
    assert objects.fetched == 1
    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 < 4 * MIB
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert disk.digest == f"sha256:{digest}"


def test_two_that_want_a_disk_at_once_fetch_it_once(
    cache: BuilderCache, disk: DiskImage, objects: CountingStore
) -> None:
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: cache.disk(disk, no_progress), range(4)))
    assert set(paths) == {cache.disk_path(disk.digest)}
    assert objects.fetched == 1


def test_a_disk_with_other_bytes_is_refused_and_not_kept(
    cache: BuilderCache, disk: DiskImage, objects: CountingStore
) -> None:
    objects.put_bytes(disk.key, gzip.compress(b"other"))
    with pytest.raises(PlatformError, match=disk.key):
        cache.disk(disk, no_progress)
    assert names(cache.disk_path(disk.digest).parent) <= {
        cache.disk_path(disk.digest).with_suffix(".lock").name
    }


def test_a_disk_that_is_nowhere_is_not_found(cache: BuilderCache, disk: DiskImage) -> None:
    gone = disk.model_copy(update={"key": "baseos/disks/gone.raw.gz"})
    with pytest.raises(NotFound):
        cache.disk(gone, no_progress)
    assert not cache.disk_path(gone.digest).exists()


class Cancelled(Exception):
    pass


def test_cancel_while_a_disk_is_fetched_leaves_nothing(
    cache: BuilderCache, disk: DiskImage, objects: CountingStore
) -> None:
    def cancel(phrase: str, _fraction: float | None) -> None:
        if phrase == "unpacking the disk":
            raise Cancelled

    with pytest.raises(Cancelled):
        cache.disk(disk, cancel)
    folder = cache.disk_path(disk.digest).parent
    assert {path.suffix for path in folder.iterdir()} == {".lock"}
    assert cache.disk(disk, no_progress).is_file()


def test_who_waits_for_another_s_fetch_can_be_cancelled(
    cache: BuilderCache, disk: DiskImage
) -> None:
    fetching, waited = threading.Event(), threading.Event()

    def hold(phrase: str, _fraction: float | None) -> None:
        if phrase == "unpacking the disk":
            fetching.set()
            assert waited.wait(60)

    def cancel(phrase: str, _fraction: float | None) -> None:
        assert phrase == "waiting for another build that makes the same"
        raise Cancelled

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.disk, disk, hold)
        assert fetching.wait(60)
        with pytest.raises(Cancelled):
            cache.disk(disk, cancel)
        waited.set()
        assert first.result().is_file()


def test_a_failed_tree_is_kept_in_place_of_an_older_one(
    cache: BuilderCache, tmp_path: Path
) -> None:
    for content in ("first", "second"):
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / content).touch()
        kept = cache.keep_failed(tree, "baseos-1-vm")
        assert not tree.exists()
        assert names(kept) == {content}


def entry(cache: BuilderCache, kind: str, name: str, age: float, size: int = MIB) -> Path:
    """Something that was used ``age`` seconds ago; tools are folders."""
    path = cache.folder / kind / name
    file = path / "usr/bin/tool" if kind in ("tools", "failed") else path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    used = time.time() - age
    os.utime(path, (used, used))
    return path


def test_what_was_used_longest_ago_goes_first(cache: BuilderCache) -> None:
    old = entry(cache, "tools", "old", 30 * HOUR)
    middle = entry(cache, "pool", "middle.deb", 20 * HOUR)
    young = entry(cache, "disks", "young.raw", 10 * HOUR)
    cache.trim(keep=2 * MIB + 100_000)
    assert [path.exists() for path in (old, middle, young)] == [False, True, True]
    cache.trim(keep=0)
    assert [path.exists() for path in (old, middle, young)] == [False, False, False]


def test_what_a_build_may_be_using_stays_however_much_it_is(cache: BuilderCache) -> None:
    recent = entry(cache, "pool", "recent.deb", RECENT_SECONDS / 2, 4 * MIB)
    old = entry(cache, "pool", "old.deb", RECENT_SECONDS * 2)
    cache.trim(keep=MIB)
    assert recent.exists()
    assert not old.exists()


def test_holes_take_no_place(cache: BuilderCache) -> None:
    disk = entry(cache, "disks", "holes.raw", 30 * HOUR)
    os.truncate(disk, 1024 * MIB)
    os.utime(disk, (1, 1))
    cache.trim(keep=4 * MIB)
    assert disk.exists()


def test_failed_trees_go_after_a_day_and_count_for_nothing(cache: BuilderCache) -> None:
    day_old = entry(cache, "failed", "a-1-vm", FAILED_TREES_SECONDS + HOUR)
    log = cache.folder / "failed/a-1-vm.log"
    log.write_text("words")
    os.utime(log, (1, 1))
    fresh = entry(cache, "failed", "b-1-vm", HOUR, 4 * MIB)
    pooled = entry(cache, "pool", "p.deb", 30 * HOUR)
    cache.trim(keep=2 * MIB)
    assert [path.exists() for path in (day_old, log, fresh, pooled)] == [False, False, True, True]


def test_what_is_not_the_cache_s_is_left_alone(cache: BuilderCache) -> None:
    other = entry(cache, "apt", "index", 300 * HOUR)
    cache.trim(keep=0)
    assert other.exists()


def test_an_empty_builder_has_nothing_to_trim(cache: BuilderCache) -> None:
    cache.trim(keep=0)
    assert not cache.folder.exists()


def test_journals_of_uploads_go_a_day_after_their_last_line(cache: BuilderCache) -> None:
    old, fresh = cache.journal("bake-old"), cache.journal("web-1.0")
    for path, age in ((old, UPLOADS_SECONDS + HOUR), (fresh, UPLOADS_SECONDS - HOUR)):
        path.write_text("{}\n")
        os.utime(path, (time.time() - age, time.time() - age))
    cache.trim(0)
    assert (old.exists(), fresh.exists()) == (False, True)
