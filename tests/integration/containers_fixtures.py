"""Real parts for container tests: a registry, a tiny image in it, a host, a store.

The image is made of the machine's own shell and a few tools with their libraries, so that no
network is needed. The conftest of this folder makes the fixtures known.
"""

import hashlib
import io
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings

DOCKER_URL = "unix:///var/run/docker.sock"
TOOLS = ("sh", "cat", "sleep", "true", "env", "head", "tail", "seq")
REPOSITORY = "tests/tiny"


@dataclass(frozen=True)
class TinyRegistry:
    """A running Distribution and the reference of the tiny image in it (repository@digest)."""

    url: str
    image: str
    repository: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def temporal_program() -> str | None:
    """The dev server's program: beside this Python, or on the PATH."""
    beside = Path(sys.executable).with_name("temporal")
    return str(beside) if beside.exists() else shutil.which("temporal")


def tiny_layer() -> bytes:
    """A tar of the tools, their libraries and the least of /etc; the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for path in sorted(_tool_files()):
            member = tarfile.TarInfo(path.lstrip("/"))
            data = Path(path).resolve().read_bytes()
            member.size, member.mode = len(data), 0o755
            layer.addfile(member, io.BytesIO(data))
        passwd = b"root:x:0:0:root:/:/bin/sh\n"
        member = tarfile.TarInfo("etc/passwd")
        member.size, member.mode = len(passwd), 0o644
        layer.addfile(member, io.BytesIO(passwd))
    return buffer.getvalue()


def _tool_files() -> set[str]:
    files: set[str] = set()
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin")
        assert found, f"this machine has no {tool}"
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        files.update(word for word in listed.split() if word.startswith("/"))
        files.add(f"/bin/{tool}")
    return files


def push_image(registry_url: str, repository: str, layer: bytes, config: dict[str, object]) -> str:
    """Push a one-layer image; the answer is its manifest digest."""
    full_config = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [],
    }
    config_blob = json.dumps(full_config).encode()
    for blob in (layer, config_blob):
        _push_blob(registry_url, repository, blob)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config_blob),
                "digest": _digest(config_blob),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                    "size": len(layer),
                    "digest": _digest(layer),
                }
            ],
        }
    ).encode()
    digest = _digest(manifest)
    url = f"{registry_url}/v2/{repository}/manifests/{digest}"
    requests.put(url, data=manifest, headers={"Content-Type": kind}, timeout=10).raise_for_status()
    return digest


def _push_blob(registry_url: str, repository: str, blob: bytes) -> None:
    began = requests.post(f"{registry_url}/v2/{repository}/blobs/uploads/", timeout=10)
    began.raise_for_status()
    location = began.headers["Location"]
    requests.put(
        location,
        params={"digest": _digest(blob)},
        data=blob,
        headers={"Content-Type": "application/octet-stream"},
        timeout=10,
    ).raise_for_status()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyRegistry]:
    """Docker Distribution on a free port with the tiny image pushed to it."""
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "storage:\n"
        "  delete: {enabled: true}\n"
        f"  filesystem: {{rootdirectory: {folder / 'data'}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: {secrets.token_hex(8)}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        _wait_for(f"{url}/v2/", process, folder / "log")
        digest = push_image(url, REPOSITORY, tiny_layer(), {"Cmd": ["/bin/true"]})
        yield TinyRegistry(url, f"{REPOSITORY}@{digest}", REPOSITORY)
        forget_images(f"127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            requests.get(url, timeout=1).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the registry did not come up: {log.read_text()}")


def forget_images(prefix: str) -> None:
    api = docker.APIClient(base_url=DOCKER_URL)
    for image in api.images():
        names = [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
        for name in names:
            if name.startswith(prefix):
                api.remove_image(name, force=True)
    api.close()


@pytest.fixture
def host_settings(tmp_path: Path, tiny_registry: TinyRegistry) -> Settings:
    """Settings of a platform and host of their own, so that no other test sees its containers."""
    return Settings(
        state_dir=tmp_path / "state",
        object_store_url=f"file:{tmp_path / 'objects'}",
        registry_url=tiny_registry.url,
        docker_url=DOCKER_URL,
        host_id=f"test-{uuid.uuid4().hex[:8]}",
    )


@pytest.fixture
def container_host(host_settings: Settings) -> Iterator[ContainerHost]:
    """The real dockerd; fails the test if it leaves a container behind, and removes it."""
    host = ContainerHost.from_settings(host_settings)
    yield host
    left = host.list_ours()
    for container in left:
        host.remove(container.id)
    host.close()
    assert not left, f"containers left behind: {[container.name for container in left]}"


@pytest.fixture
def object_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def docker_api() -> Iterator[docker.APIClient]:
    """The bare SDK, to look at what the platform made."""
    api = docker.APIClient(base_url=DOCKER_URL)
    yield api
    api.close()


@dataclass(frozen=True)
class Runs:
    """Makes ``RunContainer`` inputs for the tiny image."""

    image: str
    host_id: str

    def shell(self, script: str, **spec: Any) -> RunContainer:
        """Runs ``script`` by the shell in the container."""
        return self.command(["/bin/sh", "-c", script], **spec)

    def command(self, command: list[str], *, image: str | None = None, **spec: Any) -> RunContainer:
        used = image or self.image
        values = {
            "image": used,
            "command": command,
            "resources": {"cpu": 0.5, "memory": "64MiB"},
            "network": "none",
            **spec,
        }
        return RunContainer(
            key=AttemptKey(workflow_id=f"task/{uuid.uuid4().hex}", run_id=str(uuid.uuid4())),
            host_id=self.host_id,
            app="tests",
            image=used,
            container=ContainerSpec.model_validate(values),
        )


@pytest.fixture
def runs(host_settings: Settings, tiny_registry: TinyRegistry) -> Runs:
    return Runs(tiny_registry.image, host_settings.host_id)
