"""A real nginx, and load on it that counts what is lost."""

import http.client
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from fleetwide.errors import ServiceUnavailable
from fleetwide.providers.nginx_targets import NginxUpstreams, _text
from tests.api.harness import wait_until
from tests.http_servers import Place

GUIDE = Path(__file__).parents[1] / "docs/guides/service-discovery.md"


class ByFile(http.client.HTTPConnection):
    """HTTP by a socket that is a file: its address is nobody else's."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Load:
    """Requests from some threads, each by a connection of its own, until it is told to end."""

    def __init__(self, door: Path, threads: int = 3, pause: float = 0) -> None:
        """``pause`` is in seconds, of each thread between two requests."""
        self._door, self._pause, self._over = door, pause, threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._over.is_set():
            connection = ByFile(self._door)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status == 200:
                    self.answers.append(body)
                else:
                    self.failures.append(f"{answer.status} {body}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            finally:
                connection.close()
            time.sleep(self._pause)

    def only(self, *places: Place) -> None:
        """Wait until these alone answer, and all of them."""
        wanted = {str(port) for _, port in places}
        begun = len(self.answers)
        wait_until(
            lambda: len(self.answers) > begun + 50 and set(self.answers[-50:]) == wanted,
            f"only {wanted} answer; {self.failures[:3]}",
        )

    def end(self) -> None:
        self._over.set()
        for each in self._running:
            each.result()
        self._pool.shutdown()


def documented_location() -> str:
    """The location that the guide tells operators to write, for the upstream ``web``.

    Copies of tests that hang are not waited for that long.
    """
    found = re.search(r"location / \{.*?\}", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    text = found.group().replace("http://shop", "http://web")
    assert "proxy_read_timeout 10s;" in text
    return text.replace("proxy_read_timeout 10s;", "proxy_read_timeout 2s;")


@contextmanager
def real_nginx(folder: Path) -> Iterator[NginxUpstreams]:
    """One that is configured as the guide says, on the socket ``door``."""
    config, file = folder / "nginx.conf", folder / "upstreams.conf"
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log stderr;\n"
        "events {}\nhttp {\naccess_log off;\n"
        f"{temporary}include {file};\n"
        f"server {{ listen unix:{folder}/door; {documented_location()} }}\n}}\n"
    )
    command = ["nginx", "-e", f"{folder}/errors", "-p", str(folder), "-c", str(config)]
    words = shlex.join(command)
    upstreams = NginxUpstreams(file, f"{words} -t", f"{words} -s reload", folder / "pid")
    with pytest.raises(ServiceUnavailable, match="could not be told"):
        upstreams.put({"web": []})  # it does not run yet, and needs the file to start
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: bool(_text(folder / "pid")), "nginx runs")
        yield upstreams
    finally:
        process.terminate()
        process.wait()


def status(folder: Path) -> int:
    connection = ByFile(folder / "door")
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def ending(folder: Path) -> list[str]:
    """The processes of nginx that only end what they began."""
    found = []
    for one in psutil.Process(int(_text(folder / "pid"))).children():
        with suppress(psutil.Error):
            found.append(" ".join(one.cmdline()))
    return [words for words in found if "shutting down" in words]
