"""A host's disk is full: who fills it ends with a reason, and no other is harmed.

The host says so until it has room again. A real dockerd on a small file system.
"""

import asyncio
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import docker
import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.containers.offers import disk_pressure
from fleetwide.errors import DockerUnavailable, ImagePullFailed
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import HostReport
from fleetwide.models.task_states import EndReason
from fleetwide.providers.attempt_logs import read_log
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_room import ImageKeeper, Marks, UseBook
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.faults.cells import until
from tests.integration.containers_fixtures import Runs, TinyRegistry
from tests.integration.errands.dockerds import own_dockerd
from tests.integration.errands.test_image_room import GRACE, MIB, Clock, push, small_disk

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
RESERVE = 16 * MIB
FREE = 64 * MIB
ALMOST = 40 * MIB
"""Too little for an image of 24 MiB, which is there packed and unpacked at the same time."""
FILL = "head -c 1000000000 /dev/zero > /fill"
LINE = "L=$(seq -s x 1 3000); i=0"
LOG = f"{LINE}; while [ $i -lt 6000 ]; do echo $L; i=$((i+1)); done; exit 3"


class Host:
    """A host worker's activities over a daemon whose disk is small."""

    def __init__(self, settings: Settings, store: FolderStore, disk: Path) -> None:
        self.disk, self.store, self.clock = disk, store, Clock()
        self.engine = ContainerHost.from_settings(settings)
        book = UseBook(settings.state_dir / "uses.json")
        self.keeper = ImageKeeper(self.engine, store, book, Marks(1.0, 0.01, GRACE), self.clock)
        self.engine.images = self.keeper
        self.activities = HostActivities(settings, self.engine, store, images=self.keeper)
        self.api = docker.APIClient(base_url=settings.docker_url)
        self._threads = ThreadPoolExecutor()

    def run(self, run: RunContainer) -> AttemptResult:
        return ActivityEnvironment().run(self.activities.run_container, run)

    def begin(self, run: RunContainer) -> Future[AttemptResult]:
        return self._threads.submit(self.run, run)

    def leave(self, size: int) -> Path:
        """Have only so much free."""
        ballast = self.disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free - size)
        return ballast

    async def report(self) -> HostReport:
        """What the host tells of itself now."""
        environment = ActivityEnvironment()
        heard: asyncio.Queue[HostReport] = asyncio.Queue()
        environment.on_heartbeat = heard.put_nowait
        watching = asyncio.create_task(environment.run(self.activities.watch))
        report = await asyncio.wait_for(heard.get(), 60)
        environment.cancel()
        await asyncio.wait([watching])
        return report

    @property
    def free(self) -> int:
        found = os.statvfs(self.disk)
        return found.f_bavail * found.f_frsize

    def pressure(self, *, pressed: bool) -> str:
        room = self.keeper.room()
        assert room is not None
        return disk_pressure(*room, RESERVE, pressed=pressed)

    def close(self) -> None:
        left = self.engine.list_ours()
        for one in left:
            self.engine.remove(one.id)
        self._threads.shutdown()
        self.api.close()
        assert not left
        self.engine.close()


@pytest.fixture
def host(tmp_path: Path, tiny_registry: TinyRegistry) -> Iterator[Host]:
    with small_disk(tmp_path) as data, own_dockerd(data) as daemon:
        settings = Settings(
            state_dir=tmp_path / "state",
            registry_url=tiny_registry.url,
            docker_url=daemon.url,
            host_id=f"test-{uuid.uuid4().hex[:8]}",
            host_reserve_disk=RESERVE,
        )
        made = Host(settings, FolderStore(tmp_path / "objects"), data)
        yield made
        made.close()


def test_who_fills_the_disk_ends_with_a_reason_and_harms_nobody(
    host: Host, tiny_registry: TinyRegistry
) -> None:
    runs = Runs(tiny_registry.image, host.engine.host_id)
    bystander = runs.shell("echo up; sleep 600 & wait; exit 1")
    goes_on = host.begin(bystander)
    until(lambda: _runs(host, bystander), 60, "the bystander")
    old, fresh = push(tiny_registry, "old"), push(tiny_registry, "fresh")
    host.engine.pull(host.engine.image_name(old), lambda _: True)
    ballast = host.leave(FREE)
    assert host.pressure(pressed=False) == ""

    program = host.run(runs.shell(f"{FILL} || exit 7"))
    assert (program.reason, program.exit_code) == (EndReason.FAILED, 7)
    assert "No space left on device" in program.last_lines[-1]

    talker = runs.shell(LOG)
    spoken = host.run(talker)
    assert (spoken.reason, spoken.exit_code) == (EndReason.FAILED, 3)
    said, _ = read_log(host.store, talker.key.log_key(), 0)
    assert said.startswith(b"1x2x3")

    hog = runs.shell(f"{FILL}; sleep 600")
    stays = host.begin(hog)
    until(lambda: host.pressure(pressed=False), 60, "pressure")
    with pytest.raises(ImagePullFailed, match="no space left on device"):
        host.run(runs.command(["/data"], image=fresh))
    with pytest.raises(DockerUnavailable, match="no space left on device"):
        host.run(runs.shell("exit 0"))
    assert asyncio.run(host.report()).pressure.startswith("DiskPressure: ")
    host.api.kill(hog.key.container_name())
    assert stays.result(60).exit_code == 137
    until(lambda: not host.pressure(pressed=True), 60, "room")

    # What nobody has used for long goes where a pull finds no room; the host has it all again.
    host.clock.now += GRACE * 2
    ballast.unlink()
    ballast = host.leave(ALMOST)
    host.engine.pull(host.engine.image_name(fresh), lambda _: True)
    assert not host.engine.has_image(host.engine.image_name(old))
    assert host.engine.has_image(host.engine.image_name(fresh))
    ballast.unlink()
    assert host.run(runs.shell("exit 0")).reason is EndReason.NORMAL
    assert asyncio.run(host.report()).pressure == ""
    assert _runs(host, bystander)
    host.api.kill(bystander.key.container_name())
    assert goes_on.result(60).last_lines == ["up"]


def _runs(host: Host, run: RunContainer) -> bool:
    state = host.engine.inspect(run.key.container_name())
    return state is not None and state.status == "running"
