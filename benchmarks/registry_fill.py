"""A gateway and a Docker Distribution side by side, filled without pushing.

Distribution's storage is laid out on disk as it would be itself; the index gets its rows in bulk.
Both hold the same names.
"""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session

from benchmarks.harness import unwind_on_sigterm
from fleetwide.dev.files import registry_config
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.oci import CONFIG_TYPE, MANIFEST_TYPE
from fleetwide.store import migrate
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store.registry_tables import ManifestRow, RepositoryRow, TagRow
from fleetwide.store.session import Store

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CONFIG = b"{}"
BATCH = 10_000
PATIENCE = 60
MEMORY = Path("/dev/shm")
DISTRIBUTION = ("docker-registry", "serve")


@dataclass(frozen=True)
class Pair:
    """Both registries, listening, over storage of their own."""

    gateway: int
    """Its port."""
    distribution: int
    store: Store
    storage: Path
    """Distribution's ``v2`` folder."""
    gateway_pid: int


@contextlib.contextmanager
def both() -> Iterator[Pair]:
    """An empty gateway with its index in SQLite, and an empty Distribution; gone afterwards.

    Distribution's storage lies in memory, where it is fastest; the index lies on the disk.
    """
    unwind_on_sigterm()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fw-bench-")))
        memory = tempfile.TemporaryDirectory(prefix="fw-bench-", dir=MEMORY)
        storage = Path(stack.enter_context(memory))
        gateway, distribution = free_port(), free_port()
        url = f"sqlite:///{folder}/index.db"
        store = Store.open(url)
        stack.callback(store.engine.dispose)
        migrate.upgrade(store.engine)
        config = folder / "distribution.yml"
        config.write_text(registry_config(storage, distribution, "benchmark"))
        stack.enter_context(running([*DISTRIBUTION, str(config)], {}, distribution))
        ours = {
            "FLEETWIDE_DATABASE_URL": url,
            "FLEETWIDE_REGISTRY_PORT": str(gateway),
            "FLEETWIDE_REGISTRY_BACKEND_URL": f"http://127.0.0.1:{distribution}",
            "FLEETWIDE_REGISTRY_DATA_PLANE": "redirect",
            "FLEETWIDE_REGISTRY_AUTH": "off",
            "FLEETWIDE_STATE_DIR": str(folder),
        }
        program = [str(Path(sys.executable).parent / "fleetwide"), "registry", "serve"]
        pid = stack.enter_context(running(program, ours, gateway))
        tree = storage / "registry/docker/registry/v2"
        yield Pair(gateway, distribution, store, tree, pid)


@contextlib.contextmanager
def running(command: Sequence[str], env: dict[str, str], port: int) -> Iterator[int]:
    """A server from when it listens on; its process id."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not _listens(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{command[0]} did not start: {log.read().decode()[-2000:]}")
                time.sleep(0.05)
            yield server.pid
        finally:
            server.terminate()
            server.wait(PATIENCE)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Asker:
    """One client with a connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def ask(
        self, path: str, method: str = "GET", expected: int = 200, accept: str = "*/*"
    ) -> tuple[float, bytes]:
        """Milliseconds until the whole answer was there, and the answer."""
        started = time.perf_counter()
        self._connection.request(method, path, headers={"Accept": accept})
        answer = self._connection.getresponse()
        body = answer.read()
        taken = (time.perf_counter() - started) * 1000
        if answer.status != expected:
            sys.exit(f"{method} {path} was answered {answer.status}: {body.decode()[:500]}")
        return taken, body

    def close(self) -> None:
        self._connection.close()


def manifest(number: int) -> ParsedManifest:
    """A small image; another ``number`` is another image."""
    config = {"mediaType": CONFIG_TYPE, "digest": digest(CONFIG), "size": len(CONFIG)}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config,
        "layers": [],
        "annotations": {"number": str(number)},
    }
    return parse_manifest(json.dumps(document).encode(), MANIFEST_TYPE)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def index_repository(store: Store, name: str, images: Sequence[ParsedManifest]) -> int:
    """A repository with these manifests, by the code that a push runs through; its id."""
    with store.write() as session:
        row = repositories.ensure(session, name, by="benchmark", now=NOW)
        size = len(CONFIG)
        blobs.admit(session, row, digest(CONFIG), size, now=NOW, lease_until=NOW)
        for one in images:
            manifests.record(session, row, one, manifests.Push("benchmark", NOW))
        return repositories.id_of(row)


def index_tags(store: Store, repository_id: int, means: str, names: Sequence[str]) -> None:
    """Live tags in bulk, all of one manifest."""
    with store.write() as session:
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            _insert(session, TagRow, [_tag(repository_id, means, name) for name in part])
        row = session.get_one(RepositoryRow, repository_id)
        row.tags += len(names)


def tagged_repository(
    pair: Pair, name: str, images: Sequence[ParsedManifest], names: Sequence[str]
) -> Path:
    """A repository in both, whose first image has all the tags; its folder at Distribution."""
    folder = lay_out_repository(pair.storage, name, images)
    lay_out_tags(folder, images[0].digest, names)
    row = index_repository(pair.store, name, images)
    index_tags(pair.store, row, images[0].digest, names)
    return folder


def index_referrers(store: Store, repository_id: int, referrers: Sequence[ParsedManifest]) -> None:
    """Manifests with a subject in bulk, without what they refer to."""
    with store.write() as session:
        for start in range(0, len(referrers), BATCH):
            part = referrers[start : start + BATCH]
            _insert(session, ManifestRow, [_referrer(repository_id, one) for one in part])
        row = session.get_one(RepositoryRow, repository_id)
        row.manifests += len(referrers)


def index_names(store: Store, names: Sequence[str]) -> None:
    """Empty repositories in bulk."""
    rows = [
        {"name": name, "owner": "", "tags": 0, "manifests": 0, "size": 0, "created_at": NOW}
        for name in names
    ]
    with store.write() as session:
        _insert(session, RepositoryRow, rows)


def _tag(repository_id: int, means: str, name: str) -> dict[str, Any]:
    return {
        "repository_id": repository_id,
        "name": name,
        "digest": means,
        "by": "",
        "started_at": NOW,
        "ended_by": "",
    }


def _referrer(repository_id: int, parsed: ParsedManifest) -> dict[str, Any]:
    assert parsed.subject is not None
    return {
        "repository_id": repository_id,
        "digest": parsed.digest,
        "media_type": parsed.media_type,
        "data": parsed.data,
        "size": len(parsed.data),
        "content_size": len(CONFIG),
        "subject": parsed.subject.digest,
        "artifact_type": parsed.artifact_type,
        "annotations": dict(parsed.annotations),
        "state": manifests.LIVE,
        "pushed_by": "benchmark",
        "pushed_at": NOW,
        "touched_at": NOW,
        "pulls": 0,
    }


def _insert(session: Session, table: Any, rows: list[dict[str, Any]]) -> None:
    session.connection().execute(insert(table.__table__), rows)


def lay_out_repository(storage: Path, name: str, images: Sequence[ParsedManifest] = ()) -> Path:
    """A repository in Distribution's storage with these manifests; its folder."""
    folder = storage / "repositories" / name
    for part in ("_layers", "_uploads", "_manifests/revisions", "_manifests/tags"):
        (folder / part).mkdir(parents=True)
    for one in images:
        hexadecimal = one.digest.removeprefix("sha256:")
        _write(folder / f"_manifests/revisions/sha256/{hexadecimal}/link", one.digest.encode())
        _write(storage / f"blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data", one.data)
    return folder


def lay_out_tags(folder: Path, means: str, names: Sequence[str]) -> None:
    """Tags in a repository's folder, all of one manifest."""
    for name in names:
        current = folder / "_manifests/tags" / name / "current"
        current.mkdir(parents=True)
        (current / "link").write_text(means)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def distribution_version() -> str:
    """As it says itself."""
    done = subprocess.run(
        [DISTRIBUTION[0], "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]
