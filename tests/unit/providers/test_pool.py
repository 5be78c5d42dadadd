import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import Face
from fleetwide.models.os_locks import LockedPackage, pool_key
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.pool import Pool
from fleetwide.providers.progress import no_progress

SIZE = 600_000
Answer = Callable[["_Handler", bytes], None]


def whole(handler: "_Handler", data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def broken_off(handler: "_Handler", data: bytes) -> None:
    """Promise all, send half, hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def status(code: int) -> Answer:
    return lambda handler, _data: handler.send_error(code)


class Mirror:
    """An HTTP server that counts what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    def package(self, name: str, data: bytes | None = None) -> LockedPackage:
        data = data or name.encode() * (SIZE // len(name))
        self.files[name] = data
        digest = hashlib.sha256(data).hexdigest()
        return LockedPackage(
            name=name,
            version="1.0",
            architecture="all",
            sha256=digest,
            size=len(data),
            url=f"{self.url}/{name}",
            stanza=f"Package: {name}\nFilename: pool/main/{name}.deb\nSHA256: {digest}",
            faces=[Face.CONTAINER],
        )


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        name = self.path[1:]
        self.mirror.asked[name] += 1
        self.mirror.answers.get(name, whole)(self, self.mirror.files[name])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The tests count."""


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    handler = type("Handler", (_Handler,), {"mirror": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def objects(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def pool(folder: Path, objects: FolderStore) -> Pool:
    return Pool(folder, objects)


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def debs(*packages: LockedPackage) -> set[str]:
    return {f"{package.sha256}.deb" for package in packages}


def test_packages_go_into_the_pool_and_the_object_store_once(
    mirror: Mirror, pool: Pool, folder: Path, objects: FolderStore
) -> None:
    packages = [mirror.package(f"p{number}") for number in range(20)]
    pool.fetch(packages, no_progress)
    pool.fetch(packages, no_progress)
    assert kept(folder) == debs(*packages)
    assert set(mirror.asked.values()) == {1}
    for package in packages:
        assert pool.path(package).read_bytes() == mirror.files[package.name]
        assert objects.get_bytes(pool_key(package.sha256)) == mirror.files[package.name]


def test_a_fetch_that_broke_off_goes_on_with_the_rest(
    mirror: Mirror, pool: Pool, folder: Path
) -> None:
    good = [mirror.package(f"good{number}") for number in range(3)]
    bad = mirror.package("bad")
    mirror.answers["bad"] = broken_off
    pool.fetch(good, no_progress)
    with pytest.raises(PlatformError, match="/bad could not be fetched"):
        pool.fetch([*good, bad], no_progress)
    assert kept(folder) == debs(*good)
    del mirror.answers["bad"]
    pool.fetch([*good, bad], no_progress)
    assert mirror.asked == {"good0": 1, "good1": 1, "good2": 1, "bad": 2}
    assert kept(folder) == debs(*good, bad)


def test_what_arrived_beside_a_failing_one_stays(mirror: Mirror, pool: Pool) -> None:
    packages = [mirror.package(f"p{number}") for number in range(12)]
    mirror.answers["p11"] = broken_off
    with pytest.raises(PlatformError):
        pool.fetch(packages, no_progress)
    arrived = [package for package in packages if pool.path(package).is_file()]
    assert arrived
    del mirror.answers["p11"]
    before = mirror.asked.copy()
    pool.fetch(packages, no_progress)
    assert not {package.name for package in arrived} & (mirror.asked - before).keys()
    for package in packages:
        assert pool.path(package).read_bytes() == mirror.files[package.name]


def test_other_bytes_are_refused_by_both_digests(
    mirror: Mirror, pool: Pool, folder: Path, objects: FolderStore
) -> None:
    package = mirror.package("changed")
    mirror.files["changed"] = b"x" * package.size
    seen = hashlib.sha256(mirror.files["changed"]).hexdigest()
    with pytest.raises(PlatformError) as caught:
        pool.fetch([package], no_progress)
    assert seen in caught.value.message
    assert package.sha256 in caught.value.message
    assert kept(folder) == set()
    assert objects.list("") == []


def test_a_package_that_is_gone_everywhere_fails_the_build(
    mirror: Mirror, pool: Pool, folder: Path
) -> None:
    mirror.answers["gone"] = status(404)
    with pytest.raises(BuildFailed, match=r"no longer has gone 1\.0") as caught:
        pool.fetch([mirror.package("gone")], no_progress)
    assert caught.value.hint
    assert kept(folder) == set()


@pytest.mark.parametrize("code", [403, 500, 503])
def test_a_mirror_in_trouble_is_the_platform_s_fault(mirror: Mirror, pool: Pool, code: int) -> None:
    mirror.answers["busy"] = status(code)
    with pytest.raises(PlatformError, match=f"answered {code} for {mirror.url}/busy"):
        pool.fetch([mirror.package("busy")], no_progress)


def test_a_mirror_that_is_down_is_the_platform_s_fault(mirror: Mirror, pool: Pool) -> None:
    package = mirror.package("any").model_copy(update={"url": "http://127.0.0.1:1/any"})
    with pytest.raises(PlatformError, match="could not be fetched"):
        pool.fetch([package], no_progress)


def test_a_package_that_the_mirror_dropped_comes_from_the_object_store(
    mirror: Mirror, pool: Pool, objects: FolderStore, tmp_path: Path
) -> None:
    package = mirror.package("old")
    pool.fetch([package], no_progress)
    mirror.answers["old"] = status(404)
    elsewhere = Pool(tmp_path / "elsewhere", objects)
    elsewhere.fetch([package], no_progress)
    assert elsewhere.path(package).read_bytes() == mirror.files["old"]
    assert mirror.asked["old"] == 1


def test_a_corrupt_object_is_fetched_from_the_mirror_and_mended(
    mirror: Mirror, pool: Pool, objects: FolderStore
) -> None:
    package = mirror.package("mended")
    objects.put_bytes(pool_key(package.sha256), b"rotten")
    pool.fetch([package], no_progress)
    assert pool.path(package).read_bytes() == mirror.files["mended"]
    assert objects.get_bytes(pool_key(package.sha256)) == mirror.files["mended"]


class Cancelled(Exception):
    pass


def test_cancel_stops_every_thread_and_leaves_nothing_partial(
    mirror: Mirror, pool: Pool, folder: Path
) -> None:
    """The mirror sends and sends: only the cancel can end this."""
    going_on = threading.Event()
    packages = [mirror.package(f"endless{number}") for number in range(12)]

    def endless(handler: _Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(data)
                going_on.set()
        except OSError:
            handler.close_connection = True

    def cancel(_phrase: str, _fraction: float | None) -> None:
        if going_on.is_set():
            raise Cancelled

    mirror.answers = dict.fromkeys(mirror.files, endless)
    with pytest.raises(Cancelled):
        pool.fetch(packages, cancel)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("fetch")] == []
    assert kept(folder) == set()


def test_progress_tells_how_much_has_come(mirror: Mirror, pool: Pool) -> None:
    told: list[tuple[str, float | None]] = []
    held = threading.Event()

    def slowly(handler: _Handler, data: bytes) -> None:
        held.wait(30)
        whole(handler, data)

    def tell(phrase: str, fraction: float | None) -> None:
        told.append((phrase, fraction))
        if fraction == 0.5:
            held.set()

    packages = [mirror.package("fast", b"f" * 1000), mirror.package("slow", b"s" * 1000)]
    mirror.answers["slow"] = slowly
    pool.fetch(packages, tell)
    assert ("fetching 2 packages", 0.5) in told


def test_two_builds_that_fetch_the_same_at_once_do_not_meet(
    mirror: Mirror, folder: Path, tmp_path: Path
) -> None:
    """Each download must have a file of its own until it is whole."""
    package = mirror.package("shared")
    meeting = threading.Barrier(2)

    def side_by_side(handler: _Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])
        meeting.wait(30)
        handler.wfile.write(data[len(data) // 2 :])

    mirror.answers["shared"] = side_by_side
    pools = [Pool(folder, FolderStore(tmp_path / f"objects{number}")) for number in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda pool: pool.fetch([package], no_progress), pools))
    assert kept(folder) == debs(package)
    assert pools[0].path(package).read_bytes() == mirror.files["shared"]
