"""What artifacts need: asked of a real apt with an archive of our own, and of a real pip."""

import base64
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleetwide.baseos.locks import lock_digest
from fleetwide.errors import (
    ArtifactMismatch,
    ArtifactRejected,
    DependencyUnsatisfied,
    NotFound,
    PlatformError,
    WrongArchitecture,
)
from fleetwide.models.bakes import Dependency, DependencyKind
from fleetwide.models.baseos import Architecture
from fleetwide.models.os_locks import Lock, LockedSource
from fleetwide.providers.dependencies import (
    DependencyRequest,
    fetch_dependency,
    resolve_dependencies,
)
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.progress import Progress, no_progress
from tests.integration.images.payloads import Given, make_deb, sha256_of
from tests.integration.images.test_payloads import BACKEND, make_sdist
from tests.integration.os_builds.archive import SUITE, Archive, served
from tests.unit.bakes import resolved
from tests.unit.test_wheels import make_wheel

pytestmark = pytest.mark.integration

INSTALLED = {"tiny-lib": "1.0-1", "tiny-base": "1.0-1"}
PYTHON = {"python3-minimal": "3.11.2-1+b1", "python3.11-minimal": "3.11.2-6", "libc6": "2.36-9"}


@pytest.fixture
def archive() -> Iterator[Archive]:
    """A signed archive; below /tmp itself, where apt's own user may read."""
    with tempfile.TemporaryDirectory(prefix="fw-archive-") as folder:
        made = Archive(Path(folder))
        made.add("tiny-lib", "2.0-1", {"Priority": "required"})
        made.add("needs-new-lib", "1.0-1", {"Depends": "tiny-lib (>= 2.0)"})
        made.add("replacement", "1.0-1", {"Conflicts": "tiny-lib"})
        made.add("tini", "0.19-1", {})
        made.publish()
        try:
            with served(made):
                yield made
        finally:
            made.close()


def base_root(folder: Path, packages: dict[str, str]) -> Path:
    """The part of an unpacked base that says what is installed."""
    status = folder / "root/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "".join(
            f"Package: {name}\nStatus: install ok installed\nPriority: required\n"
            f"Architecture: amd64\nMaintainer: x\nVersion: {version}\nDescription: x\n\n"
            for name, version in packages.items()
        )
    )
    if "python3-minimal" in packages:
        (folder / "root/usr/bin").mkdir(parents=True)
        (folder / "root/usr/bin/python3").symlink_to("python3.11")
    return folder / "root"


def lock_of(archive: Archive) -> Lock:
    source = LockedSource(
        url=archive.url, suite=SUITE, components=["main"], keyring=str(archive.keyring)
    )
    return Lock(suite=SUITE, architecture=Architecture.AMD64, sources=[source], packages=[])


def request_of(
    folder: Path,
    *given: Given,
    lock: Lock | None = None,
    installed: dict[str, str] = INSTALLED,
    **changes: Any,
) -> DependencyRequest:
    artifacts = [
        {"type": kind, "filename": name, "sha256": sha256_of(path)} for kind, path, name in given
    ]
    return DependencyRequest(
        bake=resolved(artifacts=artifacts, **changes),
        artifacts=[path for _, path, _ in given],
        base=base_root(folder, installed),
        lock=lock,
        folder=folder / "apt",
    )


def no_call(phrase: str, _fraction: float | None) -> None:
    raise AssertionError(f"nobody must be asked: {phrase}")


def names(found: list[Dependency]) -> list[str]:
    return [f"{one.kind} {one.name} {one.version}" for one in found]


def test_a_deb_s_dependencies_are_pinned_and_can_be_fetched(
    archive: Archive, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, Depends="hello-tool, tiny-lib")
    deb = deb.rename(deb.with_name("0-tool"))
    request = request_of(
        tmp_path, ("deb", deb, "tool.deb"), lock=lock_of(archive), init=True, packages=["tiny-base"]
    )
    found = resolve_dependencies(request, no_progress)
    assert names(found) == ["deb hello-engine 1.0-1", "deb hello-tool 1.0-1", "deb tini 0.19-1"]
    for one in found:
        fetch_dependency(one, tmp_path / one.filename, no_progress)
        assert (tmp_path / one.filename).stat().st_size == one.size
    assert resolve_dependencies(request, no_progress) == found


def test_nobody_is_asked_when_nothing_is_missing(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, Depends="tiny-lib (>= 1.0), beside")
    beside = make_deb(tmp_path, name="beside")
    given = ("deb", deb, "tool.deb"), ("deb", beside, "beside.deb")
    request = request_of(tmp_path, *given, packages=["tiny-base"])
    assert resolve_dependencies(request, no_call) == []
    assert not (tmp_path / "apt").exists()


def test_packages_come_along_with_any_artifact(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    request = request_of(
        tmp_path, ("binary", tmp_path / "run", "run"), lock=lock_of(archive), packages=["tini"]
    )
    assert names(resolve_dependencies(request, no_progress)) == ["deb tini 0.19-1"]


@pytest.mark.parametrize(
    ("depends", "told"),
    [
        (
            "tiny-lib (>= 2.0)",
            r"my\.deb: tool needs tiny-lib .*the base has 1\.0-1; the archives have 2\.0-1, 1\.0-1",
        ),
        ("needs-new-lib", r"needs-new-lib needs tiny-lib \(>= 2\.0\)"),
        ("replacement", r"replacement \(which tool 1\.0 needs\) cannot be .* beside tiny-lib"),
        (
            "hello-tol",
            "my\\.deb: tool needs hello-tol .no archive has it, the nearest is hello-tool",
        ),
        ("hello-broken", "not-in-any-archive"),
        ("hello-tool (>= 7)", r"tool needs hello-tool \(>= 7\) \(the archives have 1\.0-1"),
    ],
)
def test_what_cannot_be_had_is_told_against_which_lock(
    archive: Archive, tmp_path: Path, depends: str, told: str
) -> None:
    deb = make_deb(tmp_path, Depends=depends)
    lock = lock_of(archive)
    with pytest.raises(DependencyUnsatisfied, match=told) as caught:
        resolve_dependencies(request_of(tmp_path, ("deb", deb, "my.deb"), lock=lock), no_progress)
    short = lock_digest(lock).removeprefix("sha256:")[:12]
    assert f"against baseos:20261122.1 (lock {short})" in caught.value.message


def test_an_unknown_package_names_the_nearest(archive: Archive, tmp_path: Path) -> None:
    given = ("deb", make_deb(tmp_path), "tool.deb")
    request = request_of(tmp_path, given, lock=lock_of(archive), packages=["helo-tool"])
    with pytest.raises(DependencyUnsatisfied, match=r"nearest: hello-tool\).*, against baseos"):
        resolve_dependencies(request, no_progress)


def test_a_base_without_a_lock_has_no_archives(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, Depends="hello-tool (>= 1)")
    request = request_of(tmp_path, ("deb", deb, "tool.deb"), packages=["curl"])
    with pytest.raises(DependencyUnsatisfied, match=r"tool 1\.0 needs hello-tool \(>= 1\); curl"):
        resolve_dependencies(request, no_call)


def test_an_archive_that_does_not_answer_is_no_fault_of_the_user(
    archive: Archive, tmp_path: Path
) -> None:
    source = lock_of(archive).sources[0].model_copy(update={"url": "http://127.0.0.1:9"})
    lock = lock_of(archive).model_copy(update={"sources": [source]})
    deb = make_deb(tmp_path, Depends="hello-tool")
    with pytest.raises(PlatformError, match="index could not be read"):
        resolve_dependencies(request_of(tmp_path, ("deb", deb, "t.deb"), lock=lock), no_progress)


def test_a_deb_for_other_machines_is_refused_at_once(tmp_path: Path) -> None:
    deb = make_deb(tmp_path, Architecture="arm64")
    with pytest.raises(WrongArchitecture):
        resolve_dependencies(request_of(tmp_path, ("deb", deb, "tool.deb")), no_call)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Adds a wheel to the only place that pip may look into."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def add(name: str, extra: str = "", tag: str = "py3-none-any") -> Path:
        made = make_wheel(folder, name, extra=extra)
        return made.path.rename(folder / made.name.replace("py3-none-any", tag))

    return add


def wheel_request(folder: Path, *given: NamedFile, kind: str = "wheel") -> DependencyRequest:
    artifacts = [(kind, one.path, one.name) for one in given]
    return request_of(folder, *artifacts, installed=PYTHON)


def test_the_wheels_that_a_wheel_needs_are_pinned(
    wheels: Callable[..., Path], tmp_path: Path
) -> None:
    library = wheels("lib", "Requires-Dist: deep; python_version>='3'\n")
    wheels("deep")
    wheels("spare")
    app = make_wheel(tmp_path, extra="Requires-Dist: lib>=1\nRequires-Dist: own\n")
    own = make_wheel(tmp_path, "own")
    found = resolve_dependencies(wheel_request(tmp_path, app, own), no_progress)
    assert names(found) == ["wheel deep 1.0", "wheel lib 1.0"]
    assert found[1].sha256 == sha256_of(library)
    fetch_dependency(found[1], tmp_path / "lib.whl", no_progress)
    assert (tmp_path / "lib.whl").read_bytes() == library.read_bytes()


def test_markers_are_the_base_s_and_not_the_worker_s(
    wheels: Callable[..., Path], tmp_path: Path
) -> None:
    """The base has 3.11.2: whatever the worker runs, it is another patch release."""
    wheels(
        "lib",
        "Requires-Dist: mine; python_full_version=='3.11.2'\n"
        "Requires-Dist: yours; python_full_version!='3.11.2'\n",
    )
    wheels("mine")
    wheels("yours")
    app = make_wheel(tmp_path, extra="Requires-Dist: lib\n")
    found = resolve_dependencies(wheel_request(tmp_path, app), no_progress)
    assert names(found) == ["wheel lib 1.0", "wheel mine 1.0"]


def test_wheels_for_another_python_are_not_taken(
    wheels: Callable[..., Path], tmp_path: Path
) -> None:
    wheels("lib", tag="cp312-cp312-manylinux_2_17_x86_64")
    app = make_wheel(tmp_path, extra="Requires-Dist: lib\n")
    with pytest.raises(DependencyUnsatisfied, match=r"app 1\.0 needs lib"):
        resolve_dependencies(wheel_request(tmp_path, app), no_progress)
    wheels("lib", tag="cp311-cp311-manylinux_2_17_x86_64")
    (tmp_path / "again").mkdir()
    found = resolve_dependencies(wheel_request(tmp_path / "again", app), no_progress)
    assert [one.filename for one in found] == ["lib-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"]


def test_no_index_is_asked_when_nothing_is_missing(tmp_path: Path) -> None:
    app = make_wheel(tmp_path, extra="Requires-Dist: lib\n")
    library = make_wheel(tmp_path, "lib")
    assert resolve_dependencies(wheel_request(tmp_path, app, library), no_call) == []


def test_what_no_index_has_is_named(wheels: Callable[..., Path], tmp_path: Path) -> None:
    app = make_wheel(tmp_path, extra="Requires-Dist: lib>=1\nRequires-Dist: other\n")
    wheels("other")
    with pytest.raises(DependencyUnsatisfied, match=r"app 1\.0 needs lib>=1") as caught:
        resolve_dependencies(wheel_request(tmp_path, app), no_progress)
    assert "pip says:" in caught.value.message


def test_a_requirement_by_a_url_is_refused(tmp_path: Path) -> None:
    app = make_wheel(tmp_path, extra="Requires-Dist: lib @ file:///etc/passwd\n")
    with pytest.raises(ArtifactRejected, match="requires lib by a URL"):
        resolve_dependencies(wheel_request(tmp_path, app), no_call)


def test_what_an_sdist_needs_to_be_built_comes_along(
    wheels: Callable[..., Path], tmp_path: Path
) -> None:
    wheels("backend", "Requires-Dist: helper\n")
    wheels("helper")
    pyproject = "[build-system]\nrequires = ['backend>=1']\nbuild-backend = 'backend'\n"
    source = NamedFile(make_sdist(tmp_path, BACKEND, pyproject), "app-1.0.tar.gz")
    request = wheel_request(tmp_path, source, kind="sdist")
    found = resolve_dependencies(request, no_progress)
    assert names(found) == ["wheel backend 1.0", "wheel helper 1.0"]


class Cancelled(Exception):
    pass


def test_cancel_ends_pip(wheels: Callable[..., Path], tmp_path: Path) -> None:
    wheels("lib")
    app = make_wheel(tmp_path, extra="Requires-Dist: lib\n")

    def cancel(phrase: str, _fraction: float | None) -> None:
        if phrase.startswith("resolving wheels"):
            raise Cancelled

    with pytest.raises(Cancelled):
        resolve_dependencies(wheel_request(tmp_path, app), cancel)


class _Guarded(SimpleHTTPRequestHandler):
    """An index behind a password."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(b"someone:hunter2").decode()
        if self.headers.get("Authorization") == expected:
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    folder = tmp_path / "www"
    folder.mkdir()
    handler = partial(_Guarded, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield folder, server.server_port
        server.shutdown()
        thread.join()


def test_credentials_of_an_index_are_used_and_never_told(
    wheels: Callable[..., Path],
    guarded: tuple[Path, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, port = guarded
    library = wheels("lib")
    (folder / "simple/lib").mkdir(parents=True)
    library.rename(folder / library.name)
    link = f"../../{library.name}#sha256={sha256_of(folder / library.name)}"
    (folder / "simple/lib/index.html").write_text(f'<a href="{link}">{library.name}</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://someone:hunter2@127.0.0.1:{port}/simple")
    said: list[str] = []
    listen: Progress = lambda phrase, _fraction: said.append(phrase)  # noqa: E731
    app = make_wheel(tmp_path, extra="Requires-Dist: lib\n")
    [found] = resolve_dependencies(wheel_request(tmp_path, app), listen)
    assert found.url == f"http://127.0.0.1:{port}/{library.name}"
    (tmp_path / "again").mkdir()
    other = make_wheel(tmp_path, extra="Requires-Dist: not-there\n")
    with pytest.raises(DependencyUnsatisfied) as caught:
        resolve_dependencies(wheel_request(tmp_path / "again", other), listen)
    assert "hunter2" not in "".join([*said, caught.value.message, str(caught.value.hint)])

    with pytest.raises(ArtifactRejected, match="answered 401"):
        fetch_dependency(found, tmp_path / "lib.whl", no_progress)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password hunter2\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    fetch_dependency(found, tmp_path / "lib.whl", no_progress)
    assert sha256_of(tmp_path / "lib.whl") == found.sha256


def a_dependency(url: str, content: bytes, size: int = 0) -> Dependency:
    return Dependency(
        kind=DependencyKind.WHEEL,
        name="lib",
        version="1.0",
        filename="lib-1.0-py3-none-any.whl",
        sha256=hashlib.sha256(content).hexdigest(),
        size=size,
        url=url,
    )


def test_other_bytes_than_were_pinned_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lib.whl").write_bytes(b"new")
    url = (tmp_path / "lib.whl").as_uri()
    target = tmp_path / "target"
    with pytest.raises(ArtifactMismatch, match=hashlib.sha256(b"old").hexdigest()):
        fetch_dependency(a_dependency(url, b"old"), target, no_progress)
    with pytest.raises(ArtifactMismatch, match="has 3 bytes, not 7"):
        fetch_dependency(a_dependency(url, b"new", 7), target, no_progress)
    with pytest.raises(NotFound, match="folder of wheels"):
        fetch_dependency(a_dependency(f"{url}.gone", b"new"), target, no_progress)
    with pytest.raises(ArtifactRejected, match="no way to fetch"):
        fetch_dependency(a_dependency("ftp://files.example/x", b"new"), target, no_progress)
    assert not target.exists()
