"""Hosts that fetch blobs from one another, and a mirror on loopback for a host's own Docker."""

import hmac
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2

from fleetwide.errors import RegistryUnavailable
from fleetwide.providers.blob_cache import BlobCache
from fleetwide.providers.distribution import Manifest
from fleetwide.providers.registry_shares import Shares
from fleetwide.registry.names import is_digest
from fleetwide.registry.sharing import Together, is_peer_token, peer_proof, peer_token

SCHEME = "Fleetwide "
PREHEAT, PROOF = "Fleetwide-Preheat", "Fleetwide-Proof"
SOCKET_SECONDS = 30.0
PEER_TIMEOUT = httpx2.Timeout(15.0, connect=3.0)
LEAST_SECONDS, LEAST_RATE = 30.0, 256 * 1024
"""A peer must send a blob in this time, or at least so many bytes a second."""
_MIRRORED = re.compile(r"/v2/[a-z0-9._/-]+/(manifests|blobs)/(sha256:[0-9a-f]{64})")


class _Handler(BaseHTTPRequestHandler):
    """What both servers share: nothing is logged by the standard library, files are sent whole."""

    protocol_version = "HTTP/1.1"
    timeout = SOCKET_SECONDS
    proof = ""
    """That this server takes part in a pre-heat, where it has to show that."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass

    def refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, path: Path) -> None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self.refuse(HTTPStatus.NOT_FOUND)
            return
        with file:
            self.begin(path.stat().st_size if path.exists() else 0, "application/octet-stream")
            if self.command == "GET":
                self.wfile.flush()
                self.connection.sendfile(file)

    def begin(self, size: int, media_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(size))
        if self.proof:
            self.send_header(PROOF, self.proof)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to tell."""


@contextmanager
def _serving(address: tuple[str, int], handler: type[_Handler]) -> Iterator[int]:
    """Serve in threads; the port."""
    with _Server(address, handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def peer_server(cache: BlobCache, address: tuple[str, int], shares: Shares) -> Iterator[int]:
    """Serve blobs of pre-heats (``/blobs/DIGEST``) to the hosts that take part; the port."""

    class Peer(_Handler):
        def do_GET(self) -> None:
            digest = self.path.removeprefix("/blobs/")
            token = self.headers.get("Authorization", "").removeprefix(SCHEME)
            if not is_digest(digest):
                self.refuse(HTTPStatus.NOT_FOUND)
                return
            secret = shares.secret(self.headers.get(PREHEAT, ""), digest)
            if secret is None or not is_peer_token(secret, digest, token, time.time()):
                self.refuse(HTTPStatus.FORBIDDEN)
            elif (path := cache.find(digest)) is None:
                self.refuse(HTTPStatus.NOT_FOUND)
            else:
                self.proof = peer_proof(secret, digest, token)
                self.send_file(path)

    with _serving(address, Peer) as port:
        yield port


@contextmanager
def loopback_mirror(cache: BlobCache, manifests: Mapping[str, Manifest]) -> Iterator[int]:
    """A registry of one image, for this machine alone; the port on 127.0.0.1."""

    class Mirror(_Handler):
        def do_GET(self) -> None:
            found = _MIRRORED.fullmatch(self.path)
            if self.path == "/v2/":
                self.begin(0, "application/json")
            elif found is None:
                self.refuse(HTTPStatus.NOT_FOUND)
            elif found[1] == "manifests":
                self._manifest(manifests.get(found[2]))
            elif (path := cache.find(found[2])) is None:
                self.refuse(HTTPStatus.NOT_FOUND)
            else:
                self.send_file(path)

        do_HEAD = do_GET  # noqa: N815  # the base's name

        def _manifest(self, manifest: Manifest | None) -> None:
            if manifest is None:
                self.refuse(HTTPStatus.NOT_FOUND)
                return
            self.begin(len(manifest.data), manifest.media_type)
            if self.command == "GET":
                self.wfile.write(manifest.data)

    with _serving(("127.0.0.1", 0), Mirror) as port:
        yield port


@dataclass(frozen=True)
class Peer:
    """Another host of the same pre-heat."""

    url: str
    together: Together
    secret: bytes = field(repr=False)

    @contextmanager
    def stream(self, digest: str, size: int) -> Iterator[Iterator[bytes]]:
        """A blob's bytes in pieces; the caller checks them.

        Raises:
            RegistryUnavailable: the peer does not have it, takes no part in the pre-heat, does not
                answer, or is too slow.
        """
        token = peer_token(self.secret, digest, time.time())
        headers = {"Authorization": f"{SCHEME}{token}", PREHEAT: self.together.mark}
        url = f"{self.url.rstrip('/')}/blobs/{digest}"
        try:
            with httpx2.stream(
                "GET", url, headers=headers, timeout=PEER_TIMEOUT, trust_env=False
            ) as got:
                if got.status_code != HTTPStatus.OK:
                    raise RegistryUnavailable(f"peer {self.url} answered {got.status_code}")
                proof = peer_proof(self.secret, digest, token)
                if not hmac.compare_digest(got.headers.get(PROOF, ""), proof):
                    raise RegistryUnavailable(f"peer {self.url} takes no part in this pre-heat")
                yield _in_time(got.iter_raw(1024 * 1024), size, self.url)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RegistryUnavailable(f"peer {self.url} does not answer: {error}") from error


def _in_time(pieces: Iterator[bytes], size: int, url: str) -> Iterator[bytes]:
    deadline = time.monotonic() + max(LEAST_SECONDS, size / LEAST_RATE)
    for piece in pieces:
        if time.monotonic() > deadline:
            raise RegistryUnavailable(f"peer {url} is too slow")
        yield piece
