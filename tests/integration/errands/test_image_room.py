"""A host's disk that is full of images: a real dockerd whose data lie on a small file system."""

import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from fleetwide.errors import ImagePullFailed
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_room import ImageKeeper, Marks, UseBook, publish_wanted
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from fleetwide.store import events
from fleetwide.store.image_collections import Collections
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store
from tests.integration.containers_fixtures import TinyRegistry, push_image
from tests.integration.errands.dockerds import own_dockerd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
MIB = 1024**2
DISK = 256 * MIB
IMAGE = 24 * MIB
GRACE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class FullHost:
    """A host with a small disk, and a keeper that lives by a clock of the test's own."""

    def __init__(self, settings: Settings, store: FolderStore) -> None:
        self.clock = Clock()
        self.store = store
        self.book = settings.state_dir / "uses.json"
        self.url = settings.docker_url
        self.host = ContainerHost.from_settings(settings)

    def keeper(self, high: float, low: float) -> ImageKeeper:
        keeper = ImageKeeper(
            self.host, self.store, UseBook(self.book), Marks(high, low, GRACE), self.clock
        )
        self.host.images = keeper
        return keeper

    def pull(self, image: str) -> None:
        self.host.pull(self.host.image_name(image), lambda _: True)
        self.clock.now += 1

    def has(self, image: str) -> bool:
        return self.host.has_image(self.host.image_name(image))


@pytest.fixture
def full(tmp_path: Path, tiny_registry: TinyRegistry) -> Iterator[FullHost]:
    with small_disk(tmp_path) as data, own_dockerd(data) as daemon:
        settings = Settings(
            state_dir=tmp_path / "state",
            registry_url=tiny_registry.url,
            docker_url=daemon.url,
            host_id=f"test-{uuid.uuid4().hex[:8]}",
        )
        found = FullHost(settings, FolderStore(tmp_path / "objects"))
        yield found
        found.host.close()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    image, mounted = folder / "disk", folder / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


def push(registry: TinyRegistry, name: str, size: int = IMAGE) -> str:
    """An image of ``size`` bytes on a disk, packed or not; repository@digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("data")
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size)))
    config: dict[str, object] = {"Cmd": ["/data"]}
    return f"full/{name}@{push_image(registry.url, f'full/{name}', buffer.getvalue(), config)}"


def test_above_the_high_mark_the_longest_unused_go_until_the_low_one(
    full: FullHost, tiny_registry: TinyRegistry, tmp_path: Path
) -> None:
    names = ("used", "wanted", "old", "older", "stopped", "fresh")
    images = {name: push(tiny_registry, name) for name in names}
    keeper = full.keeper(high=0.95, low=0.9)
    for name in ("older", "used", "wanted", "stopped", "old"):
        full.pull(images[name])
    api = docker.APIClient(base_url=full.url)
    foreign = full.host.image_name(push(tiny_registry, "foreign"))
    api.pull(foreign)
    api.tag(foreign, "somebody/else", "1")
    stopped = full.host.image_name(images["stopped"])
    api.create_container(stopped, name="made-and-never-started")
    publish_wanted(full.store, [images["wanted"]])
    keeper.look()
    assert keeper.last is None  # the disk is not that full

    full.clock.now += GRACE * 2
    keeper.note_use(full.host.image_name(images["used"]))
    keeper.look()
    full.pull(images["fresh"])
    # The worker starts again: when each was used is known from before.
    keeper = full.keeper(high=0.05, low=0.01)
    keeper.look()
    done = keeper.last
    assert done
    assert {name for name in names if not full.has(images[name])} == {"old", "older"}
    assert any("somebody/else:1" in (one["RepoTags"] or []) for one in api.images())
    assert [name.partition("@")[0].rpartition("/")[2] for name in done.removed] == ["older", "old"]
    assert done.short
    assert done.freed > IMAGE
    assert done.used_after < done.used_before
    api.close()
    told_once(tmp_path, keeper)


def told_once(folder: Path, keeper: ImageKeeper) -> None:
    store = Store.open(f"sqlite:///{folder}/fleetwide.db")
    upgrade(store.engine)
    for collections in (first := Collections(), first, Collections()):
        with store.write() as session:
            collections.note(session, "h1", keeper.last)
    with store.read() as session:
        [told] = events.latest(session, "imagesCollected", subject="host/h1", limit=5)
    assert "2 images went" in told.message
    store.engine.dispose()


def test_a_pull_that_finds_no_room_makes_some_once(
    full: FullHost, tiny_registry: TinyRegistry
) -> None:
    large = push(tiny_registry, "large", 90 * MIB)
    first, second = push(tiny_registry, "first", 60 * MIB), push(tiny_registry, "second", 60 * MIB)
    keeper = full.keeper(high=1.0, low=0.01)
    full.pull(first)
    full.pull(second)
    with pytest.raises(ImagePullFailed, match="no space left on device"):
        full.pull(large)  # both were used just now
    full.clock.now += GRACE * 2
    full.pull(large)
    assert full.has(large)
    assert not full.has(first)
    assert not full.has(second)
    assert keeper.last
    assert keeper.last.reason == "a pull found no room"
    assert keeper.last.count == 2
