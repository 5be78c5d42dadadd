"""A soak of a whole registry over HTTP: ``python -m tests.soak.registry_http 100000``.

A dozen clients push, pull, tag, mount and delete through nginx, gateway and Distribution, while
garbage collection runs beside them. Layers are shared by all; images and tags are each client's
own, in repositories of all, so that it knows what each of its tags has to mean. Every push is
pulled at once; after each batch every live tag is pulled whole, each byte against its digest, and
what was deleted has to be away. Reviews wait and leases last for seconds, so that collections meet
pushes all the time. With ``--postgresql`` the index lies on a server of its own.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

from benchmarks.harness import unwind_on_sigterm
from fleetwide.models.registry_gc import GarbageBatch
from tests.oci_objects import CONFIG, INDEX, LAYER, MANIFEST, descriptor, digest_of
from tests.registry_shelf import Shelf, shelf
from tests.registry_stack import StackOptions, registry_stack
from tests.soak.quick_gateway import SECONDS
from tests.soak.registry_gc import database
from tests.soak.registry_wire import Unexpected, Wire

ROOT = Path(__file__).parents[2]
CLIENTS = 12
REPOSITORIES = 4
LAYERS = 60
IMAGES = 15
"""Configs of a client: few, so that what was collected is pushed again."""
TAGS = 5
BATCH = 1_000
LEASE = timedelta(seconds=15)
"""Longer than a push takes, shorter than the soak."""
NO_EVENTS = frozenset({"checked", "busy", "late", "requests"})
ROUNDS = 12
"""Of waiting at the end, until all is gone; a chain takes four."""


@dataclass(frozen=True)
class Image:
    """A manifest and its blobs."""

    data: bytes
    blobs: tuple[bytes, ...] = ()
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.data)


@dataclass
class Client:
    """One client: what it did, and what its tags mean by that."""

    number: int
    wire: Wire
    chance: random.Random
    lease: timedelta
    """What a push may take."""
    counts: Counter[str] = field(default_factory=Counter)
    tags: dict[tuple[str, str], Image] = field(default_factory=dict)
    signed: dict[tuple[str, str], str] = field(default_factory=dict)
    """Artifacts by repository and digest, as long as the subject that they name has a tag."""
    gone: set[tuple[str, str]] = field(default_factory=set)
    """Tags and manifests that were deleted, and not pushed since."""

    def act(self) -> None:
        """Do this client's part of a batch, each thing by chance."""
        kinds: list[Callable[[], None]] = [
            self._push, self._push, self._push, self._index, self._retag, self._sign,
            self._untag, self._untag, self._delete, self._pull, self._abandon,
        ]  # fmt: skip
        until = self.counts.total() + BATCH // CLIENTS
        while self.counts.total() < until:
            kind = self.chance.choice(kinds)
            try:
                kind()
            except Unexpected as fault:
                raise Unexpected(f"client {self.number}, {kind.__name__}: {fault}") from fault

    def check(self) -> None:
        """Every tag pulls whole, and means what it was given; what was deleted is away."""
        for (name, tag), image in self.tags.items():
            if self.wire.pull(name, tag) != image.data:
                raise Unexpected(f"{name}:{tag} is not what client {self.number} pushed")
        for (name, digest), subject in self.signed.items():
            self.wire.pull(name, digest)
            if digest not in self.wire.referrers(name, subject):
                raise Unexpected(f"{name}@{subject} is not said to be referred to by {digest}")
        for name, reference in self.gone:
            if not self.wire.is_gone(name, reference):
                raise Unexpected(f"{name}/{reference} was deleted, and is there")
        self.counts["checked"] += len(self.tags) + len(self.signed) + len(self.gone)

    def leave(self) -> None:
        """Take away every tag."""
        for name, tag in list(self.tags):
            self.wire.delete(name, tag)
            self._forget(name, tag)

    def _push(self) -> None:
        self._send(self._repository(), self._tag(), self._image(self.chance.randrange(IMAGES)))

    def _index(self) -> None:
        """Its images have no tags, and are of no other index of this client's."""
        first = IMAGES + 2 * self.chance.randrange(4)
        children = (self._image(first), self._image(first + 1))
        entries = [descriptor(one.data, MANIFEST) for one in children]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        image = Image(json.dumps(document).encode(), children=children)
        self._send(self._repository(), self._tag(), image)

    def _retag(self) -> None:
        if self.tags:
            (name, _), image = self._choose()
            tag = self._tag()
            self.wire.put(name, tag, image.data).must("a tag more", 201)
            self._mean(name, tag, image)
            self.counts["retag"] += 1

    def _sign(self) -> None:
        """An artifact without a tag, which stays as long as its subject."""
        images = {key: one for key, one in self.tags.items() if one.blobs}
        if images:
            (name, _), subject = self.chance.choice(list(images.items()))
            number = 1000 + self.chance.randrange(IMAGES)
            image = self._image(number, subject=descriptor(subject.data, MANIFEST))
            self._send(name, image.digest, image)
            self.signed[name, image.digest] = subject.digest

    def _untag(self) -> None:
        if self.tags:
            (name, tag), _ = self._choose()
            self.wire.delete(name, tag)
            self._forget(name, tag)
            self.counts["untag"] += 1

    def _delete(self) -> None:
        if self.tags:
            (name, _), image = self._choose()
            self.wire.delete(name, image.digest)
            for key in [key for key, one in self.tags.items() if key[0] == name and one == image]:
                self._forget(*key)
            self.gone.add((name, image.digest))
            self.counts["delete"] += 1

    def _pull(self) -> None:
        if self.tags:
            (name, tag), image = self._choose()
            if self.wire.pull(name, tag) != image.data:
                raise Unexpected(f"{name}:{tag} is not what was pushed")
            self.counts["pull"] += 1

    def _abandon(self) -> None:
        if self.chance.random() < 0.2:
            self.wire.abandon(self._repository())
            self.counts["abandon"] += 1

    def _send(self, name: str, reference: str, image: Image) -> None:
        """A whole push, and a pull of it. It may fail if it took longer than its lease."""
        began = time.monotonic()
        try:
            self._parts(name, image)
            self.wire.put(name, reference, image.data).must(f"PUT {name}/{reference}", 201)
        except Unexpected:
            if time.monotonic() < began + self.lease.total_seconds():
                raise
            self.counts["late"] += 1
            return
        if reference == image.digest:
            self.gone.discard((name, reference))
        else:
            self._mean(name, reference, image)
        self.counts["push"] += 1
        if self.wire.pull(name, reference) != image.data:
            raise Unexpected(f"{name}/{reference} came back as something else")
        self.counts["pull"] += 1

    def _parts(self, name: str, image: Image) -> None:
        for child in image.children:
            self._parts(name, child)
            self.wire.put(name, child.digest, child.data).must(f"PUT {name}/{child.digest}", 201)
            self.counts["push"] += 1
        for data in image.blobs:
            self.counts["head"] += 1
            if not self.wire.has_blob(name, digest_of(data)):
                self._bring(name, data)

    def _bring(self, name: str, data: bytes) -> None:
        way = self.chance.randrange(6)
        if way == 0:
            self.counts[
                "mount" if self.wire.mount(name, self._repository(), data) else "upload"
            ] += 1
            return
        if way == 1:
            self.wire.upload_whole(name, data)
        else:
            self.wire.upload(name, data, chunks=max(way - 3, 0))
        self.counts["upload"] += 1

    def _mean(self, name: str, tag: str, image: Image) -> None:
        self._forget(name, tag)
        self.tags[name, tag] = image
        self.gone -= {(name, tag), (name, image.digest)}
        self.gone -= {(name, child.digest) for child in image.children}

    def _forget(self, name: str, tag: str) -> None:
        """The tag goes, and with the last tag of an image what depends on that."""
        self.tags.pop((name, tag), None)
        self.gone.add((name, tag))
        tagged = {image.digest for (place, _), image in self.tags.items() if place == name}
        for key in [
            key for key, one in self.signed.items() if key[0] == name and one not in tagged
        ]:
            del self.signed[key]

    def _image(self, number: int, **more: Any) -> Image:
        """Always the same for a number: its layers are chosen by it."""
        config = json.dumps({"client": self.number, "image": number}).encode()
        own = random.Random(f"{self.number}-{number}")
        layers = [_layer(own.randrange(LAYERS)) for _ in range(own.randrange(1, 4))]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config, CONFIG),
            "layers": [descriptor(layer, LAYER) for layer in layers],
            **more,
        }
        return Image(json.dumps(document).encode(), (config, *layers))

    def _choose(self) -> tuple[tuple[str, str], Image]:
        return self.chance.choice(list(self.tags.items()))

    def _repository(self) -> str:
        return f"soak/app{self.chance.randrange(REPOSITORIES)}"

    def _tag(self) -> str:
        return f"c{self.number}-{self.chance.randrange(TAGS)}"


def _layer(number: int) -> bytes:
    chance = random.Random(f"layer {number}")
    return chance.randbytes(chance.randrange(50, 3000))


@dataclass
class Soak:
    """The clients, and the collection beside them."""

    box: Shelf
    clients: list[Client]
    faults: list[str] = field(default_factory=list)
    collected: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def counts(self) -> Counter[str]:
        total = Counter(self.collected)
        for client in self.clients:
            total += client.counts
            total["busy"] += client.wire.busy
            total["requests"] += client.wire.requests
        return total

    @property
    def events(self) -> int:
        """What was done; neither checks nor what was not done count."""
        return sum(number for kind, number in self.counts.items() if kind not in NO_EVENTS)

    def run(self, events: int, deadline: float, told: Callable[["Soak"], None]) -> None:
        collecting = threading.Thread(target=self._collect)
        collecting.start()
        try:
            with ThreadPoolExecutor(len(self.clients)) as pool:
                while self.events < events and time.monotonic() < deadline and not self.faults:
                    self._all(pool, Client.act)
                    self._all(pool, Client.check)
                    told(self)
                if not self.faults:
                    self._all(pool, Client.leave)
        finally:
            self._over.set()
            collecting.join()
        self.faults += self.box.faults()
        if not self.faults:
            self._empty()

    def _all(self, pool: ThreadPoolExecutor, work: Callable[[Client], None]) -> None:
        for job in [pool.submit(work, client) for client in self.clients]:
            try:
                job.result()
            except (Unexpected, OSError, HTTPException) as fault:
                self.faults.append(f"{type(fault).__name__}: {fault}")

    def _collect(self) -> None:
        while not self._over.is_set():
            self._collect_once()
            self._over.wait(0.05)

    def _collect_once(self) -> None:
        batch = GarbageBatch(limit=100, per_second=1e6)
        report = self.box.collector.reviews(batch, lambda _: None).report
        self.collected["collection"] += bool(report.reviewed)
        self.collected["collected manifests"] += report.manifests
        self.collected["collected blobs"] += report.blobs

    def _empty(self) -> None:
        """Now that nothing has a tag, everything goes."""
        for _ in range(ROUNDS):
            time.sleep(self.box.lease.total_seconds())
            self.box.collect()
            self.faults += self.box.faults()
            if not self._left():
                return
        self.faults.append(f"{len(self._left())} blobs were never collected: {self._left()[:3]}")

    def _left(self) -> list[str]:
        tree = self.box.root / "docker/registry/v2/blobs"
        return [str(path) for path in tree.glob("sha256/*/*/data")]


@contextmanager
def served(
    folder: Path,
    database_url: str,
    seed: int = 1,
    *,
    clients: int = CLIENTS,
    lease: timedelta = LEASE,
) -> Iterator[Soak]:
    """A soak that has not begun, on a registry of its own in an empty database."""
    options = StackOptions(
        database_url=database_url,
        gateway=(sys.executable, "-m", "tests.soak.quick_gateway"),
        environment={"PYTHONPATH": str(ROOT), SECONDS: str(lease.total_seconds())},
    )
    with ExitStack() as ends:
        stack = ends.enter_context(registry_stack(folder, options))
        box = ends.enter_context(shelf(database_url, stack.storage, delay=lease, lease=lease))
        made = [
            Client(number, Wire(stack.address), random.Random(f"{seed}-{number}"), lease)
            for number in range(clients)
        ]
        for client in made:
            ends.callback(client.wire.close)
        yield Soak(box, made)


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=100_000)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4 * 3600.0)
    options = parser.parse_args()
    began = time.monotonic()

    def tell(soak: Soak) -> None:
        seconds = time.monotonic() - began
        sys.stdout.write(f"{soak.events} events in {seconds:.0f} s: {dict(soak.counts)}\n")
        sys.stdout.flush()

    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="fw-soak-")))
        folder.chmod(0o755)  # PostgreSQL's account has to reach its part
        url = ends.enter_context(database(folder, postgresql=options.postgresql))
        soak = ends.enter_context(served(folder, url, options.seed))
        soak.run(options.events, began + options.seconds, tell)
        tell(soak)
    for fault in soak.faults[:20]:
        sys.stdout.write(f"FAULT {fault}\n")
    sys.exit(bool(soak.faults))


if __name__ == "__main__":
    main()
