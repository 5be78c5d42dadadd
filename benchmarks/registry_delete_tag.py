"""How long it takes to delete a tag of a repository that has 50,000.

The value is the median in milliseconds, through the gateway. Docker Distribution 2.8 deletes no
tag by its name; the nearest that it has, and the baseline, is to delete a manifest, with which its
tags go: for that it reads every tag of the repository.
"""

import random
import statistics

from benchmarks.harness import Figure, report_values, say
from benchmarks.registry_fill import (
    Asker,
    Pair,
    both,
    distribution_version,
    lay_out_tags,
    manifest,
    tagged_repository,
)

TAGS = 50_000
ROUNDS = 5
DELETED = 40
"""Tags a round."""
FIGURE = Figure(
    name="registry_delete_tag",
    unit=f"ms for deleting one of {TAGS} tags, over HTTP",
    goal=5,
    better="lower",
    baseline=f"DELETE of a manifest with one tag on docker-registry {distribution_version()}",
)
REPOSITORY = "apps/some"


def fill(pair: Pair, names: list[str]) -> list[str]:
    """Both get the same tags; the digests of manifests that have one tag each."""
    images = [manifest(number) for number in range(ROUNDS + 1)]
    folder = tagged_repository(pair, REPOSITORY, images, names)
    for number, one in enumerate(images[1:]):
        lay_out_tags(folder, one.digest, [f"single-{number}"])
    return [one.digest for one in images[1:]]


def main() -> None:
    names = [f"build-{one:06}" for one in range(TAGS)]
    with both() as pair:
        say(f"filling both with {TAGS} tags")
        singles = fill(pair, names)
        random.shuffle(names)
        ours, theirs = Asker(pair.gateway), Asker(pair.distribution)
        rows = []
        for number, digest in enumerate(singles):
            part = names[number * DELETED : (number + 1) * DELETED]
            taken = [delete(ours, name) for name in part]
            rows.append((statistics.median(taken), delete(theirs, digest)))
            say(f"  round {number + 1}: ours {rows[-1][0]:.2f} ms, baseline {rows[-1][1]:.0f} ms")
        ours.close()
        theirs.close()
    baseline = {"median_ms": round(statistics.median(row[1] for row in rows), 1)}
    report_values(FIGURE, [row[0] for row in rows], baseline)


def delete(asker: Asker, reference: str) -> float:
    return asker.ask(f"/v2/{REPOSITORY}/manifests/{reference}", "DELETE", 202)[0]


if __name__ == "__main__":
    main()
