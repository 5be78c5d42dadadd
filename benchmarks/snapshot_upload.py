"""What sending many blocks at once is worth when a disk becomes an EBS snapshot.

The same sparse disk with 200 MiB of noise, uploaded with the default number of requests in flight
and with one, against moto servers in processes of their own. Both sides alternate in one run on
one machine; the value is the ratio of wall times.

A server on the same machine answers without a network's delay, which is what many requests in
flight are for: there, moto's own work (one core, some 2 ms a block) is all that can be overlapped.
So the value is taken against a server that waits 10 ms before it takes a block, and the ratio
against the bare server is told along with it.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Figure, alternate, report, say
from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from fleetwide.dev.machine import taken_ports
from fleetwide.providers.cloud import DEFAULT_IN_FLIGHT, Cloud
from fleetwide.providers.ebs_snapshots import SnapshotRequest, upload_snapshot
from fleetwide.providers.progress import no_progress
from fleetwide.settings import Settings

BLOCKS = 400
DISK_BYTES = 1024**3
PAIRS = 3
REGION = "us-east-1"
DELAY_SECONDS = 0.01
SERVER = """
import sys, time
from moto.ebs.responses import EBSResponse
from moto.server import main

delay, port = sys.argv[1:]
put = EBSResponse.put_snapshot_block
def later(self):
    time.sleep(float(delay))
    return put(self)
if float(delay):
    EBSResponse.put_snapshot_block = later
main(["-H", "127.0.0.1", "-p", port])
"""


def figure(bare_ratio: float) -> Figure:
    return Figure(
        name="snapshot_upload",
        unit="ratio of wall times",
        goal=0.5,
        better="lower",
        baseline=f"{BLOCKS * BLOCK_BYTES // 1024**2} MiB of the same disk, one request at a time, "
        f"ours: {DEFAULT_IN_FLIGHT} at a time; each takes the server {DELAY_SECONDS * 1000:g} ms "
        f"longer than moto alone, against which the ratio is {bare_ratio:.2f}",
    )


@contextmanager
def moto_server(delay_seconds: float) -> Iterator[str]:
    """A moto server in its own process that waits before it takes a block; its address."""
    port = next(port for port in range(30000, 31000) if not taken_ports(range(port, port + 1)))
    command = [sys.executable, "-c", SERVER, str(delay_seconds), str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            await_answer(url)
            yield url
        finally:
            server.terminate()


def await_answer(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


def write_disk(path: Path) -> None:
    """Noise in every fifth block, so that there are holes between."""
    noise = random.Random(1)
    with path.open("wb") as file:
        file.truncate(DISK_BYTES)
        for number in range(BLOCKS):
            file.seek(number * 5 * BLOCK_BYTES)
            file.write(noise.randbytes(BLOCK_BYTES))


class Uploader:
    """Uploads the disk to a server that has forgotten the upload before."""

    def __init__(self, url: str, disk: Path, in_flight: int) -> None:
        self.url = url
        self.cloud = Cloud(Settings(aws_endpoint_url=url), in_flight)
        self.request = SnapshotRequest(disk, disk.with_suffix(".journal"), REGION, "noise", {})

    def run(self) -> float:
        self.request.journal.unlink(missing_ok=True)
        with urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"", timeout=60):
            pass
        started = time.perf_counter()
        uploaded = upload_snapshot(self.cloud, self.request, no_progress)
        assert uploaded.sent_blocks == BLOCKS
        return time.perf_counter() - started


def measure(disk: Path, delay_seconds: float) -> list[tuple[float, float]]:
    with moto_server(delay_seconds) as url:
        many, one = Uploader(url, disk, DEFAULT_IN_FLIGHT), Uploader(url, disk, 1)
        many.run()
        one.run()
        say(f"{PAIRS} pairs of uploads, {delay_seconds * 1000:g} ms of delay")
        return alternate(many.run, one.run, PAIRS)


def main() -> None:
    os.environ.update(AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark")
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    with tempfile.TemporaryDirectory(prefix="fw-bench-") as folder:
        disk = Path(folder) / "disk.raw"
        write_disk(disk)
        bare = measure(disk, 0)
        delayed = measure(disk, DELAY_SECONDS)
    report(figure(statistics.median(many / one for many, one in bare)), delayed)


if __name__ == "__main__":
    main()
