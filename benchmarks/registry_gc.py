"""Garbage collection of 30,000 manifests while pushes go on, beside Distribution's own.

Ours: 10 repositories of 3,000 images, one tenth of them untagged, in the index and in a folder of
Distribution's layout; the collector removes what is due while a thread pushes images all the time.
What was pushed has to be there afterwards. Theirs: ``docker-registry garbage-collect
--delete-untagged``, offline, on one repository of 1,000 images of the same shape; it is stopped
after ``LIMIT_SECONDS``, for its time grows with the square of the tags. The value is our seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import insert
from sqlmodel import SQLModel

from benchmarks.harness import Figure, report_values, say
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from fleetwide.store.migrate import upgrade
from fleetwide.store.registry_gc import due
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
    ReviewRow,
    TagRow,
)
from fleetwide.store.session import Store
from tests.registry_index import descriptor, image
from tests.registry_shelf import Shelf, now, shelf

REPOSITORIES = 10
MANIFESTS = 30_000
THEIRS = 1_000
UNTAGGED = 10
"""One in so many."""
SHARED_LAYERS = 50
LIMIT_SECONDS = 60
PUSH_PAUSE = 0.02
LEASE = timedelta(hours=1)
FIGURE = Figure(
    name="registry_gc",
    unit="s to collect",
    goal=200,
    better="lower",
    baseline="docker-registry garbage-collect --delete-untagged, offline, on a smaller tree",
)


def manifest(number: int) -> ParsedManifest:
    """An image with a config and a layer of its own, over three shared layers."""
    shared = [f"shared{(number + step) % SHARED_LAYERS}" for step in range(3)]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, f"config{number}"),
        "layers": [descriptor(LAYER_TYPE, name) for name in (*shared, f"own{number}")],
    }
    return parse_manifest(json.dumps(document).encode(), MANIFEST_TYPE)


def names(number: int) -> tuple[str, ...]:
    """The blobs of ``manifest(number)``."""
    shared = [f"shared{(number + step) % SHARED_LAYERS}" for step in range(3)]
    return (*shared, f"config{number}", f"own{number}")


@dataclass
class Rows:
    """Rows of the index, written in bulk."""

    found: dict[type[SQLModel], list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: type[SQLModel], **values: Any) -> None:
        self.found.setdefault(table, []).append(values)

    def write(self, store: Store) -> None:
        with store.write() as session:
            for table, rows in self.found.items():
                session.execute(insert(table), rows)


def fill_storage(box: Shelf, repository: str, numbers: Sequence[int]) -> None:
    """What Distribution has of these images; the untagged ones have no tag there either."""
    for number in numbers:
        parsed = manifest(number)
        for name in names(number):
            box.send(repository, name)
        tags = [] if number % UNTAGGED == 0 else [f"v{number}"]
        box.put(repository, parsed, tags)


def fill_index(box: Shelf, repository: str, repository_id: int, numbers: Sequence[int]) -> None:
    """The same in the index; what is untagged is due."""
    rows, at = Rows(), now() - timedelta(days=3)
    rows.add(RepositoryRow, id=repository_id, name=repository, owner="", created_at=at)
    for number in numbers:
        _manifest_rows(rows, repository_id, number)
        if number % UNTAGGED:
            parsed = manifest(number)
            rows.add(
                TagRow,
                repository_id=repository_id,
                name=f"v{number}",
                digest=parsed.digest,
                started_at=at,
            )
    digests = {one.digest: one.size for n in numbers for one in manifest(n).blobs}
    for digest in digests:
        rows.add(
            RepositoryBlobRow,
            repository_id=repository_id,
            digest=digest,
            lease_until=at,
            created_at=at,
        )
    rows.write(box.store)


def _manifest_rows(rows: Rows, repository_id: int, number: int) -> None:
    parsed, at = manifest(number), now() - timedelta(days=3)
    rows.add(
        ManifestRow,
        repository_id=repository_id,
        digest=parsed.digest,
        media_type=parsed.media_type,
        data=parsed.data,
        size=len(parsed.data),
        content_size=parsed.content_size,
        annotations={},
        pushed_at=at,
        touched_at=at,
    )
    for one in parsed.blobs:
        values = {"repository_id": repository_id, "manifest": parsed.digest}
        rows.add(ManifestBlobRow, **values, blob=one.digest)
    if number % UNTAGGED == 0:
        rows.add(
            ReviewRow,
            kind="manifest",
            repository_id=repository_id,
            digest=parsed.digest,
            cause="untagged",
            review_after=at,
        )


def fill(box: Shelf, count: int) -> None:
    """All repositories; then the blobs, which several of them share."""
    sizes: dict[str, int] = {}
    for place in range(REPOSITORIES):
        each = count // REPOSITORIES
        own = range(place * each, (place + 1) * each)
        repository = f"bench/app{place}"
        fill_storage(box, repository, own)
        fill_index(box, repository, place + 1, own)
        sizes |= {one.digest: one.size for number in own for one in manifest(number).blobs}
        say(f"  filled {repository}: {len(own)} images")
    rows, at = Rows(), now() - timedelta(days=3)
    for digest, size in sizes.items():
        rows.add(BlobRow, digest=digest, size=size, touched_at=at, created_at=at)
    rows.write(box.store)


class Pusher(threading.Thread):
    """Pushes new images all the time, to the repositories that are collected."""

    def __init__(self, box: Shelf) -> None:
        super().__init__()
        self.box = box
        self.ended = threading.Event()
        self.pushed = 0

    def run(self) -> None:
        """Until ``ended`` is set."""
        while not self.ended.is_set():
            repository = f"bench/app{self.pushed % REPOSITORIES}"
            layers = (f"pushed{self.pushed}", f"shared{self.pushed % SHARED_LAYERS}")
            self.box.upload(repository, "config", *layers)
            self.box.push(repository, image(*layers), f"pushed{self.pushed}")
            self.pushed += 1
            time.sleep(PUSH_PAUSE)


def ours(box: Shelf, count: int) -> tuple[float, int]:
    """Seconds until nothing is due, and pushes meanwhile."""
    pusher = Pusher(box)
    pusher.start()
    began = time.monotonic()
    report = box.collect()
    seconds = time.monotonic() - began
    pusher.ended.set()
    pusher.join()
    with box.store.read() as session:
        left = [row for row in due(session, now(), 1) if row.kind == "manifest"]
    faults = box.faults()
    if left or faults or report.manifests < count // UNTAGGED:
        sys.exit(f"{report.manifests} manifests removed; {faults[:3]}")
    say(f"  ours: {report.sentence} in {seconds:.1f} s, {pusher.pushed} pushes meanwhile")
    return seconds, pusher.pushed


def theirs(folder: Path) -> dict[str, Any]:
    """Distribution's own collection, until it ends or its time is over."""
    root = folder / "theirs"
    with shelf(f"sqlite:///{folder}/unused.db", root) as box:
        fill_storage(box, "bench/app", range(THEIRS))
    config = folder / "theirs.yml"
    storage = {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}}
    document = {"version": 0.1, "storage": storage, "http": {"addr": "127.0.0.1:0"}}
    config.write_text(yaml.safe_dump(document))
    began = time.monotonic()
    command = ["docker-registry", "garbage-collect", "--delete-untagged", str(config)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_SECONDS)
        ended = True
    except subprocess.TimeoutExpired:
        ended = False
    seconds = time.monotonic() - began
    say(f"  Distribution: {THEIRS} manifests, {'ended' if ended else 'stopped'} at {seconds:.1f} s")
    return {"manifests": THEIRS, "seconds": round(seconds, 1), "finished": ended}


def measure(folder: Path, count: int) -> None:
    url = f"sqlite:///{folder}/index.db"
    store = Store.open(url)
    upgrade(store.engine)
    store.engine.dispose()
    with shelf(url, folder / "storage", lease=LEASE) as box:
        fill(box, count)
        seconds, pushes = ours(box, count)
    known = {**theirs(folder), "our_manifests": count, "pushes_meanwhile": pushes}
    report_values(FIGURE, [seconds], known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=int, default=MANIFESTS)
    with tempfile.TemporaryDirectory(prefix="fw-bench-gc-") as folder:
        measure(Path(folder), parser.parse_args().manifests)


if __name__ == "__main__":
    main()
