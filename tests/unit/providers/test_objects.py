import errno
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from fleetwide.errors import InvalidInput, NotFound, ObjectStoreUnavailable
from fleetwide.providers.objects import (
    FolderStore,
    ObjectStore,
    StoredObject,
    checked_key,
    open_object_store,
)
from fleetwide.providers.objects_s3 import S3Store
from fleetwide.settings import Settings


@pytest.fixture(params=["folder", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield open_object_store(Settings(object_store_url=f"file:{tmp_path / 'objects'}"))
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="objects")
        yield open_object_store(Settings(object_store_url="s3://objects/some/prefix"))


def test_bytes_come_back(store: ObjectStore) -> None:
    store.put_bytes("logs/a/1", b"one")
    store.put_bytes("logs/a/1", b"two")
    assert store.get_bytes("logs/a/1") == b"two"
    stream = store.open_stream("logs/a/1")
    assert (stream.read(1), stream.read()) == (b"t", b"wo")
    stream.close()


def test_files_come_back(store: ObjectStore, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 100_000)
    store.put_file("images/disk", source)
    store.get_file("images/disk", target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(NotFound):
        store.get_file("images/none", target)
    assert target.read_bytes() == source.read_bytes()


def test_a_file_moves_into_the_store(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    store.move_file("layers/a", source)
    assert store.get_bytes("layers/a") == b"x" * 100_000
    assert not source.exists()


def test_a_file_moves_into_a_folder_on_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, rename = tmp_path / "source", Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path == source:
            raise OSError(errno.EXDEV, "another disk")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    source.write_bytes(b"moved")
    store = FolderStore(tmp_path / "objects")
    store.move_file("layers/a", source)
    assert store.get_bytes("layers/a") == b"moved"
    assert not source.exists()


def test_what_is_there_and_what_is_not(store: ObjectStore) -> None:
    store.put_bytes("a/b", b"12")
    assert store.exists("a/b")
    assert not store.exists("a")
    assert not store.exists("a/c")
    store.delete("a/b")
    store.delete("a/b")
    for read in (store.get_bytes, store.open_stream):
        with pytest.raises(NotFound, match="a/b"):
            read("a/b")


def test_listings_go_by_prefix_and_are_ordered(store: ObjectStore) -> None:
    for key in ("logs/b/2", "logs/a/1", "logs/b/1", "logs/b2/1", "results/x"):
        store.put_bytes(key, b"123")
    assert store.list("logs/b/") == [StoredObject("logs/b/1", 3), StoredObject("logs/b/2", 3)]
    assert [found.key for found in store.list("logs/b")] == ["logs/b/1", "logs/b/2", "logs/b2/1"]
    assert len(store.list("")) == 5
    assert store.list("none/") == []


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\0b", "a b", ".tmp/x", "x" * 1001],
)
def test_hostile_keys_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidInput):
        store.put_bytes(key, b"")
    with pytest.raises(InvalidInput):
        store.get_bytes(key)
    with pytest.raises(InvalidInput):
        checked_key(key)


def test_a_failed_write_leaves_the_old_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_bytes("a", b"old")
    with pytest.raises(TypeError):
        store.put_bytes("a", None)  # type: ignore[arg-type]  # stands for a write that breaks off
    assert store.get_bytes("a") == b"old"
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(ObjectStoreUnavailable, match="Not a directory"):
        store.put_bytes("a", b"")


def test_a_bucket_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = Settings(aws_endpoint_url=f"http://127.0.0.1:{unused_tcp_port}")
    store = S3Store.connect(settings, "objects", "")
    with pytest.raises(ObjectStoreUnavailable, match="bucket objects"):
        store.get_bytes("a")


@pytest.mark.parametrize("url", ["", "ftp://x/y", "file:", "s3:///x", "file://host/x"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="object_store_url"):
        open_object_store(Settings(object_store_url=url))
