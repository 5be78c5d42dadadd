"""How a page of 100 referrers comes from a manifest that 10,000 artifacts refer to.

One client asks in turn for the first page, one in the middle and the last; for the few of a rare
kind (``artifactType``); and for the page of a manifest with no more than 100. The value is the time
of the last page over that of the first: flat is 1. Docker Distribution 2.8 lists no referrers:
there the specification has clients keep the list as an index under the tag ``sha256-<hex>``, which
is always read whole, and is the baseline.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness import Figure, report_values, say
from benchmarks.registry_fill import (
    CONFIG,
    Asker,
    Pair,
    both,
    digest,
    distribution_version,
    index_referrers,
    index_repository,
    lay_out_repository,
    lay_out_tags,
    manifest,
)
from fleetwide.registry.digests import hex_of
from fleetwide.registry.manifests import ParsedManifest, parse_manifest
from fleetwide.registry.oci import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE
from fleetwide.registry.referrers import index_tag

REFERRERS = 10_000
FEW = 100
PAGE = 100
RARE_EVERY = 1_000
ROUNDS = 5
ASKED = 40
"""Times for each page in a round."""
KIND, RARE = "application/vnd.example.signature", "application/vnd.example.sbom"
MANY_NAME, FEW_NAME = "apps/signed", "apps/few"
FIGURE = Figure(
    name="registry_referrers",
    unit=f"the last page of {PAGE} of {REFERRERS} referrers over the first, by time over HTTP",
    goal=1.2,
    better="lower",
    baseline=f"the whole list by its tag sha256-<hex> on docker-registry {distribution_version()}",
)


@dataclass(frozen=True)
class Filled:
    """What both registries hold; referrers in the order of their digests."""

    subject: ParsedManifest
    many: Sequence[ParsedManifest]
    few: Sequence[ParsedManifest]


def referrer(subject: ParsedManifest, number: int) -> ParsedManifest:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": KIND if number % RARE_EVERY else RARE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [],
        "subject": {
            "mediaType": MANIFEST_TYPE,
            "digest": subject.digest,
            "size": len(subject.data),
        },
        "annotations": {"number": str(number)},
    }
    return parse_manifest(json.dumps(document).encode(), MANIFEST_TYPE)


def entry(one: ParsedManifest) -> dict[str, object]:
    return {
        "mediaType": one.media_type,
        "digest": one.digest,
        "size": len(one.data),
        "artifactType": one.artifact_type,
        "annotations": dict(one.annotations),
    }


def fill(pair: Pair) -> Filled:
    """The artifacts in the index, and their list as clients would keep it at Distribution."""
    subject = manifest(0)
    made = [referrer(subject, number) for number in range(REFERRERS)]
    made.sort(key=lambda one: one.digest)
    for name, part in ((MANY_NAME, made), (FEW_NAME, made[:FEW])):
        index_referrers(pair.store, index_repository(pair.store, name, [subject]), part)
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [entry(one) for one in made],
    }
    listed = parse_manifest(json.dumps(document).encode(), INDEX_TYPE)
    folder = lay_out_repository(pair.storage, MANY_NAME, [listed])
    lay_out_tags(folder, listed.digest, [index_tag(subject.digest)])
    return Filled(subject, made, made[:FEW])


@dataclass(frozen=True)
class Question:
    """A request, and the digests that its answer has to list."""

    path: str
    expected: Sequence[str]

    def milliseconds(self, asker: Asker) -> float:
        taken, body = asker.ask(self.path, accept=INDEX_TYPE)
        found = [one["digest"] for one in json.loads(body)["manifests"]]
        if found != self.expected:
            sys.exit(f"{self.path} listed something else: {found[:3]}")
        return taken


def questions(filled: Filled) -> dict[str, Question]:
    """By what they are called in the result."""
    digests = [one.digest for one in filled.many]
    rare = [one.digest for one in filled.many if one.artifact_type == RARE]

    def page(start: int) -> Question:
        last = f"&last={digests[start - 1]}" if start else ""
        path = f"/v2/{MANY_NAME}/referrers/{filled.subject.digest}?n={PAGE}{last}"
        return Question(path, digests[start : start + PAGE])

    of_rare = f"/v2/{MANY_NAME}/referrers/{filled.subject.digest}?n={PAGE}&artifactType={RARE}"
    of_few = f"/v2/{FEW_NAME}/referrers/{filled.subject.digest}?n={PAGE}"
    return {
        "first": page(0),
        "middle": page(REFERRERS // 2),
        "last": page(REFERRERS - PAGE),
        f"{len(rare)}_of_a_rare_type": Question(of_rare, rare),
        f"of_{FEW}": Question(of_few, [one.digest for one in filled.few]),
    }


def medians(asker: Asker, asked: dict[str, Question]) -> dict[str, float]:
    """Median milliseconds of each question, asked in turn."""
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ASKED):
        for name, question in asked.items():
            taken[name].append(question.milliseconds(asker))
    return {name: statistics.median(values) for name, values in taken.items()}


def whole_list(asker: Asker, filled: Filled) -> float:
    path = f"/v2/{MANY_NAME}/manifests/{index_tag(filled.subject.digest)}"
    question = Question(path, [one.digest for one in filled.many])
    return statistics.median(question.milliseconds(asker) for _ in range(3))


def main() -> None:
    with both() as pair:
        say(f"filling both with {REFERRERS} referrers of {hex_of(manifest(0).digest)[:12]}")
        filled = fill(pair)
        asked = questions(filled)
        ours, theirs = Asker(pair.gateway), Asker(pair.distribution)
        rounds, wholes = list[dict[str, float]](), list[float]()
        for number in range(ROUNDS):
            rounds.append(medians(ours, asked))
            wholes.append(whole_list(theirs, filled))
            words = ", ".join(f"{name} {value:.2f}" for name, value in rounds[-1].items())
            say(f"  round {number + 1}: {words}; baseline {wholes[-1]:.1f} ms")
        ours.close()
        theirs.close()
    ours_ms = {
        f"our_median_ms_{name}": round(statistics.median(one[name] for one in rounds), 3)
        for name in asked
    }
    baseline = {"median_ms": round(statistics.median(wholes), 2), **ours_ms}
    report_values(FIGURE, [one["last"] / one["first"] for one in rounds], baseline)


if __name__ == "__main__":
    main()
