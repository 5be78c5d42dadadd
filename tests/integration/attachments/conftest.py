"""A real registry with one image in it, and a stand-in for registries that list referrers."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from fleetwide.errors import RegistryUnavailable
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import MANIFEST_TYPE, ImageParts, RunConfig, build_image
from fleetwide.registry.references import ImageReference
from fleetwide.registry.referrers import referrer_of, referrers_index

CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of Docker Distribution 2.8, which lists no referrers."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        await_registry(f"http://127.0.0.1:{port}", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def await_registry(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    with RegistryClient(url) as client:
        while process.poll() is None:
            try:
                client.ping()
            except RegistryUnavailable:
                continue
            return
    raise AssertionError(log.read_text())


@pytest.fixture
def client(registry: str) -> Iterator[RegistryClient]:
    with RegistryClient(registry) as made:
        yield made


def push_image(client: RegistryClient, repository: str) -> ImageReference:
    """A small image of its own in ``repository``."""
    image = build_image(ImageParts("amd64", 0, [], [], RunConfig(labels={"name": repository})))
    client.upload_blob(repository, image.config, digest_of(image.config))
    reference = ImageReference(repository, tag="1.0")
    return reference.pinned(client.put_manifest(reference, image.manifest, MANIFEST_TYPE))


class ListingProxy(BaseHTTPRequestHandler):
    """Passes everything to the real registry, but answers for referrers itself, one to a page."""

    upstream: str
    pushed: list[bytes]

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        refers = self.command == "PUT" and "/manifests/" in self.path and b'"subject"' in body
        if refers:
            self.pushed.append(body)
        kept = {key: value for key, value in self.headers.items() if key.lower() != "host"}
        answer = httpx2.request(self.command, self.upstream + self.path, content=body, headers=kept)
        headers = dict(answer.headers)
        if "location" in headers:
            headers["location"] = httpx2.URL(headers["location"]).raw_path.decode()
        if refers:
            headers["OCI-Subject"] = json.loads(body)["subject"]["digest"]
        self._answer(answer.status_code, headers, answer.content)

    def do_GET(self) -> None:
        path, _, page = self.path.partition("?page=")
        if "/referrers/" not in path:
            self._pass_on()
            return
        wanted = path.rpartition("/")[2]
        found = [one for one in self.pushed if json.loads(one)["subject"]["digest"] == wanted]
        number = int(page or 0)
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        if number + 1 < len(found):
            headers["Link"] = f'<{path}?page={number + 1}>; rel="next"'
        entries = [referrer_of(one) for one in found[number : number + 1]]
        self._answer(200, headers, referrers_index(entries))

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() not in ("content-length", "connection", "date"):
                self.send_header(key, value)
        length = headers.get("content-length", str(len(body)))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def listing_client(registry: str) -> Iterator[RegistryClient]:
    """A client of a registry that lists referrers by itself."""
    handler = type("Proxy", (ListingProxy,), {"upstream": registry, "pushed": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with RegistryClient(f"http://127.0.0.1:{server.server_port}") as made:
                yield made
        finally:
            server.shutdown()
            thread.join()
