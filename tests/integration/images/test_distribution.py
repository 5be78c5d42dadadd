import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetwide.errors import ImageNotFound, NotFound, RegistryUnavailable
from fleetwide.providers import distribution
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import MANIFEST_TYPE, ImageParts, RunConfig, build_image
from fleetwide.registry.references import ImageReference
from tests.integration.images.conftest import free_port

pytestmark = pytest.mark.integration


def push_empty(client: RegistryClient, repository: str, tag: str) -> str:
    image = build_image(ImageParts("amd64", 0, [], [], RunConfig(labels={"tag": tag})))
    client.upload_blob(repository, image.config, image.config_digest)
    return client.put_manifest(ImageReference(repository, tag), image.manifest, MANIFEST_TYPE)


def test_a_pushed_image_is_found_by_tag_and_by_digest(client: RegistryClient) -> None:
    digest = push_empty(client, "test/found", "1.0")
    by_tag = ImageReference("test/found", tag="1.0")
    assert client.resolve(by_tag) == client.resolve(by_tag.pinned(digest)) == digest
    manifest = client.get_manifest(by_tag)
    assert (manifest.digest, manifest.media_type) == (digest, MANIFEST_TYPE)
    config = client.get_blob_json("test/found", manifest.json()["config"]["digest"])
    assert config["config"]["Labels"] == {"tag": "1.0"}
    assert "test/found" in client.list_repositories()
    assert client.list_tags("test/found") == ["1.0"]


def test_what_is_not_there_is_named(client: RegistryClient) -> None:
    with pytest.raises(ImageNotFound, match=r"test/nothing:1\.0 is not in the registry"):
        client.resolve(ImageReference("test/nothing", tag="1.0"))
    with pytest.raises(NotFound, match="has no blob"):
        client.get_blob_json("test/nothing", digest_of(b"x"))
    assert client.list_tags("test/nothing") == []
    assert not client.blob_exists("test/nothing", digest_of(b"x"))


def test_nobody_at_the_address_is_told_apart_from_not_found() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with RegistryClient(url) as nobody, pytest.raises(RegistryUnavailable, match=url):
        nobody.resolve(ImageReference("test/found", tag="1.0"))


def test_a_file_is_sent_in_chunks(
    client: RegistryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(distribution, "WHOLE_BYTES", 0)
    source = tmp_path / "blob"
    source.write_bytes(b"0123456789" * 1234)
    digest = digest_of(source.read_bytes())
    seen: list[float | None] = []
    client.upload_blob("test/chunks", source, digest, lambda _phrase, done: seen.append(done))
    with client.stream_blob("test/chunks", digest) as pieces:
        assert b"".join(pieces) == source.read_bytes()
    assert seen[0] == 0.0


def test_a_registry_that_wants_two_requests_is_not_sent_a_blob_twice_again(
    client: RegistryClient,
) -> None:
    asked: list[str] = []
    with RegistryClient(client.base_url) as other:
        other._http.event_hooks["request"].append(lambda one: asked.append(one.method))
        for data in (b"", b"first", b"second", b"second"):
            other.upload_blob("test/two-steps", data, digest_of(data))
            assert client.blob_exists("test/two-steps", digest_of(data))
    empty, first = ["HEAD", "POST", "PUT"], ["POST", "PUT"]
    assert asked == [*empty, *first, "HEAD", "POST", "PUT", "HEAD"]


def test_a_digest_that_is_wrong_is_refused_by_the_registry(client: RegistryClient) -> None:
    with pytest.raises(RegistryUnavailable, match="answered 4"):
        client.upload_blob("test/wrong", b"data", digest_of(b"other"))


def uploads(storage: Path, repository: str) -> list[Path]:
    """The data of unfinished uploads; Distribution itself keeps empty folders of dropped ones."""
    folder = storage / "docker/registry/v2/repositories" / repository / "_uploads"
    return list(folder.glob("*/data"))


class Cancelled(Exception):
    pass


def test_a_cancelled_upload_is_dropped(
    client: RegistryClient,
    registry: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distribution, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(distribution, "WHOLE_BYTES", 0)
    monkeypatch.setattr(distribution, "Throttled", lambda progress: progress)
    source = tmp_path / "blob"
    source.write_bytes(b"y" * 10_000)
    left: list[int] = []

    def stop_half_way(_phrase: str, done: float | None) -> None:
        left.append(len(uploads(registry[1], "test/cancel")))
        if done is not None and done >= 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        client.upload_blob("test/cancel", source, digest_of(source.read_bytes()), stop_half_way)
    assert max(left) == 1
    assert uploads(registry[1], "test/cancel") == []


def test_a_blob_is_mounted_from_another_repository(
    client: RegistryClient, registry: tuple[str, Path]
) -> None:
    client.upload_blob("test/origin", b"shared", digest_of(b"shared"))
    assert client.mount_blob("test/copy", digest_of(b"shared"), "test/origin")
    assert client.blob_exists("test/copy", digest_of(b"shared"))
    assert not client.mount_blob("test/copy", digest_of(b"unknown"), "test/origin")
    assert uploads(registry[1], "test/copy") == []


def test_one_client_serves_many_threads(client: RegistryClient) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> bool:
        data = hashlib.sha256(bytes([number])).digest() * 100
        barrier.wait()
        client.upload_blob("test/threads", data, digest_of(data))
        return client.blob_exists("test/threads", digest_of(data))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
