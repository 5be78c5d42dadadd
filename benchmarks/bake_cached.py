"""How long a request waits that was baked before: it is answered from the books.

500 times ``POST /v1/bakes`` of one finished bake, from 8 clients at once, on a running platform.
Each client has a connection and asks again when it is answered. The clients send finished bytes and
look only for the end of an answer: they run on the server's own cores, and what they take of those
would be measured as the server's. The value is the 99th percentile in milliseconds. The baseline is
``GET`` of the same image's document by as many requests of as many clients; both sides alternate in
one run.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.artifacts import write_tarball
from benchmarks.bakes import APP, Bakery, build_base, spec_of
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


def request_of(method: str, path: str, body: str = "") -> bytes:
    """A request as it goes over the wire."""
    content = body.encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: api\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def crowd(api: str, request: bytes) -> list[float]:
    """Milliseconds of each request when all clients ask at once."""
    shares = [len(range(number, REQUESTS, CLIENTS)) for number in range(CLIENTS)]
    found = await asyncio.gather(*(client(api, request, share) for share in shares))
    return [one for part in found for one in part]


async def client(api: str, request: bytes, times: int) -> list[float]:
    """One connection, and one request again and again."""
    address = urlsplit(api)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        writer.write(request)
        await answer(reader)
        taken.append((time.perf_counter() - started) * 1000)
    writer.close()
    await writer.wait_closed()
    return taken


async def answer(reader: asyncio.StreamReader) -> None:
    """Read one answer, which must be a good one."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    body = await reader.readexactly(size)
    if not head.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"answered {head[:40]!r}: {body[:500]!r}")


def percentiles(taken: list[float]) -> tuple[float, float]:
    """The 50th and the 99th."""
    cuts = statistics.quantiles(taken, n=100)
    return cuts[49], cuts[98]


def measure(api: str, spec: BakeSpec) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Percentiles of the cached bake and of the baseline, round by round."""
    cached_request = request_of("POST", "/v1/bakes", spec.model_dump_json())
    plain_request = request_of("GET", f"/v1/images/{APP}/1")
    found = []
    for number in range(ROUNDS):
        cached = percentiles(asyncio.run(crowd(api, cached_request)))
        plain = percentiles(asyncio.run(crowd(api, plain_request)))
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
