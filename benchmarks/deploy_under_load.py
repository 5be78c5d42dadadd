"""How many requests a rolling deploy loses: 20 copies behind a real nginx, 200 requests a second.

Everything is real: containers, the workflow of the service, the scheduler that writes nginx's
upstreams. The same load goes first to the same copies through a plain nginx whose upstreams nobody
touches, which is the baseline, and then to nginx while every copy is replaced. The value is the
number of requests that were lost in the deploy: connections that broke off, and answers other than
200. Beside it stand the latencies of both sides, and the ratio of their medians.

``python benchmarks/deploy_under_load.py 4 50`` tries it with 4 copies and 50 requests a second.
"""

import http.client
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.containers import build_base
from benchmarks.harness import Figure, report_values, running_platform, say
from fleetwide.client import Client
from fleetwide.models.deploys import DeployPhase
from fleetwide.models.discovery import Endpoint
from fleetwide.models.service_documents import NewService
from fleetwide.models.service_moves import DeployRequest, Kept
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.upstreams import upstream_file

COPIES, RATE = 20, 200
STATIC_SECONDS = 20.0
SERVICE = "shop"
THREADS = 20
# The smallest Debian brings no other server than Perl's sockets.
PROGRAM = r"""
$SIG{TERM} = sub { exit 0 };
$s = IO::Socket::INET->new(LocalPort => 8080, Listen => 256, ReuseAddr => 1) or die;
while (1) {
  $c = $s->accept or next;
  while (<$c>) { last if /^\r?\n$/ }
  print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  close $c;
}
"""
FIGURE = Figure(
    name="deploy_under_load",
    unit="requests lost",
    goal=0,
    better="lower",
    baseline="the same load on the same copies through an nginx with static upstreams",
)


@dataclass
class Seen:
    """What a load met with."""

    seconds: list[float] = field(default_factory=list)
    """Of each request that was answered with 200."""
    lost: list[str] = field(default_factory=list)

    def milliseconds(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        found = sorted(self.seconds)
        return round(found[min(int(share * len(found)), len(found) - 1)] * 1000, 2)


class Load:
    """Requests at an even rate, each by a connection of its own."""

    def __init__(self, port: int, rate: float) -> None:
        self._port, self._pause = port, THREADS / rate
        self._over = threading.Event()
        self.seen = Seen()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        due = time.monotonic() + number * self._pause / THREADS
        while not self._over.wait(max(due - time.monotonic(), 0)):
            self._ask()
            due += self._pause

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        began = time.perf_counter()
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.seen.seconds.append(time.perf_counter() - began)
            else:
                self.seen.lost.append(str(answer.status))
        except (OSError, http.client.HTTPException) as error:
            self.seen.lost.append(repr(error))
        finally:
            connection.close()

    def end(self) -> Seen:
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.seen


@contextmanager
def nginx(folder: Path, port: int, upstreams: Path) -> Iterator[None]:
    """An nginx on a port, in front of the upstream of the service."""
    command = command_of(folder)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log stderr error;\n"
        "events { worker_connections 4096; }\nhttp {\naccess_log off;\n"
        f"{temporary}include {upstreams};\nserver {{ listen 127.0.0.1:{port};"
        f" location / {{ proxy_pass http://{SERVICE}; }} }}\n}}\n"
    )
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def command_of(folder: Path) -> list[str]:
    return ["nginx", "-e", f"{folder}/errors", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def service(image: str, copies: int) -> ContainerServiceSpec:
    """Copies that answer every request with two letters."""
    return ContainerServiceSpec.model_validate(
        {
            "app": SERVICE,
            "capacity": {"desired": copies},
            "container": {
                "image": image,
                "command": ["perl", "-MIO::Socket::INET", "-e", PROGRAM],
                "resources": {"cpu": 0.05, "memory": "32MiB", "ports": {"http": {"to": 8080}}},
                "health": {"http": {"port": 8080}, "interval_seconds": 1},
            },
            "deploy": {"healthy_seconds": 1},
            "targets": [{"port": "http", "nginx": SERVICE, "drain_seconds": 3}],
        }
    )


def until(condition: Callable[[], bool], what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            sys.exit(f"waited in vain until {what}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Bench:
    """A platform whose scheduler writes the upstreams of an nginx."""

    client: Client
    folder: Path
    copies: int
    rate: float

    def start(self, spec: ContainerServiceSpec) -> list[Endpoint]:
        """The service, once all of its copies are registered."""
        self.client.services.create(NewService(name=SERVICE, spec=spec))
        until(self._all_registered, "all copies are registered")
        return self.client.discovery.endpoints(SERVICE).endpoints

    def _all_registered(self) -> bool:
        found = self.client.discovery.targets(SERVICE).items
        return sum(one.state == "registered" for one in found) == self.copies

    def static(self, endpoints: list[Endpoint]) -> Seen:
        """The load through an nginx that knows these copies and hears of nothing."""
        folder, port = self.folder / "static", free_port()
        folder.mkdir()
        upstreams = folder / "upstreams.conf"
        places = [(one.address, one.ports["http"]) for one in endpoints]
        upstreams.write_text(upstream_file({SERVICE: places}))
        with nginx(folder, port, upstreams):
            answers(port)
            load = Load(port, self.rate)
            time.sleep(STATIC_SECONDS)
            return load.end()

    def deploy(self, spec: ContainerServiceSpec, port: int) -> tuple[Seen, float]:
        """The load while every copy is replaced, and how long that took in seconds."""
        changed = spec.container.model_copy(update={"env": {"VERSION": "2"}})
        request = DeployRequest(
            spec=spec.model_copy(update={"container": changed}), keep=[Kept.CAPACITY]
        )
        load, began = Load(port, self.rate), time.perf_counter()
        try:
            self.client.services.deploy(SERVICE, request)
            until(self._is_deployed, "the deploy is over")
            took = time.perf_counter() - began
            until(self._all_registered, "the new copies are registered, and no others")
        finally:
            seen = load.end()
        return seen, took

    def _is_deployed(self) -> bool:
        status = self.client.services.get(SERVICE).status
        deploy = status.deploy
        if deploy is None or deploy.finished_at is None or deploy.to_revision != 2:
            return False
        if deploy.phase is not DeployPhase.SUCCEEDED:
            sys.exit(f"the deploy ended as {deploy.phase}: {deploy.reason}")
        return status.live == self.copies and status.stopping == 0


def answers(port: int) -> None:
    """Wait until a copy answers through nginx."""

    def asked() -> bool:
        one = Load(port, THREADS * 10)
        time.sleep(0.2)
        return bool(one.end().seconds)

    until(asked, "nginx answers")


def main() -> None:
    copies, rate = (int(word) for word in sys.argv[1:] or (COPIES, RATE))
    with tempfile.TemporaryDirectory(prefix="fw-nginx-") as name:
        folder = Path(name)
        upstreams, command = folder / "upstreams.conf", shlex.join(command_of(folder))
        os.environ |= {
            "FLEETWIDE_TARGETS_NGINX_FILE": str(upstreams),
            "FLEETWIDE_TARGETS_NGINX_TEST": f"{command} -t",
            "FLEETWIDE_TARGETS_NGINX_RELOAD": f"{command} -s reload",
            "FLEETWIDE_TARGETS_NGINX_PID": f"{folder}/pid",
        }
        upstreams.write_text(upstream_file({SERVICE: []}))
        port = free_port()
        with nginx(folder, port, upstreams), running_platform() as running:
            say("building a small OS release to run")
            spec = service(build_base(running), copies)
            with Client(running.url("api")) as client:
                bench = Bench(client, folder, copies, rate)
                say(f"starting {copies} copies")
                endpoints = bench.start(spec)
                say(f"{rate} requests a second through static upstreams")
                static = bench.static(endpoints)
                say("the same through a rolling deploy")
                answers(port)
                seen, took = bench.deploy(spec, port)
    tell(static, seen, took)


def tell(static: Seen, seen: Seen, took: float) -> None:
    say(f"lost: {len(seen.lost)} of {len(seen.lost) + len(seen.seconds)} in {took:.0f} s")
    for words in sorted(set(seen.lost)):
        say(f"  {seen.lost.count(words)} times {words}")
    ratio = statistics.median(seen.seconds) / statistics.median(static.seconds)
    report_values(
        FIGURE,
        [len(seen.lost)],
        {
            "lost": len(static.lost),
            "requests": len(static.seconds) + len(static.lost),
            "our_requests": len(seen.seconds) + len(seen.lost),
            "deploy_seconds": round(took, 1),
            "milliseconds_p50_p99": [static.milliseconds(0.5), static.milliseconds(0.99)],
            "our_milliseconds_p50_p99": [seen.milliseconds(0.5), seen.milliseconds(0.99)],
            "ratio_of_medians": round(ratio, 3),
        },
    )


if __name__ == "__main__":
    main()
