"""A registry of our own, and one small real root file system for all tests of images."""

import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetwide.baseos.plans import make_plan
from fleetwide.errors import RegistryUnavailable
from fleetwide.models.bakery import BaseImage
from fleetwide.models.baseos import BuildPlan, OSImageSpec
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import push_base_image
from fleetwide.providers.mmdebstrap import BuiltRootfs, build_rootfs
from fleetwide.providers.progress import no_progress

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


def small_plan(**spec: Any) -> BuildPlan:
    """The least that can run a wheel and take a deb."""
    given = {
        "name": "tiny",
        "suite": "bookworm",
        "variant": "essential",
        "packages": ["python3-minimal"],
        **spec,
    }
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return make_plan(OSImageSpec.model_validate(given), "20261122.1", "os/tiny/20261122.1", now)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltRootfs:
    return build_rootfs(small_plan(), None, tmp_path_factory.mktemp("rootfs") / "b", no_progress)


@pytest.fixture(scope="session")
def base(built: BuiltRootfs, client: RegistryClient) -> BaseImage:
    """The root file system as a base image in the registry."""
    plan = small_plan()
    layer = built.rootfs.layer
    client.upload_blob(plan.repository, built.layer_path, layer.digest)
    pushed = push_base_image(client, plan, layer)
    return BaseImage(
        name=plan.name,
        version=plan.version,
        repository=plan.repository,
        digest=pushed.digest,
        layer=built.rootfs.layer,
        distribution=plan.spec.distribution,
        suite=plan.spec.suite,
        architecture=plan.spec.architecture,
        created_epoch=plan.source_date_epoch,
    )


@pytest.fixture(scope="session")
def cache(client: RegistryClient, tmp_path_factory: pytest.TempPathFactory) -> BaseCache:
    return BaseCache(tmp_path_factory.mktemp("bases"), client)
