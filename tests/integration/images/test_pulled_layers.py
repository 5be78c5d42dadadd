"""What Docker makes of a layer that consists of many gzip members, some taken over from a wheel."""

import hashlib
import random
import zipfile
import zlib
from pathlib import Path

import docker
import pytest

from fleetwide.models.bakes import BaseImage
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import plan_image, push_image
from fleetwide.providers.layers import pack_layer
from fleetwide.providers.progress import no_progress
from tests.integration.images.payloads import inputs_of, made
from tests.integration.images.small_bases import send_layer
from tests.unit.test_wheels import make_wheel

pytestmark = pytest.mark.integration

# Debian's smallest Python has no json.
PROGRAM = b"""import hashlib, os
def main():
    folder = os.path.join(os.path.dirname(__file__), "data")
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as reader:
            print(name, hashlib.sha256(reader.read()).hexdigest())
"""


def test_docker_pulls_and_runs_a_layer_of_many_members(
    client: RegistryClient,
    base: BaseImage,
    cache: BaseCache,
    tmp_path: Path,
    docker_api: docker.APIClient,
) -> None:
    rng = random.Random(3)
    sizes = [0, 1, 5000, 100_000, 3_000_000]
    data = {f"{n}": rng.randbytes(size // 2) + b"a" * (size // 2) for n, size in enumerate(sizes)}
    files = {f"app/data/{name}": content for name, content in data.items()}
    wheel = make_wheel(
        tmp_path, files={"app/__init__.py": PROGRAM, **files}, compression=zipfile.ZIP_DEFLATED
    )
    root = cache.rootfs(base, no_progress)
    inputs = inputs_of(base, root, ("wheel", wheel.path, wheel.name))
    packed = pack_layer(
        made(inputs, tmp_path / "w").entries, tmp_path / "layer.tar.gz", no_progress
    )
    assert count_members(packed.path) > 2 * sum(size > 5000 for size in sizes)

    bake = inputs.bake
    send_layer(client, bake.repository, packed)
    pushed = push_image(client, plan_image(client, bake, packed.layer, {}, f"sha256:{'0' * 64}"))
    image = f"{client.base_url.removeprefix('http://')}/{bake.repository}"
    docker_api.pull(image, tag=pushed.digest)
    try:
        said = output_of(docker_api, f"{image}@{pushed.digest}", "/usr/local/bin/app-run")
    finally:
        docker_api.remove_image(f"{image}@{pushed.digest}", force=True)
    digests = [f"{name} {hashlib.sha256(one).hexdigest()}" for name, one in sorted(data.items())]
    assert said.splitlines() == digests


def count_members(path: Path) -> int:
    count, rest = 0, path.read_bytes()
    while rest:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        member.decompress(rest)
        assert member.eof
        count, rest = count + 1, member.unused_data
    return count


def output_of(api: docker.APIClient, image: str, command: str) -> str:
    config = api.create_host_config(network_mode="none")
    made = api.create_container(image, entrypoint=[command], command=[], host_config=config)
    try:
        api.start(made["Id"])
        code = api.wait(made["Id"], timeout=60)["StatusCode"]
        said: str = api.logs(made["Id"]).decode()
        assert code == 0, said
        return said
    finally:
        api.remove_container(made["Id"], force=True)
