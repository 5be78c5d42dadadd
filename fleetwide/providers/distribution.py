"""Client of Docker Distribution (the OCI registry API), for worker threads."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2

from fleetwide.errors import Denied, ImageNotFound, NotFound, RegistryUnavailable
from fleetwide.providers.bounded_answers import (
    ANSWER,
    PLAIN,
    STREAM,
    TIMEOUT,
    set_bound,
    set_timeout,
)
from fleetwide.providers.progress import Progress, Throttled, no_progress
from fleetwide.providers.registry_auth import Credentials, TokenAuth
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import ACCEPTED_TYPES
from fleetwide.registry.references import ImageReference
from fleetwide.settings import Settings

# Whole chunks only: Distribution 2.8 cannot be told to drop an upload whose last request broke
# off in the middle (it answers 404 and keeps the data), so a cancel must fall between two.
CHUNK_BYTES = 8 * 1024 * 1024
WHOLE_BYTES = 999_999
"""Of a blob that is sent along with the request that begins its upload."""
IDLE_SECONDS = 30.0
"""How long a connection is kept for the next step of a bake; nginx keeps its end for 75 s."""
PAGE_SIZE = 500
BYTES = {"Content-Type": "application/octet-stream"}
DIGEST_HEADER = "Docker-Content-Digest"
SUBJECT_HEADER = "OCI-Subject"
_ACCOUNT_HINT = "check this process's FLEETWIDE_REGISTRY_USERNAME and FLEETWIDE_REGISTRY_PASSWORD"


@dataclass(frozen=True)
class Manifest:
    """A manifest as it lies in the registry."""

    digest: str
    media_type: str
    data: bytes

    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.data)
        return document


class RegistryClient:
    """One pooled connection to a registry; safe to share between threads.

    Every method raises ``RegistryUnavailable`` when the registry cannot be reached or answers
    otherwise than a registry would, ``Denied`` when a rule of its policy is in the way, and
    ``ImageNotFound`` (manifests) or ``NotFound`` (blobs) when it answers that there is no such
    thing.
    """

    def __init__(self, base_url: str, credentials: Credentials | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._takes_whole = True
        self._http = httpx2.Client(
            base_url=self.base_url,
            auth=TokenAuth(self.base_url, credentials),
            headers=PLAIN,
            timeout=TIMEOUT,
            follow_redirects=True,
            event_hooks={"request": [set_timeout], "response": [set_bound]},
            limits=httpx2.Limits(
                max_connections=20, max_keepalive_connections=10, keepalive_expiry=IDLE_SECONDS
            ),
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The platform's registry, with this process's account."""
        return cls(settings.registry_url, Credentials.of(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ping(self) -> None:
        """Return when the registry answers as one."""
        self._call("GET", "/v2/", ok=(200,))

    def resolve(self, reference: ImageReference) -> str:
        """The digest that a tag (or digest) names now."""
        response = self._manifest_call("HEAD", reference)
        digest = response.headers.get(DIGEST_HEADER)
        if digest is None:
            raise RegistryUnavailable(f"{self.base_url} gives no digest for {reference}")
        return digest

    def get_manifest(self, reference: ImageReference) -> Manifest:
        """The manifest's exact bytes; for a digest they are checked against it."""
        response = self._manifest_call("GET", reference)
        digest = digest_of(response.content)
        if reference.digest not in (None, digest):
            raise RegistryUnavailable(f"{self.base_url} serves {digest} for {reference}")
        return Manifest(digest, response.headers.get("Content-Type", ""), response.content)

    def put_manifest(self, reference: ImageReference, data: bytes, media_type: str) -> str:
        """Store a manifest under the reference's tag or digest; answers its digest."""
        self._put_manifest(reference, data, media_type)
        return digest_of(data)

    def put_referrer(self, reference: ImageReference, data: bytes, media_type: str) -> bool:
        """Store a manifest that has a subject, which need not be there.

        Whether the registry lists it with its subject; where it does not, its clients keep a list.
        """
        return SUBJECT_HEADER in self._put_manifest(reference, data, media_type).headers

    def _put_manifest(
        self, reference: ImageReference, data: bytes, media_type: str
    ) -> httpx2.Response:
        path = f"/v2/{reference.repository}/manifests/{reference.selector}"
        headers = {"Content-Type": media_type}
        return self._call("PUT", path, content=data, headers=headers, ok=(201,))

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest with its tags; a missing one counts as removed.

        A registry that allows no deletion keeps it.
        """
        self._call("DELETE", f"/v2/{repository}/manifests/{digest}", ok=(202, 404, 405))

    def referrers(self, repository: str, digest: str) -> dict[str, Any] | None:
        """The registry's own list of what refers to a manifest, as an OCI index.

        None when it keeps no such lists; Docker Distribution 2.8 does not.
        """
        url: str | None = f"/v2/{repository}/referrers/{digest}"
        entries: list[Any] = []
        while url is not None:
            response = self._call("GET", url, ok=(200, 404))
            if response.status_code == 404:
                return None
            entries += response.json().get("manifests") or []
            url = response.links.get("next", {}).get("url")
        return {"manifests": entries}

    def own_document(self, path: str, **query: str) -> dict[str, Any]:
        """A JSON document that this platform's registry serves besides the specification."""
        response = self._call("GET", path, params=query, ok=(200,))
        document: dict[str, Any] = response.json()
        return document

    def blob_exists(self, repository: str, digest: str) -> bool:
        response = self._call("HEAD", _blob_path(repository, digest), ok=(200, 404))
        return response.status_code == 200

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob; None when the repository does not have it."""
        response = self._call("HEAD", _blob_path(repository, digest), ok=(200, 404))
        if response.status_code == 404:
            return None
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RegistryUnavailable(f"{self.base_url} gives no size for blob {digest}")
        return int(length)

    def get_blob_json(self, repository: str, digest: str) -> dict[str, Any]:
        """A small JSON blob, such as an image's config."""
        response = self._call("GET", _blob_path(repository, digest), ok=(200, 404))
        if response.status_code == 404:
            raise NotFound(f"{repository} has no blob {digest}")
        document: dict[str, Any] = response.json()
        return document

    @contextmanager
    def stream_blob(self, repository: str, digest: str) -> Iterator[Iterator[bytes]]:
        """A blob's bytes in pieces; the caller checks them against the digest."""
        path = _blob_path(repository, digest)
        with self._translated(), self._http.stream("GET", path, extensions=STREAM) as got:
            if got.status_code == 404:
                raise NotFound(f"{repository} has no blob {digest}")
            self._expect(got, (200,))
            yield got.iter_raw(1024 * 1024)

    def mount_blob(self, repository: str, digest: str, from_repository: str) -> bool:
        """Make a blob of another repository one of this, without sending it.

        False when the registry declines, because the other repository does not have it.
        """
        path = f"/v2/{repository}/blobs/uploads/"
        query = {"mount": digest, "from": from_repository}
        response = self._call("POST", path, params=query, ok=(201, 202))
        if response.status_code == 202:
            self._abort(response.headers["Location"])
        return response.status_code == 201

    def upload_blob(
        self,
        repository: str,
        source: Path | bytes,
        digest: str,
        progress: Progress = no_progress,
    ) -> None:
        """Send a blob, unless the repository has it. A cancelled upload is dropped there.

        A small one is sent without asking first, where the registry takes it in one request.
        """
        small = _small(source)
        if small and self._takes_whole:
            self._send_whole(repository, small, digest)
        elif not self.blob_exists(repository, digest):
            self.send_blob(repository, _chunks(source), digest, progress)

    def send_blob(
        self,
        repository: str,
        chunks: Iterable[tuple[bytes, float]],
        digest: str,
        progress: Progress = no_progress,
    ) -> None:
        """Send a blob that the repository lacks, each chunk with the fraction before it.

        Whatever ``chunks`` raises ends the upload, which is then dropped at the registry.
        """
        started = self._call("POST", f"/v2/{repository}/blobs/uploads/", ok=(202,))
        self._carry_on(started.headers["Location"], chunks, digest, progress)

    def _send_whole(self, repository: str, data: bytes, digest: str) -> None:
        path, query = f"/v2/{repository}/blobs/uploads/", {"digest": digest}
        answer = self._call("POST", path, params=query, content=data, headers=BYTES, ok=(201, 202))
        if answer.status_code == 202:
            # It wants a second request, as Distribution does: the next is not sent twice.
            self._takes_whole = False
            self._carry_on(answer.headers["Location"], [(data, 0.0)], digest, no_progress)

    def _carry_on(
        self,
        location: str,
        chunks: Iterable[tuple[bytes, float]],
        digest: str,
        progress: Progress,
    ) -> None:
        told = Throttled(progress)
        try:
            last = b""
            for chunk, fraction in chunks:
                told("uploading", fraction)
                if last:
                    response = self._call("PATCH", location, content=last, ok=(202,))
                    location = response.headers["Location"]
                last = chunk
            told("uploading", 1.0)
            # The last chunk, of most blobs the only one, comes with the digest.
            place = str(httpx2.URL(location).copy_add_param("digest", digest))
            self._call("PUT", place, content=last, headers=BYTES, ok=(201,))
        except BaseException:
            self._abort(location)
            raise

    def list_repositories(self) -> list[str]:
        return self._pages("/v2/_catalog", "repositories")

    def list_tags(self, repository: str) -> list[str]:
        """The repository's tags in order; none when it does not exist."""
        return sorted(self._pages(f"/v2/{repository}/tags/list", "tags"))

    def _pages(self, path: str, key: str) -> list[str]:
        found: list[str] = []
        url: str | None = f"{path}?n={PAGE_SIZE}"
        while url is not None:
            response = self._call("GET", url, ok=(200, 404))
            if response.status_code == 404:
                return found
            found += response.json().get(key) or []
            url = response.links.get("next", {}).get("url")
        return found

    def _abort(self, location: str) -> None:
        # The failure that led here is what people must read; purging at the registry is the net.
        with suppress(RegistryUnavailable):
            self._call("DELETE", location, ok=(204, 404))

    def _manifest_call(self, method: str, reference: ImageReference) -> httpx2.Response:
        path = f"/v2/{reference.repository}/manifests/{reference.selector}"
        headers = {"Accept": ", ".join(ACCEPTED_TYPES)}
        response = self._call(method, path, headers=headers, ok=(200, 404))
        if response.status_code == 404:
            raise ImageNotFound(
                f"{reference} is not in the registry",
                hint=f"fleetwide image list {reference.repository}",
            )
        return response

    def _call(
        self, method: str, url: str, *, ok: tuple[int, ...], **request: Any
    ) -> httpx2.Response:
        with self._translated():
            response = self._http.request(method, url, extensions=ANSWER, **request)
        self._expect(response, ok)
        return response

    def _expect(self, response: httpx2.Response, ok: tuple[int, ...]) -> None:
        if response.status_code in ok:
            return
        request, reason = response.request, _reason(response)
        if response.status_code == 403 and reason.startswith(": DENIED"):
            # A rule of the registry's policy: asking again changes nothing.
            raise Denied(f"the registry refuses {request.url.path}{reason}")
        raise RegistryUnavailable(
            f"{self.base_url} answered {response.status_code} to {request.method} "
            f"{request.url.path}{reason}",
            hint=_ACCOUNT_HINT if response.status_code == 401 else None,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RegistryUnavailable(
                f"the registry {self.base_url} does not answer: {error}"
            ) from error


def _reason(response: httpx2.Response) -> str:
    """The registry's own words, where it sent any."""
    try:
        errors = json.loads(response.read())["errors"]
        return ": " + "; ".join(f"{one['code']} {one['message']}" for one in errors)
    except (ValueError, KeyError, TypeError):
        return ""


def _blob_path(repository: str, digest: str) -> str:
    return f"/v2/{repository}/blobs/{quote(digest, safe=':')}"


def _small(source: Path | bytes) -> bytes | None:
    """The bytes of a source that fits into one request; None of a larger one."""
    if isinstance(source, bytes):
        return source if len(source) <= WHOLE_BYTES else None
    return source.read_bytes() if source.stat().st_size <= WHOLE_BYTES else None


def _chunks(source: Path | bytes) -> Iterator[tuple[bytes, float]]:
    """The source's bytes in chunks, each with the fraction that lies before it."""
    if isinstance(source, bytes):
        if source:
            yield source, 0.0
        return
    total = max(source.stat().st_size, 1)
    with source.open("rb") as reader:
        yield from chunks_of(reader.read, total)


def chunks_of(read: Callable[[int], bytes], total: int) -> Iterator[tuple[bytes, float]]:
    """What ``read`` gives in chunks, each with the fraction of ``total`` bytes before it."""
    sent = 0
    while chunk := read(CHUNK_BYTES):
        yield chunk, sent / total
        sent += len(chunk)
