"""The client of the conformance tests: says what it likes, and checks only what it is told to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from tests.oci_objects import Manifest, digest_of

BYTES = {"Content-Type": "application/octet-stream"}
CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)
"""The error codes of the specification."""


@dataclass(frozen=True)
class Registry:
    """A registry under test."""

    url: str
    http: httpx2.Client = field(
        default_factory=lambda: httpx2.Client(follow_redirects=True, trust_env=False, timeout=30)
    )

    def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """A request of a path below ``/v2/``, sent as it stands, or of a whole URL."""
        url = path if path.startswith("http://") else f"{self.url}/v2/{path}"
        return self.http.request(method, url, **more)

    def start(self, name: str) -> str:
        """Begin an upload; its absolute Location."""
        began = self.call("POST", f"{name}/blobs/uploads/")
        assert began.status_code == 202, began.text
        return location(began)

    def finish(self, place: str, digest: str, data: bytes = b"") -> httpx2.Response:
        return self.http.put(with_query(place, digest=digest), content=data, headers=BYTES)

    def push_blob(self, name: str, data: bytes) -> str:
        digest = digest_of(data)
        done = self.finish(self.start(name), digest, data)
        assert done.status_code == 201, done.text
        return digest

    def put(self, name: str, reference: str, manifest: Manifest) -> httpx2.Response:
        """Send a manifest alone; ``reference`` is a tag, a digest, or one with a query."""
        return self.call(
            "PUT",
            f"{name}/manifests/{reference}",
            content=manifest.data,
            headers={"Content-Type": manifest.media_type},
        )

    def push(self, name: str, manifest: Manifest, tags: Sequence[str] = ()) -> httpx2.Response:
        """Push a manifest after all that it refers to; by digest when it gets no tag."""
        for blob in manifest.blobs:
            self.push_blob(name, blob)
        for child in manifest.children:
            self.push(name, child)
        for reference in tags or (manifest.digest,):
            answer = self.put(name, reference, manifest)
            assert answer.status_code == 201, answer.text
        return answer

    def get(self, name: str, reference: str, headers: Mapping[str, str] = {}) -> httpx2.Response:
        return self.call("GET", f"{name}/manifests/{reference}", headers=dict(headers))

    def referrers(self, name: str, digest: str, query: str = "") -> list[dict[str, Any]]:
        """All referrers, over all pages."""
        found: list[dict[str, Any]] = []
        path: str | None = f"{name}/referrers/{digest}{query}"
        while path is not None:
            answer = self.call("GET", path)
            assert answer.status_code == 200, answer.text
            found += answer.json()["manifests"]
            path = next_page(answer)
        return found


def location(response: httpx2.Response) -> str:
    """The Location, made absolute."""
    return urljoin(str(response.request.url), response.headers["Location"])


def next_page(response: httpx2.Response) -> str | None:
    """What ``Link`` says comes next, made absolute."""
    link = response.links.get("next")
    return urljoin(str(response.request.url), link["url"]) if link else None


def with_query(url: str, **more: str) -> str:
    """``url`` with more in its query; what is there stays as it is."""
    return str(httpx2.URL(url).copy_merge_params(more))


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def is_error(response: httpx2.Response, status: int, *codes: str) -> bool:
    """Whether this is the specification's error document, with one of ``codes`` if any."""
    if response.status_code != status:
        return False
    if response.request.method == "HEAD":
        return not response.content
    found = {error["code"] for error in response.json()["errors"]}
    return bool(found) and found <= CODES and (not codes or bool(found & set(codes)))
