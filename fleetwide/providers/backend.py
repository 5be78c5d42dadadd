"""The gateway's client of Docker Distribution, for an event loop.

Distribution is private: whoever asks it here has already been judged by the gateway.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import httpx2

from fleetwide.errors import RegistryUnavailable
from fleetwide.registry.oci import ACCEPTED_TYPES

TIMEOUT = httpx2.Timeout(30.0, connect=2.0)
CONNECTIONS = 64
IDLE_SECONDS = 60.0
"""How long a connection waits for its next request; Distribution keeps its end for ever."""
BYTES = {"Content-Type": "application/octet-stream"}


class BackendRefused(Exception):
    """Distribution answered, and said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"Distribution answered {status}: {text[:200]}")
        self.status = status
        self.text = text

    @property
    def lacks_reference(self) -> bool:
        """Whether it is for something that the manifest refers to; beside it, 2.8 says 500."""
        return "MANIFEST_BLOB_UNKNOWN" in self.text


class Backend:
    """One pool of connections to Distribution; of one event loop.

    Every method raises ``RegistryUnavailable`` when Distribution does not answer or is at fault
    (502 and above), and ``BackendRefused`` for an answer that it must not give.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=self.base_url,
            timeout=TIMEOUT,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=CONNECTIONS,
                max_keepalive_connections=16,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def ping(self) -> None:
        """Return when Distribution answers as a registry."""
        await self._call("GET", "/v2/", (200,))

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob of this repository; None when it has none of that digest."""
        path = f"/v2/{repository}/blobs/{digest}"
        response = await self._call("HEAD", path, (200, 404))
        return int(response.headers["Content-Length"]) if response.status_code == 200 else None

    async def start_upload(self, repository: str) -> str:
        """Begin an upload; answers its path and query at Distribution."""
        response = await self._call("POST", f"/v2/{repository}/blobs/uploads/", (202,))
        return _place(response)

    async def mount(self, repository: str, digest: str, source: str) -> str | None:
        """Make a blob of ``source`` one of ``repository``, without its bytes.

        None when that is done; else the path and query of the upload that was begun instead.
        """
        response = await self._call(
            "POST",
            f"/v2/{repository}/blobs/uploads/",
            (201, 202),
            params={"mount": digest, "from": source},
        )
        return None if response.status_code == 201 else _place(response)

    async def finish_upload(self, place: str, digest: str, data: bytes) -> None:
        """Send a whole blob to an upload that was begun.

        Raises:
            BackendRefused: the bytes are not those of the digest (400).
        """
        where = httpx2.URL(place).copy_add_param("digest", digest)
        await self._call("PUT", str(where), (201,), content=data, headers=BYTES)

    async def put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str
    ) -> None:
        """Store a manifest under a tag or its digest.

        Raises:
            BackendRefused: Distribution does not take it; with its status.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        await self._call("PUT", path, (201,), content=data, headers={"Content-Type": media_type})

    async def manifest(self, repository: str, reference: str) -> tuple[str, bytes] | None:
        """Media type and bytes of a manifest; None when there is none."""
        path = f"/v2/{repository}/manifests/{reference}"
        headers = {"Accept": ", ".join(ACCEPTED_TYPES)}
        response = await self._call("GET", path, (200, 404), headers=headers)
        if response.status_code == 404:
            return None
        return response.headers.get("Content-Type", ""), response.content

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest with its tags; a missing one counts as removed."""
        await self._call("DELETE", f"/v2/{repository}/manifests/{digest}", (202, 404))

    async def unlink_blob(self, repository: str, digest: str) -> None:
        """Take a blob out of this repository; its bytes stay. A missing one counts as removed."""
        await self._call("DELETE", f"/v2/{repository}/blobs/{digest}", (202, 404))

    async def names(self, path: str, key: str) -> AsyncIterator[str]:
        """All names of a listing (``/v2/_catalog``, ``/v2/NAME/tags/list``), page by page."""
        url: str | None = f"{path}?n=1000"
        while url is not None:
            response = await self._call("GET", url, (200, 404))
            for name in () if response.status_code == 404 else response.json().get(key) or ():
                yield name
            url = response.links.get("next", {}).get("url")

    async def _call(
        self,
        method: str,
        url: str,
        ok: tuple[int, ...],
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        async with self._translated():
            response = await self._http.request(
                method, url, params=params, content=content, headers=headers
            )
        status = response.status_code
        if status in ok:
            return response
        if status in (429, 502, 503, 504):
            raise RegistryUnavailable(f"Distribution answered {status} to {method}")
        raise BackendRefused(status, response.text)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RegistryUnavailable(
                f"Distribution at {self.base_url} does not answer: {error or type(error).__name__}"
            ) from error


def _place(response: httpx2.Response) -> str:
    """Path and query of the upload; Distribution names itself as it was addressed."""
    return httpx2.URL(response.headers["Location"]).raw_path.decode()
