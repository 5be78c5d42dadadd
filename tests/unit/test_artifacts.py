import gzip
import hashlib
import io
import lzma
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleetwide.errors import ArtifactMismatch, ArtifactRejected, ServiceUnavailable
from fleetwide.models.bakery import Artifact, ArtifactType
from fleetwide.providers import downloads
from fleetwide.providers.artifacts import check_type, fetch
from fleetwide.providers.progress import no_progress


def tar_of(name: str, content: bytes) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return plain.getvalue()


CONTENT = gzip.compress(tar_of("run", b"x" * 1000), mtime=0)
STATUS = {"/ok": 200, "/missing": 404, "/broken": 503, "/cut": 200, "/short": 200}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = STATUS.get(self.path.partition("?")[0], 302)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.path)
        content = CONTENT[:-5] if self.path == "/short" else CONTENT
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(content[:10] if self.path == "/cut" else content)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def artifact(url: str | None = None, content: bytes = CONTENT) -> Artifact:
    sha256 = hashlib.sha256(content).hexdigest()
    return Artifact(type=ArtifactType.TARBALL, sha256=sha256, filename="app.tar.gz", url=url)


def no_store(_key: str, _path: Path) -> None:
    raise AssertionError("the object store must not be asked")


def test_a_url_is_fetched(server: str, tmp_path: Path) -> None:
    fetch(artifact(f"{server}/ok"), tmp_path / "a", no_store, no_progress)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_an_uploaded_artifact_comes_out_of_the_object_store(tmp_path: Path) -> None:
    keys: list[str] = []

    def store(key: str, path: Path) -> None:
        keys.append(key)
        path.write_bytes(CONTENT)

    fetch(artifact(), tmp_path / "a", store, no_progress)
    assert keys == [f"artifacts/sha256/{hashlib.sha256(CONTENT).hexdigest()}"]


def test_other_bytes_are_refused_with_both_digests(server: str, tmp_path: Path) -> None:
    wanted = artifact(f"{server}/ok", b"other")
    with pytest.raises(ArtifactMismatch) as caught:
        fetch(wanted, tmp_path / "a", no_store, no_progress)
    assert wanted.sha256 in caught.value.message
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.message
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/missing", ArtifactRejected),
        ("/loop", ArtifactRejected),
        ("/broken", ServiceUnavailable),
        ("/cut", ServiceUnavailable),
    ],
)
def test_the_server_s_answer_decides_who_is_at_fault(
    server: str, tmp_path: Path, path: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"app\.tar\.gz"):
        fetch(artifact(server + path), tmp_path / "a", no_store, no_progress)


def test_a_truncated_file_is_refused_with_digest_and_size(server: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMismatch) as caught:
        fetch(artifact(f"{server}/short"), tmp_path / "a", no_store, no_progress)
    cut = CONTENT[:-5]
    assert f"{hashlib.sha256(cut).hexdigest()} and {len(cut)} bytes" in caught.value.message
    assert not (tmp_path / "a").exists()


def test_an_object_key_names_the_object(tmp_path: Path) -> None:
    keys: list[str] = []

    def store(key: str, path: Path) -> None:
        keys.append(key)
        path.write_bytes(CONTENT)

    named = artifact().model_copy(update={"object_key": "builds/app.tar.gz"})
    fetch(named, tmp_path / "a", store, no_progress)
    assert keys == ["builds/app.tar.gz"]


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("phrase", ["fetching app.tar.gz", "checking app.tar.gz"])
def test_cancel_leaves_nothing(server: str, tmp_path: Path, phrase: str) -> None:
    def cancel(said: str, _fraction: float | None) -> None:
        if said == phrase:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(artifact(f"{server}/ok"), tmp_path / "a", no_store, cancel)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_behind_the_question_mark_is_not_told(server: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected) as caught:
        fetch(artifact(f"{server}/missing?token=secret"), tmp_path / "a", no_store, no_progress)
    assert "secret" not in str(caught.value)


def test_too_large_a_file_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_ARTIFACT_BYTES", 10)
    with pytest.raises(ArtifactRejected, match="larger than 10 bytes"):
        fetch(artifact(f"{server}/ok"), tmp_path / "a", no_store, no_progress)


def a_wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app-1.0.dist-info/METADATA", "")


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app", "")


MADE: dict[str, Callable[[Path], object]] = {
    "wheel": a_wheel,
    "zip": a_zip,
    "deb": lambda path: path.write_bytes(b"!<arch>\ndebian-binary   1700000000  0"),
    "tarball": lambda path: path.write_bytes(lzma.compress(tar_of("run", b"x"))),
    "sdist": lambda path: path.write_bytes(CONTENT),
    "binary": lambda path: path.write_bytes(b"\x7fELF" + bytes(60)),
    "script": lambda path: path.write_bytes(b"#!/bin/sh\n"),
    "text": lambda path: path.write_bytes(b"hello"),
    "note": lambda path: path.write_bytes(b"#! note"),
    "packed text": lambda path: path.write_bytes(gzip.compress(b"x" * 1000)),
    "cut off": lambda path: path.write_bytes(CONTENT[:20]),
    "empty": lambda path: path.write_bytes(b""),
}
ACCEPTED: dict[ArtifactType, set[str]] = {
    ArtifactType.DEB: {"deb"},
    ArtifactType.TARBALL: {"tarball", "sdist"},
    ArtifactType.ZIP: {"zip", "wheel"},
    ArtifactType.WHEEL: {"wheel"},
    ArtifactType.SDIST: {"sdist"},
    ArtifactType.BINARY: {"binary", "script"},
}


@pytest.mark.parametrize("content", sorted(MADE))
@pytest.mark.parametrize("kind", sorted(ACCEPTED))
def test_the_type_is_checked_not_believed(tmp_path: Path, content: str, kind: ArtifactType) -> None:
    MADE[content](tmp_path / "a")
    given = artifact().model_copy(update={"type": kind})
    if content in ACCEPTED[kind]:
        check_type(given, tmp_path / "a")
    else:
        with pytest.raises(ArtifactRejected, match=f"is not a {kind}"):
            check_type(given, tmp_path / "a")
