"""A soak of garbage collection against pushes: ``python -m tests.soak.registry_gc 100000``.

Threads push, tag, untag, delete and mount as the gateway and Distribution do, step by step, while
others collect and look. Reviews wait for seconds and leases last for seconds, so that collections
meet pushes all the time. Each push that was answered with 201 is pulled again: whatever the index
promises has to be there. With ``--postgresql`` it runs on a server of its own.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

from sqlmodel import Session, select

from fleetwide.errors import FleetwideError
from fleetwide.models.registry_gc import GarbageBatch
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.store import (
    registry_blobs,
    registry_manifests,
    registry_repositories,
    registry_tags,
)
from fleetwide.store.migrate import upgrade
from fleetwide.store.registry_manifests import ReferencesUnknown
from fleetwide.store.registry_tables import BlobRow, ManifestBlobRow, RepositoryBlobRow
from fleetwide.store.session import Store
from tests.postgres import Postgres
from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf, now, shelf

PUSHERS = 4
REPOSITORIES = 4
LAYERS = 12
TAGS = 6
LEASE = timedelta(seconds=5)
"""Longer than a push takes here, shorter than the soak; reviews wait as long."""


class Refused(Exception):
    """The registry told the client to begin again; that is no fault."""


@dataclass
class Soak:
    """What the threads share."""

    box: Shelf
    events: int
    seed: int = 1
    seconds: float = 3600.0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _turns: Iterator[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.monotonic)

    def note(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1

    @property
    def done(self) -> int:
        with self._lock:
            return sum(self.counts.values())

    @property
    def over(self) -> bool:
        late = time.monotonic() > self._began + self.seconds
        return self.done >= self.events or late or bool(self.faults)

    def run(self) -> None:
        with ThreadPoolExecutor(PUSHERS + 1) as pool:
            jobs = [pool.submit(self._client, number) for number in range(PUSHERS)]
            jobs.append(pool.submit(self._collect))
            for job in jobs:
                job.result()
        self.faults += self.box.faults()

    def _collect(self) -> None:
        while not self.over:
            done = self.box.collector.reviews(
                GarbageBatch(limit=100, per_second=1e6), lambda _: None
            )
            self.note("collection")
            if not done.more:
                time.sleep(0.01)

    def _client(self, number: int) -> None:
        chance = random.Random(self.seed * 1000 + number)
        kinds = (self._push, self._push, self._push, self._push_index, self._untag, self._delete)
        while not self.over:
            kind = chance.choice(kinds)
            try:
                kind(chance)
                self.note(kind.__name__.strip("_"))
            except Refused:
                self.note("refused")
            except FleetwideError as error:
                self.faults.append(f"{kind.__name__}: {error.message}")

    def _push(self, chance: random.Random) -> ParsedManifest:
        name = f"soak/app{chance.randrange(REPOSITORIES)}"
        layers = [f"layer{chance.randrange(LAYERS)}" for _ in range(chance.randrange(1, 4))]
        for layer in ("config", *layers):
            self._bring(name, layer)
        tags = [f"t{chance.randrange(TAGS)}"] if chance.random() < 0.8 else []
        return self._manifest(name, image(*layers), tags)

    def _push_index(self, chance: random.Random) -> None:
        name = f"soak/app{chance.randrange(REPOSITORIES)}"
        children = []
        for _ in range(2):
            layer = f"layer{chance.randrange(LAYERS)}"
            for part in ("config", layer):
                self._bring(name, part)
            children.append(self._manifest(name, image(layer), []))
        self._manifest(name, index(*children), [f"t{chance.randrange(TAGS)}"])

    def _bring(self, name: str, layer: str) -> None:
        """HEAD at the gateway; upload what it does not have, and HEAD again, as docker does.

        One in two is sent along with POST and belongs at once, as the bakery does it.
        """
        if self._head(name, layer):
            return
        if next(self._turns) % 2:
            self._send_whole(name, layer)
            return
        with self.box.store.write() as session:  # the sub-request before the upload is stored
            registry_blobs.keep(session, blob(layer), now=now())
        self.box.send(name, layer)
        self.note("upload")
        if not self._head(name, layer):
            raise Refused

    def _head(self, name: str, layer: str) -> bool:
        digest = blob(layer)
        self.note("head")
        with self.box.store.read() as session:
            row = registry_repositories.find(session, name)
            found = registry_blobs.belongs(session, row.id or 0, digest) if row else None
            if row and found is not None and not _is_loose(session, row.id or 0, digest):
                return True
            known = session.get(BlobRow, digest) is not None
        if not self.box.has(name, digest):
            return False
        return self._admit(name, layer, known=known)

    def _send_whole(self, name: str, layer: str) -> None:
        self.note("whole")
        with self.box.store.read() as session:
            known = session.get(BlobRow, blob(layer)) is not None
        if known:
            with self.box.store.write() as session:
                registry_blobs.keep(session, blob(layer), now=now())
        self.box.send(name, layer)
        if not self._admit(name, layer, known=known):
            raise Refused

    def _admit(self, name: str, layer: str, *, known: bool) -> bool:
        """What Distribution has comes to belong; False when it was lost meanwhile."""
        digest = blob(layer)
        self.box.admit(name, layer)
        if known and not self.box.has(name, digest):
            with self.box.store.write() as session:
                row = registry_repositories.require(session, name)
                registry_blobs.remove_membership(session, row, digest, now=now())
            return False
        return True

    def _manifest(self, name: str, parsed: ParsedManifest, tags: list[str]) -> ParsedManifest:
        digests = [one.digest for one in parsed.blobs]
        with self.box.store.write() as session:
            row = registry_repositories.ensure(session, name, by="soak", now=now())
            lacking = registry_blobs.hold(
                session, row, digests, now=now(), lease_until=now() + LEASE
            )
            number = registry_repositories.id_of(row)
            children = [one.digest for one in parsed.children]
            if lacking or registry_manifests.missing(session, number, children):
                raise Refused
            tracked = session.get(BlobRow, parsed.digest) is not None
        if tracked:
            with self.box.store.write() as session:
                registry_blobs.keep(session, parsed.digest, now=now())
        lost = [one for one in digests if not self.box.has(name, one)]
        if lost:  # Distribution itself would refuse the manifest, although the index had the blob
            self.faults.append(f"the index has {lost[0]} in {name}, Distribution has not")
            raise Refused
        self.box.put(name, parsed, tags)
        try:
            self.box.record(name, parsed, tags)
        except ReferencesUnknown:
            raise Refused from None
        self._pull(name, parsed, tags)
        return parsed

    def _pull(self, name: str, parsed: ParsedManifest, tags: list[str]) -> None:
        """A push that was answered can be pulled, unless somebody took it away meanwhile."""
        lost = [one.digest for one in parsed.blobs if not self.box.has(name, one.digest)]
        with self.box.store.read() as session:
            row = registry_repositories.require(session, name)
            number = registry_repositories.id_of(row)
            there = registry_manifests.find(session, number, parsed.digest) is not None
            tagged = bool(registry_tags.of_manifest(session, number, parsed.digest))
        if lost and there and tagged:
            self.faults.append(f"{name}@{parsed.digest} was pushed but lacks {lost[0]}")
        self.note("pull")

    def _untag(self, chance: random.Random) -> None:
        name = f"soak/app{chance.randrange(REPOSITORIES)}"
        with self.box.store.write() as session:
            row = registry_repositories.ensure(session, name, by="soak", now=now())
            tag = f"t{chance.randrange(TAGS)}"
            registry_tags.delete(session, row, tag, by="soak", now=now())

    def _delete(self, chance: random.Random) -> None:
        name = f"soak/app{chance.randrange(REPOSITORIES)}"
        with self.box.store.write() as session:
            row = registry_repositories.ensure(session, name, by="soak", now=now())
            number = registry_repositories.id_of(row)
            tag = registry_tags.live(session, number, f"t{chance.randrange(TAGS)}")
        if tag is not None:
            self.box.storage.unlink_revision(name, tag.digest)
            with self.box.store.write() as session:
                row = registry_repositories.require(session, name)
                registry_manifests.delete(session, row, tag.digest, by="soak", now=now())


def _is_loose(session: Session, number: int, digest: str) -> bool:
    """Whether nothing keeps a blob of the repository from being collected."""
    key = (ManifestBlobRow.repository_id == number, ManifestBlobRow.blob == digest)
    member = session.get(RepositoryBlobRow, (number, digest))
    ended = member is not None and member.lease_until <= now()
    return ended and session.exec(select(ManifestBlobRow.blob).where(*key)).first() is None


@contextmanager
def database(folder: Path, *, postgresql: bool) -> Iterator[str]:
    """The URL of a database of today's schema."""
    if not postgresql:
        url = f"sqlite:///{folder}/index.db"
        store = Store.open(url)
        upgrade(store.engine)
        store.engine.dispose()
        yield url
        return
    own = folder / "postgresql"
    own.mkdir()
    server = Postgres(own)
    try:
        server.start()
        server.make_template()
        yield server.database("migrated")
    finally:
        server.stop()


def soak(running: Soak) -> Soak:
    """Run it; ``faults`` tells what went wrong."""
    running.run()
    # When all is over, nothing stays but what is tagged and what that refers to.
    for _ in range(3):  # images, what they had, and what that leaves
        time.sleep(LEASE.total_seconds())
        running.box.collect()
        running.faults += running.box.faults()
    return running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=100_000)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fw-soak-")))
        folder.chmod(0o755)  # PostgreSQL's account has to reach its part
        url = stack.enter_context(database(folder, postgresql=options.postgresql))
        began = time.monotonic()
        box = stack.enter_context(shelf(url, folder / "storage", delay=LEASE, lease=LEASE))
        done = soak(Soak(box, options.events, options.seed, options.seconds))
    seconds = time.monotonic() - began
    sys.stdout.write(f"{done.done} events in {seconds:.0f} s: {dict(done.counts)}\n")
    for fault in done.faults[:20]:
        sys.stdout.write(f"FAULT {fault}\n")
    sys.exit(bool(done.faults))


if __name__ == "__main__":
    main()
