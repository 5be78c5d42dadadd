"""How much CPU a pull of a manifest by tag costs the servers, beside Docker Distribution alone.

16 clients that keep their connections ask for tags at random. The value is the gateway's CPU per
request, its index in SQLite, as a part of Distribution's; the same with the index in PostgreSQL,
whose own processes count too, stands beside it. Then the gateway's memory, with 1,000,000 tags in
the index and 20,000 of them asked for.
"""

import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.harness import Figure, report_values, say
from benchmarks.registry_fill import (
    Pair,
    both,
    distribution_version,
    free_port,
    index_repository,
    index_tags,
    lay_out_repository,
    lay_out_tags,
    manifest,
    running,
)
from fleetwide.registry.oci import ACCEPTED_TYPES
from fleetwide.store import migrate
from fleetwide.store.session import Store
from tests.postgres import Postgres

TAGS = 1_000
MANY = 1_000_000
ASKED = 20_000
IMAGES = 50
CLIENTS = 16
REQUESTS = 150
"""Of one client in one round."""
ROUNDS = 7
GOAL_POSTGRESQL = 0.35
GOAL_MIB = 150
FIGURE = Figure(
    name="registry_manifest_cpu",
    unit="CPU per manifest GET by tag, as a part of Distribution's",
    goal=0.15,
    better="lower",
    baseline=f"docker-registry {distribution_version()}, same manifests, same clients",
)


@dataclass(frozen=True)
class Server:
    """A registry that is asked, and the processes that work for it."""

    port: int
    processes: Sequence[psutil.Process]

    def cpu(self) -> float:
        """Seconds of CPU so far, of the processes and what they have started."""
        every = [one for process in self.processes for one in (process, *process.children(True))]
        return sum(sum(one.cpu_times()[:2]) for one in every)


async def client(server: Server, repository: str, tags: Sequence[str]) -> None:
    """Ask for each of the tags over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    accept = ", ".join(ACCEPTED_TYPES)
    for tag in tags:
        writer.write(
            f"GET /v2/{repository}/manifests/{tag} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\nAccept: {accept}\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            sys.exit(f"{tag} was answered: {head.decode()}")
        length = head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
        await reader.readexactly(int(length))
    writer.close()


async def crowd(server: Server, repository: str, tags: int, requests: int) -> float:
    """Microseconds of CPU per request."""
    asked = [[name(random.randrange(tags)) for _ in range(requests)] for _ in range(CLIENTS)]
    before = server.cpu()
    await asyncio.gather(*(client(server, repository, one) for one in asked))
    return (server.cpu() - before) / (CLIENTS * requests) * 1_000_000


def name(number: int) -> str:
    return f"build-{number:07}"


def fill(store: Store, repository: str, tags: int) -> None:
    images = [manifest(number) for number in range(IMAGES)]
    row = index_repository(store, repository, images)
    for number, image in enumerate(images):
        names = [name(one) for one in range(number, tags, IMAGES)]
        index_tags(store, row, image.digest, names)


def lay_out(storage: Path) -> None:
    images = [manifest(number) for number in range(IMAGES)]
    folder = lay_out_repository(storage, "apps/some", images)
    for number, image in enumerate(images):
        lay_out_tags(folder, image.digest, [name(one) for one in range(number, TAGS, IMAGES)])


@contextlib.contextmanager
def on_postgresql(pair: Pair) -> Iterator[Server]:
    """Another gateway of the same Distribution, its index in a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory(prefix="fw-bench-pg-") as folder:
        database = Postgres(Path(folder))
        database.start()
        try:
            url = database.database()
            store = Store.open(url)
            migrate.upgrade(store.engine)
            fill(store, "apps/some", TAGS)
            store.engine.dispose()
            server = postmaster(Path(folder))
            with gateway(pair, url) as ours:
                yield Server(ours.port, [*ours.processes, server])
        finally:
            database.stop()


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))


@contextlib.contextmanager
def gateway(pair: Pair, url: str) -> Iterator[Server]:
    port = free_port()
    settings = {
        "FLEETWIDE_DATABASE_URL": url,
        "FLEETWIDE_REGISTRY_PORT": str(port),
        "FLEETWIDE_REGISTRY_BACKEND_URL": f"http://127.0.0.1:{pair.distribution}",
        "FLEETWIDE_REGISTRY_DATA_PLANE": "redirect",
        "FLEETWIDE_REGISTRY_AUTH": "off",
    }
    program = [str(Path(sys.executable).parent / "fleetwide"), "registry", "serve"]
    with running(program, settings, port) as pid:
        yield Server(port, [psutil.Process(pid)])


def measure(servers: Sequence[Server]) -> list[tuple[float, ...]]:
    """Rounds of microseconds per request, one column for each server."""
    rows = []
    for number in range(ROUNDS + 1):
        row = tuple(asyncio.run(crowd(server, "apps/some", TAGS, REQUESTS)) for server in servers)
        if number:  # the first one warms everything up
            say(f"  round {number}: " + ", ".join(f"{one:.0f}" for one in row) + " us")
            rows.append(row)
    return rows


def main() -> None:
    with both() as pair, on_postgresql(pair) as postgresql:
        fill(pair.store, "apps/some", TAGS)
        lay_out(pair.storage)
        ours = Server(pair.gateway, [psutil.Process(pair.gateway_pid)])
        theirs = Server(pair.distribution, [distribution_process(pair)])
        say("CPU per request: gateway on SQLite, gateway and PostgreSQL, Distribution")
        rows = measure([ours, postgresql, theirs])
        say(f"filling the index with {MANY} tags")
        fill(pair.store, "apps/many", MANY)
        asyncio.run(crowd(ours, "apps/many", MANY, ASKED // CLIENTS))
        memory = ours.processes[0].memory_full_info()
    sqlite, postgres, distribution = (
        statistics.median(row[column] for row in rows) for column in range(3)
    )
    on_postgres = statistics.median(row[1] / row[2] for row in rows)
    baseline = {
        "median_us": round(distribution),
        "our_median_us": round(sqlite),
        "our_median_us_with_postgresql": round(postgres),
        "part_with_postgresql": round(on_postgres, 3),
        "goal_with_postgresql": GOAL_POSTGRESQL,
        "gateway_mib_at_1000000_tags": round(memory.rss / 1024**2, 1),
        "of_which_its_own_mib": round(memory.uss / 1024**2, 1),
        "goal_mib": GOAL_MIB,
    }
    report_values(FIGURE, [row[0] / row[2] for row in rows], baseline)


def distribution_process(pair: Pair) -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    port = pair.distribution
    return next(
        one
        for one in children
        for connection in one.net_connections("inet")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    )


if __name__ == "__main__":
    main()
