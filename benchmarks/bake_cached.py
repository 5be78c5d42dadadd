"""How long a request waits that was baked before: it is answered from the books.

500 times ``POST /v1/bakes`` of one finished bake, from 8 clients at once, on a running platform.
The value is the 99th percentile in milliseconds. The baseline is ``GET`` of the same image's
document by as many requests of as many clients; both sides alternate in one run.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.artifacts import write_tarball
from benchmarks.bakes import APP, Bakery, Caller, build_base, spec_of
from benchmarks.harness import Figure, report_values, running_platform, say
from fleetwide.models.bakery import ArtifactType, BakeSpec

CLIENTS = 8
REQUESTS = 500
ROUNDS = 3
FIGURE = Figure(
    name="bake_cached",
    unit="ms, the 99th percentile",
    goal=50,
    better="lower",
    baseline=f"GET of the same image's document; {REQUESTS} requests of {CLIENTS} clients each",
)


def crowd(make: Callable[[], Caller]) -> list[float]:
    """Milliseconds of each request when all clients ask at once."""

    def ask(number: int) -> list[float]:
        caller = make()
        taken = [asked(caller) for _ in range(number, REQUESTS, CLIENTS)]
        caller.close()
        return taken

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for part in pool.map(ask, range(CLIENTS)) for one in part]


def asked(caller: Caller) -> float:
    started = time.perf_counter()
    status, body = caller.call()
    if status != 200:
        sys.exit(f"{caller.path} was answered {status}: {body.decode()[:500]}")
    return (time.perf_counter() - started) * 1000


def percentiles(taken: list[float]) -> tuple[float, float]:
    """The 50th and the 99th."""
    cuts = statistics.quantiles(taken, n=100)
    return cuts[49], cuts[98]


def measure(api: str, spec: BakeSpec) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Percentiles of the cached bake and of the baseline, round by round."""
    body = spec.model_dump_json()
    found = []
    for number in range(ROUNDS):
        cached = percentiles(crowd(lambda: Caller(api, "POST", "/v1/bakes", body)))
        plain = percentiles(crowd(lambda: Caller(api, "GET", f"/v1/images/{APP}/1")))
        say(f"  round {number + 1}: p50 and p99 {cached}, of the baseline {plain}")
        found.append((cached, plain))
    return found


def main() -> None:
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        build_base(running, "1")
        bakery = Bakery(running)
        artifact = bakery.upload(write_tarball(Path(name), {}, 1), ArtifactType.TARBALL)
        spec = spec_of(artifact, "1", f"{APP}:1", entrypoint=[f"/opt/{APP}/run"])
        bakery.bake(spec)
        say(f"{ROUNDS} rounds of {REQUESTS} requests from {CLIENTS} clients, in ms")
        found = measure(running.url("api"), spec)
    baseline = {
        "p50_ms": round(statistics.median(plain[0] for _, plain in found), 1),
        "p99_ms": round(statistics.median(plain[1] for _, plain in found), 1),
        "our_p50_ms": round(statistics.median(cached[0] for cached, _ in found), 1),
    }
    report_values(FIGURE, [cached[1] for cached, _ in found], baseline)


if __name__ == "__main__":
    main()
