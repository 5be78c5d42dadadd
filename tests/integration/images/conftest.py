"""A registry of our own, and one small real root file system for all tests of images."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetwide.errors import RegistryUnavailable
from fleetwide.models.bakes import BaseImage
from fleetwide.models.os_releases import LockedPlan, RootFilesystem
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import push_base_image

ROOT = Path(__file__).parents[3]
# The least that can run a wheel and take a deb.
SPEC = {
    "name": "tiny",
    "version": "20261122.1",
    "suite": "bookworm",
    "variant": "essential",
    "packages": ["python3-minimal"],
}
CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_registry(url: str, process: "subprocess.Popen[bytes]") -> None:
    with RegistryClient(url) as client:
        while process.poll() is None:
            try:
                client.ping()
            except RegistryUnavailable:
                continue
            return
    raise AssertionError("docker-registry ended at once")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real registry: its base URL and its storage folder."""
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port))
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        await_registry(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", folder / "data"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def client(registry: tuple[str, Path]) -> Iterator[RegistryClient]:
    with RegistryClient(registry[0]) as made:
        yield made


@dataclass(frozen=True)
class Built:
    """A small root file system: its plan, and its layer as a file."""

    locked: LockedPlan
    layer: Path
    rootfs: RootFilesystem


def _driven(*words: str) -> str:
    """What a build in a process of its own answers: that one may use the network."""
    command = [sys.executable, "-m", "tests.integration.os_builds.driver", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def built() -> Iterator[Built]:
    """Below /tmp itself, where apt's own user may read."""
    with tempfile.TemporaryDirectory(prefix="fw-images-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        locked = _driven("prepare", folder, json.dumps(SPEC))
        rootfs = _driven("build", folder, locked, str(home / "work"))
        yield Built(
            LockedPlan.model_validate_json(locked),
            home / "work/layer.tar.gz",
            RootFilesystem.model_validate_json(rootfs),
        )


@pytest.fixture(scope="session")
def base(built: Built, client: RegistryClient) -> BaseImage:
    """The root file system as a base image in the registry."""
    locked, layer = built.locked, built.rootfs.layer
    plan = locked.plan
    client.upload_blob(plan.repository, built.layer, layer.digest)
    pushed = push_base_image(client, locked, layer)
    return BaseImage(
        name=plan.name,
        version=plan.version,
        repository=plan.repository,
        digest=pushed.digest,
        layer=layer,
        distribution=plan.spec.distribution,
        suite=plan.spec.suite,
        architecture=plan.spec.architecture,
        created_epoch=locked.source_date_epoch,
    )


@pytest.fixture(scope="session")
def cache(client: RegistryClient, tmp_path_factory: pytest.TempPathFactory) -> BaseCache:
    return BaseCache(tmp_path_factory.mktemp("bases"), client)
