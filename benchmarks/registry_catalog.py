"""How long it takes to walk through the names of 10,000 repositories, 100 a page.

The value is how many times faster the whole walk of ``_catalog`` is through the gateway than on
Docker Distribution, whose pages become slower with their depth.
"""

import json
import statistics
import sys

from benchmarks.harness import Figure, report_values, say
from benchmarks.registry_fill import (
    Asker,
    both,
    distribution_version,
    index_names,
    lay_out_repository,
)

REPOSITORIES = 10_000
PAGE = 100
WALKS = 3
"""Of the gateway, for each one of Distribution."""
PAIRS = 2
FIGURE = Figure(
    name="registry_catalog",
    unit=f"times faster: the whole catalog of {REPOSITORIES} repositories, {PAGE} a page",
    goal=20,
    better="higher",
    baseline=f"the same walk on docker-registry {distribution_version()}",
)


def walk(port: int) -> float:
    """Seconds for all pages."""
    asker, found, taken = Asker(port), list[str](), 0.0
    while True:
        last = f"&last={found[-1]}" if found else ""
        milliseconds, body = asker.ask(f"/v2/_catalog?n={PAGE}{last}")
        taken += milliseconds / 1000
        page = json.loads(body)["repositories"]
        found += page
        if len(page) < PAGE:
            break
    asker.close()
    if len(found) != REPOSITORIES:
        sys.exit(f"the walk came by {len(found)} repositories")
    return taken


def main() -> None:
    names = [f"team{one // 100:03}/app{one % 100:02}" for one in range(REPOSITORIES)]
    with both() as pair:
        say(f"filling both with {REPOSITORIES} repositories")
        index_names(pair.store, names)
        for name in names:
            lay_out_repository(pair.storage, name)
        rows = []
        for number in range(PAIRS):
            ours = statistics.median(walk(pair.gateway) for _ in range(WALKS))
            theirs = walk(pair.distribution)
            say(f"  pair {number + 1}: ours {ours:.3f} s, baseline {theirs:.1f} s")
            rows.append((ours, theirs))
    baseline = {
        "median_seconds": round(statistics.median(theirs for _, theirs in rows), 2),
        "our_median_seconds": round(statistics.median(ours for ours, _ in rows), 3),
    }
    report_values(FIGURE, [theirs / ours for ours, theirs in rows], baseline)


if __name__ == "__main__":
    main()
