"""Files of a running task: listed, and fetched without doing harm to who unpacks them."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import httpx2
import pytest
from ulid import ULID

from fleetwide.client import Client as ApiClient
from fleetwide.client.errands import exec_request
from fleetwide.errors import NotFound
from fleetwide.models.errands import ErrandResult, Fetched, FetchRequest, FileKind
from fleetwide.providers import errand_objects
from tests.integration.containers_fixtures import Runs, TinyRegistry
from tests.integration.errands.conftest import SCRIPT, ErrandPlane, RunningTask, book, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def put(task: RunningTask, folder: str, build: bytes) -> None:
    """Unpack a tar in the container, however hostile it is."""
    api = docker.APIClient()
    assert api.put_archive(task.name, folder, build)
    api.close()


def tar_of(*members: tuple[str, bytes | str]) -> bytes:
    """Bytes are a file's content, a text is a link's target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size, member.mode = len(content), 0o6755
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def fetch(api: ApiClient, task: RunningTask, path: str, **more: object) -> tuple[Fetched, bytes]:
    request = FetchRequest.model_validate({"path": path, **more})
    operation = api.errands.fetch(task.id, request, wait=60)
    assert operation.error is None, operation.error
    fetched = ErrandResult.model_validate(operation.result).fetched
    assert fetched
    sink = io.BytesIO()
    assert api.errands.content(operation.id, sink) == fetched.size
    return fetched, sink.getvalue()


def refusal(api: ApiClient, task: RunningTask, path: str, **more: object) -> str:
    request = FetchRequest.model_validate({"path": path, **more})
    error = api.errands.fetch(task.id, request, wait=60).error
    assert error
    return f"{error.code}: {error.detail}"


def test_a_folder_is_listed_as_it_is(api: ApiClient, task: RunningTask) -> None:
    odd = "a\x1b[31m\n"
    put(task, "/", tar_of(("data/b", b"12345"), ("data/link", "/etc/passwd"), (f"data/{odd}", b"")))
    found = {entry.name: entry for entry in api.errands.files(task.id, "/data").entries}
    assert set(found) == {"b", "link", odd}
    assert (found["b"].kind, found["b"].size, found["b"].mode) == (FileKind.FILE, 5, "-rwsr-sr-x")
    assert (found["link"].kind, found["link"].target) == (FileKind.LINK, "/etc/passwd")
    [one] = api.errands.files(task.id, "/data/b").entries
    assert one.name == "b"
    root = {entry.name for entry in api.errands.files(task.id).entries}
    assert {"data", "bin", "etc", "proc"} <= root
    with pytest.raises(NotFound, match="there is no /data/missing"):
        api.errands.files(task.id, "/data/missing")


def test_the_containers_links_stay_in_the_container(api: ApiClient, task: RunningTask) -> None:
    put(task, "/", tar_of(("up", "../../../../../.."), ("passwd", "/etc/passwd")))
    names = {entry.name for entry in api.errands.files(task.id, "/up").entries}
    assert {"up", "passwd"} <= names
    assert fetch(api, task, "/passwd")[1] == b"root:x:0:0:root:/:/bin/sh\n"


def test_a_file_comes_as_it_is(api: ApiClient, task: RunningTask) -> None:
    data = os.urandom(3 * 1024**2)
    put(task, "/", tar_of(("big", data)))
    fetched, got = fetch(api, task, "/big")
    assert got == data
    assert (fetched.name, fetched.folder) == ("big", False)
    assert fetched.sha256 == hashlib.sha256(data).hexdigest()


def test_a_folder_comes_as_a_tar_without_what_could_do_harm(
    api: ApiClient, task: RunningTask, tmp_path: Path
) -> None:
    odd = "name\n\udcff"
    put(
        task,
        "/",
        tar_of(
            ("data/a", b"A"),
            (f"data/{odd}", b"odd"),
            ("data/inner/deep", b"D"),
            ("data/inner/up", "../a"),
            ("data/out", "../../outside"),
            ("data/absolute", "/etc/passwd"),
            ("data/inner/sneaky", "up/../../../outside"),
        ),
    )
    fetched, got = fetch(api, task, "/data")
    assert (fetched.folder, fetched.left_out) == (True, 3)
    with tarfile.open(fileobj=io.BytesIO(got)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        assert set(members) == {"a", odd, "inner", "inner/deep", "inner/up"}
        assert {member.uid for member in members.values()} == {0}
        assert members["a"].mode == 0o755
        tar.extractall(tmp_path / "unpacked", filter="fully_trusted")
    assert (tmp_path / "unpacked/inner/up").read_bytes() == b"A"
    assert (tmp_path / "unpacked" / odd).read_bytes() == b"odd"


def test_the_memory_folders_of_a_container_are_seen_too(api: ApiClient, task: RunningTask) -> None:
    request = exec_request(["/bin/sh", "-c", "echo there > /dev/shm/note"])
    assert api.errands.exec(task.id, request, wait=30).result["exit_code"] == 0
    assert fetch(api, task, "/dev/shm/note")[1] == b"there\n"


def test_what_is_no_file_on_a_disk_is_refused(api: ApiClient, task: RunningTask) -> None:
    assert "InvalidInput" in refusal(api, task, "/proc/1/environ")
    assert "InvalidInput" in refusal(api, task, "/proc")
    assert "InvalidInput" in refusal(api, task, "/dev/null")
    assert "NotFound" in refusal(api, task, "/missing")
    put(task, "/", tar_of(("round", "round")))
    assert "InvalidInput" in refusal(api, task, "/round")


def test_more_than_the_limit_is_refused(api: ApiClient, task: RunningTask) -> None:
    put(task, "/", tar_of(("big", bytes(2000)), ("data/big", bytes(20000))))
    assert "more than 1000 bytes" in refusal(api, task, "/big", limit=1000)
    assert "more than 1000 bytes" in refusal(api, task, "/data", limit=1000)
    assert len(fetch(api, task, "/big", limit=2000)[1]) == 2000


def test_a_path_has_to_be_absolute(http: httpx2.Client, task: RunningTask) -> None:
    for path in ("etc", "", "/a\0"):
        assert http.get(f"/v1/tasks/{task.id}/files", params={"path": path}).status_code == 422


def test_what_errands_left_goes_when_its_time_is_over(
    api: ApiClient, task: RunningTask, plane: ErrandPlane
) -> None:
    operation = api.errands.fetch(task.id, FetchRequest(path="/etc/passwd"), wait=60)
    assert api.errands.content(operation.id, io.BytesIO())
    now = datetime.now(UTC)
    old = str(ULID.from_datetime(now - timedelta(hours=25))).lower()
    plane.objects.put_bytes(errand_objects.content_key(old), b"old")
    plane.objects.put_bytes("errands/no-ulid/content", b"somebody's")
    assert errand_objects.sweep(plane.objects, now, timedelta(hours=24)) == 1
    assert api.errands.content(operation.id, io.BytesIO())
    assert plane.objects.exists("errands/no-ulid/content")
    errand_objects.sweep(plane.objects, now + timedelta(hours=25), timedelta(hours=24))
    with pytest.raises(NotFound):
        api.errands.content(operation.id, io.BytesIO())


def test_an_errand_that_fetched_nothing_has_no_content(api: ApiClient, task: RunningTask) -> None:
    operation = api.errands.exec(task.id, exec_request(["/bin/true"]), wait=30)
    with pytest.raises(NotFound, match="fetched nothing"):
        api.errands.content(operation.id, io.BytesIO())
    with pytest.raises(NotFound):
        list(api.errands.output("unknown"))


def test_secrets_never_come_to_lie_in_the_object_store(
    api: ApiClient, plane: ErrandPlane, tiny_registry: TinyRegistry, tmp_path: Path
) -> None:
    run = Runs(tiny_registry.image, plane.settings.host_id).shell(SCRIPT)
    book(plane, run)
    with secret_memory(tmp_path) as secrets:
        (secrets / "key").write_text("hush-91c2")
        mounts = [{"Type": "bind", "Source": str(secrets / "key"), "Target": "/run/keys/key"}]
        with running(plane, run, Mounts=mounts) as task:
            names = {entry.name for entry in api.errands.files(task.id, "/run/keys").entries}
            assert names == {"key"}
            assert "InvalidInput" in refusal(api, task, "/run/keys/key")
            fetched, got = fetch(api, task, "/run")
    assert fetched.left_out == 1
    assert b"hush-91c2" not in got


@contextmanager
def secret_memory(folder: Path) -> Iterator[Path]:
    """Memory that lies where a task's secrets do: in a volume whose name says so."""
    volume = folder / "fw-task._secrets" / "_data"
    volume.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True)
    try:
        yield volume
    finally:
        subprocess.run(["umount", volume], check=True)
