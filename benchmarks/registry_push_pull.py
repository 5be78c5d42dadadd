"""A real docker's push and pull of a large layer through the front door, and alone.

Both sides are Distribution on the same disk; ours has nginx and the gateway before it. Each push
is of a layer that nobody has seen, so that nothing is mounted or skipped. Then the same blob is
read whole over HTTP. Two result lines: of the blob reads, then of push and pull together.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.harness import Figure, report_values, say, unwind_on_sigterm
from benchmarks.registry_fill import distribution_version
from tests.conformance.client import Registry
from tests.registry_stack import plain_distribution, registry_stack

LAYER_BYTES = 170_000_000
PIECE = 1 << 20
REPOSITORY = "bench/layer"
BASELINE = f"docker-registry {distribution_version()} alone, same disk, same run"
PUSH_PULL = Figure(
    name="registry_push_pull",
    unit="time of docker push and pull of 170 MB, as a part of Distribution's",
    goal=1.05,
    better="lower",
    baseline=BASELINE,
)
BLOB_GET = Figure(
    name="registry_blob_get",
    unit="bytes per second of a blob of 170 MB, as a part of Distribution's",
    goal=1.0,
    better="higher",
    baseline=BASELINE,
)


@dataclass(frozen=True)
class Seconds:
    """How long one side took."""

    push: float
    pull: float

    @property
    def both(self) -> float:
        return self.push + self.pull


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="pushes and pulls of each side")
    pairs = parser.parse_args().pairs
    unwind_on_sigterm()
    with sides() as (ours, alone, work):
        measured = [pair(number, ours, alone, work) for number in range(pairs)]
        digest, _ = (pushed(address, work / "data") for address in (ours, alone))
        reads = [read_pair(number, ours, alone, digest) for number in range(4 * pairs)]
    # Throughput of ours as a part of theirs is their time as a part of ours.
    report_values(BLOB_GET, [theirs / mine for mine, theirs in reads], read_seconds(reads))
    ratios = [mine.both / theirs.both for mine, theirs in measured]
    report_values(PUSH_PULL, ratios, docker_seconds(measured))


@contextlib.contextmanager
def sides() -> Iterator[tuple[str, str, Path]]:
    """``host:port`` of ours and of Distribution alone, and a folder to work in."""
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        for part in ("ours", "alone", "work"):
            (folder / part).mkdir()
        stack = ends.enter_context(registry_stack(folder / "ours"))
        plain = ends.enter_context(plain_distribution(folder / "alone"))
        yield stack.address, urlsplit(plain.url).netloc, folder / "work"


def pair(number: int, ours: str, alone: str, work: Path) -> tuple[Seconds, Seconds]:
    """Both sides once, each with a layer of its own; who goes first changes."""
    order = (ours, alone) if number % 2 else (alone, ours)
    took = {address: push_and_pull(f"{address}/{REPOSITORY}:{number}", work) for address in order}
    say(f"  pair {number + 1}: ours {took[ours].both:.2f} s, alone {took[alone].both:.2f} s")
    return took[ours], took[alone]


def push_and_pull(reference: str, work: Path) -> Seconds:
    layer = work / "layer.tar"
    (work / "data").write_bytes(os.urandom(LAYER_BYTES))
    with tarfile.open(layer, "w") as tar:
        tar.add(work / "data", "data")
    docker(work, "import", str(layer), reference)
    try:
        push = timed(work, "push", reference)
        docker(work, "rmi", reference)
        return Seconds(push, timed(work, "pull", reference))
    finally:
        docker(work, "rmi", "-f", reference)


def timed(work: Path, *words: str) -> float:
    # What the side before has left to write must not be written on this one's time.
    os.sync()
    started = time.monotonic()
    docker(work, *words)
    return time.monotonic() - started


def docker(work: Path, *words: str) -> None:
    command = [shutil.which("docker") or "docker", "--config", str(work / "docker"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"docker {words[0]} failed: {done.stdout}{done.stderr}")


def read_pair(number: int, ours: str, alone: str, digest: str) -> tuple[float, float]:
    """Seconds that the same blob takes from both sides."""
    order = (ours, alone) if number % 2 else (alone, ours)
    took = {address: read(address, digest) for address in order}
    return took[ours], took[alone]


def pushed(address: str, data: Path) -> str:
    client = Registry(f"http://{address}")
    with client.http:
        return client.push_blob(REPOSITORY, data.read_bytes())


def read(address: str, digest: str) -> float:
    """Read a blob whole, into a buffer that is used again."""
    connection = HTTPConnection(address)
    piece = memoryview(bytearray(PIECE))
    started = time.monotonic()
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    answer = connection.getresponse()
    size = 0
    while count := answer.readinto(piece):
        size += count
    took = time.monotonic() - started
    connection.close()
    if answer.status != 200 or size != LAYER_BYTES:
        sys.exit(f"{address} answered {answer.status} with {size} bytes")
    return took


def read_seconds(reads: list[tuple[float, float]]) -> dict[str, object]:
    return {
        "our_mb_per_second": round(LAYER_BYTES / statistics.median(r[0] for r in reads) / 1e6),
        "mb_per_second": round(LAYER_BYTES / statistics.median(r[1] for r in reads) / 1e6),
    }


def docker_seconds(measured: list[tuple[Seconds, Seconds]]) -> dict[str, object]:
    mine, theirs = zip(*measured, strict=True)
    return {
        "our_push_seconds": round(statistics.median(one.push for one in mine), 2),
        "push_seconds": round(statistics.median(one.push for one in theirs), 2),
        "our_pull_seconds": round(statistics.median(one.pull for one in mine), 2),
        "pull_seconds": round(statistics.median(one.pull for one in theirs), 2),
    }


if __name__ == "__main__":
    main()
