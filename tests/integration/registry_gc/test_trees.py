"""Distribution's storage in a folder and in a bucket: the same layout, the same answers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from fleetwide.errors import InvalidInput, ObjectStoreUnavailable
from fleetwide.providers.registry_storage import RegistryStorage, hash_blob, open_registry_storage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.registry.names import RepositoryNameInvalid
from fleetwide.settings import Settings
from tests.registry_index import blob

pytestmark = pytest.mark.integration
APP, A, B = "apps/hello", blob("a"), blob("b")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(params=["folder", "bucket"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RegistryStorage:
    if request.param == "folder":
        return open_registry_storage(Settings(registry_storage=f"file:{tmp_path}"))
    endpoint = request.getfixturevalue("bucket")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    name = f"b{abs(hash(tmp_path))}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    settings = Settings(registry_storage=f"s3://{name}/some/place", aws_endpoint_url=endpoint)
    return open_registry_storage(settings)


def fill(storage: RegistryStorage) -> None:
    assert storage.put_blob(A, [b"a"])
    storage.link_layer(APP, A)
    storage.put_manifest(APP, B, b"b")
    storage.put_tag(APP, "v1", B)


def test_what_is_there_is_listed(storage: RegistryStorage) -> None:
    fill(storage)
    storage.link_layer("apps/hello/deeper", A)
    storage.link_layer("apps-x", A)
    assert list(storage.repositories()) == [APP, "apps/hello/deeper", "apps-x"]
    assert list(storage.repositories(APP)) == ["apps/hello/deeper", "apps-x"]
    assert list(storage.layers(APP)) == [A]
    assert list(storage.revisions(APP)) == [B]
    assert [(tag.name, tag.digest) for tag in storage.tags(APP)] == [("v1", B)]
    prefix = A.removeprefix("sha256:")[:2]
    assert [(one.digest, one.size) for one in storage.blobs(prefix)] == [(A, 1)]


def test_what_is_removed_is_gone_and_may_be_removed_again(storage: RegistryStorage) -> None:
    fill(storage)
    for _ in range(2):
        storage.unlink_layer(APP, A)
        storage.unlink_revision(APP, B)
        storage.unlink_tag(APP, "v1")
        storage.remove_blob(A)
    assert not storage.has_layer(APP, A)
    assert storage.revision(APP, B) is None
    assert storage.tag(APP, "v1") is None
    assert storage.blob(A) is None
    assert storage.read_blob(A) is None
    assert storage.remove_if_empty(APP)
    assert list(storage.repositories()) == []


def test_a_repository_with_a_file_is_not_empty(storage: RegistryStorage) -> None:
    storage.link_layer(APP, A)
    assert not storage.remove_if_empty(APP)
    assert storage.has_layer(APP, A)
    storage.remove_repository(APP)
    assert list(storage.repositories()) == []


def test_only_a_digests_own_bytes_are_taken(storage: RegistryStorage) -> None:
    assert not storage.put_blob(A, [b"other"])
    assert storage.blob(A) is None
    assert storage.put_blob(A, [b"", b"a"])
    chunks = storage.read_blob(A)
    assert chunks is not None
    heard: list[int] = []
    assert hash_blob(chunks, 1e9, heard.append) == A
    assert heard[-1] == 1


def test_bytes_are_kept_aside(storage: RegistryStorage) -> None:
    storage.put_blob(A, [b"a"])
    for _ in range(2):
        storage.keep_aside(A)
    storage.remove_blob(A)
    storage.keep_aside(A)
    assert storage.blob(A) is None
    kept = storage._tree.stream(f"fleetwide-broken/{A.removeprefix('sha256:')}")
    assert kept is not None
    assert b"".join(kept) == b"a"


def test_a_listing_goes_on_behind_what_it_has_seen(storage: RegistryStorage) -> None:
    digests = sorted(blob(str(number)) for number in range(5))
    for digest in digests:
        storage.link_layer(APP, digest)
        storage.put_manifest(APP, digest, b"x")
    tags = ["1", "1-x", "1.0", "1.0.0", "a"]
    for tag in tags:
        storage.put_tag(APP, tag, A)
    heard: list[int] = []
    for number in range(5):
        behind = slice(number + 1, None)
        assert list(storage.layers(APP, digests[number])) == digests[behind]
        assert list(storage.revisions(APP, digests[number])) == digests[behind]
        found = storage.tags(APP, tags[number], lambda: heard.append(1))
        assert [tag.name for tag in found] == tags[behind]
    assert len(heard) == 25


def test_files_come_in_the_order_of_their_paths(storage: RegistryStorage) -> None:
    paths = sorted(["b", "a/x", "a-1/y", "a/x-y/z", "a.b", "a/x.y"])
    for path in reversed(paths):
        storage._tree.write(f"some/{path}", [b"1"])
    assert [name for name, _ in storage._tree.files("some")] == paths
    for number, path in enumerate(paths):
        behind = [name for name, _ in storage._tree.files("some", path)]
        assert behind == paths[number + 1 :]


def test_uploads_are_found_and_removed(storage: RegistryStorage) -> None:
    path = f"docker/registry/v2/repositories/{APP}/_uploads/one/startedat"
    storage._tree.write(path, [b"2026"])
    [upload] = storage.uploads(APP)
    assert upload.id == "one"
    storage.remove_upload(upload)
    assert list(storage.uploads(APP)) == []


@pytest.mark.parametrize("name", ["../etc", "a//b", "A", "a/../b", ""])
def test_a_name_never_leads_out_of_the_storage(storage: RegistryStorage, name: str) -> None:
    with pytest.raises(RepositoryNameInvalid):
        storage.unlink_layer(name, A)
    with pytest.raises(InvalidInput):
        storage.unlink_layer(APP, f"sha256:../../{name}")


def test_what_is_no_link_is_passed_over(tmp_path: Path) -> None:
    storage = open_registry_storage(Settings(registry_storage=f"file:{tmp_path}"))
    fill(storage)
    folder = tmp_path / "docker/registry/v2/repositories" / APP / "_manifests"
    (folder / "tags/v1/current/link").write_text("nonsense")
    (folder / "tags/-bad").mkdir()
    (folder / "revisions/sha256/nonsense").mkdir()
    (folder.parent / "_layers/sha256" / B.removeprefix("sha256:")).mkdir()
    assert list(storage.tags(APP)) == []
    assert list(storage.revisions(APP)) == [B]
    assert list(storage.layers(APP)) == [A]


def test_a_storage_that_does_not_answer_is_told(tmp_path: Path) -> None:
    storage = open_registry_storage(Settings(registry_storage=f"file:{tmp_path}/it"))
    (tmp_path / "it").write_text("a file")
    with pytest.raises(ObjectStoreUnavailable):
        storage.put_blob(A, [b"a"])


def test_a_write_outlasts_the_removal_of_its_empty_folder(tmp_path: Path) -> None:
    tree, written = FolderTree(tmp_path), threading.Event()

    def remove() -> None:
        while not written.is_set():
            tree.remove("some/deep/folder/link")
            tree.remove_empty("some")

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(remove) for _ in range(2)]
        try:
            for _ in range(1000):
                tree.write("some/deep/folder/link", [b"x"])
        finally:
            written.set()
        for job in jobs:
            job.result()


@pytest.mark.parametrize("place", ["here", "file://host/x", "s3:", "http://x/y"])
def test_another_kind_of_storage_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput):
        open_registry_storage(Settings(registry_storage=place))
