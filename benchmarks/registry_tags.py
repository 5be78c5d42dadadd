"""How fast a page of 100 tags comes from a repository of 50,000, and of 1,000,000.

One client asks both registries in turn for ``tags/list?n=100&last=...`` at many depths. The value
is how many times faster the gateway answers than Docker Distribution at 50,000 tags;
Distribution, which knows no pages, sends all names. It is not asked to hold 1,000,000.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.harness import Figure, report_values, say
from benchmarks.registry_fill import (
    Asker,
    Pair,
    both,
    distribution_version,
    index_repository,
    index_tags,
    manifest,
    tagged_repository,
)
from fleetwide.store.registry_reads import open_reads

TAGS = 50_000
MANY = 1_000_000
PAGE = 100
ROUNDS = 7
PAGES = 20
FIGURE = Figure(
    name="registry_tags",
    unit=f"times faster: a page of {PAGE} of {TAGS} tags, over HTTP",
    goal=50,
    better="higher",
    baseline=f"tags/list?n={PAGE} of docker-registry {distribution_version()}, same names on disk",
)


def names(number: int) -> list[str]:
    return [f"build-{one:07}" for one in range(number)]


def fill(pair: Pair) -> None:
    image = manifest(0)
    tagged_repository(pair, "apps/some", [image], names(TAGS))
    row = index_repository(pair.store, "apps/many", [image])
    index_tags(pair.store, row, image.digest, names(MANY))


def pages(asker: Asker, repository: str, depths: Sequence[str]) -> float:
    """Median milliseconds of a page behind each of ``depths``; checked to be the right one."""
    taken = []
    for last in depths:
        milliseconds, body = asker.ask(f"/v2/{repository}/tags/list?n={PAGE}&last={last}")
        start = int(last.removeprefix("build-")) + 1
        expected = [f"build-{one:07}" for one in range(start, start + PAGE)]
        listed = json.loads(body)["tags"]
        if listed != expected and len(listed) != TAGS:
            sys.exit(f"{repository} listed something else behind {last}: {listed[:3]}")
        taken.append(milliseconds)
    return statistics.median(taken)


def depths(number: int) -> list[str]:
    return [f"build-{random.randrange(number - PAGE - 1):07}" for _ in range(PAGES)]


async def index_alone(url: str, repository: str, number: int) -> float:
    """Median milliseconds of a page from the index, without HTTP."""
    reads = open_reads(url)
    taken = []
    for last in depths(number) * 10:
        started = time.perf_counter()
        await reads.tags(repository, after=last, limit=PAGE)
        taken.append((time.perf_counter() - started) * 1000)
    await reads.close()
    return statistics.median(taken)


def main() -> None:
    with both() as pair:
        say(f"filling both with {TAGS} tags, and the index with {MANY} more")
        fill(pair)
        ours, theirs = Asker(pair.gateway), Asker(pair.distribution)
        rows = []
        for number in range(ROUNDS):
            row = (
                pages(ours, "apps/some", depths(TAGS)),
                pages(ours, "apps/many", depths(MANY)),
                pages(theirs, "apps/some", depths(TAGS)[:3]),
            )
            say(f"  round {number + 1}: {row[0]:.2f}, of {MANY}: {row[1]:.2f}, {row[2]:.1f} ms")
            rows.append(row)
        ours.close()
        theirs.close()
        url = pair.store.engine.url.render_as_string(hide_password=False)
        alone = [
            asyncio.run(index_alone(url, repository, number))
            for repository, number in (("apps/some", TAGS), ("apps/many", MANY))
        ]
    baseline = {
        "median_ms": round(statistics.median(row[2] for row in rows), 2),
        "our_median_ms": round(statistics.median(row[0] for row in rows), 3),
        "our_median_ms_of_1000000": round(statistics.median(row[1] for row in rows), 3),
        "index_alone_ms": [round(one, 3) for one in alone],
    }
    report_values(FIGURE, [row[2] / row[0] for row in rows], baseline)


if __name__ == "__main__":
    main()
