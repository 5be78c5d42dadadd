"""One client of a registry over HTTP, for soaks: a kept connection, and the steps of a push."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.oci_objects import digest_of

PATIENCE = 60.0
PAUSE = 0.1
"""Seconds between the tries of a request that was answered 503."""
BYTES = {"Content-Type": "application/octet-stream"}


class Unexpected(Exception):
    """The registry answered what it never should."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    def must(self, what: str, *statuses: int) -> "Answer":
        if self.status not in statuses:
            raise Unexpected(f"{what}: {self.status} {self.body[:300].decode(errors='replace')}")
        return self


@dataclass
class Wire:
    """One connection."""

    address: str
    requests: int = 0
    busy: int = 0
    """Requests that were answered 503, and sent again."""
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)

    def close(self) -> None:
        self._connection.close()

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send a request until it is answered with anything but 503."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._once(method, path, body, headers)
            if answer.status != 503 or time.monotonic() > deadline:
                return answer
            self.busy += 1
            time.sleep(PAUSE)

    def _once(self, method: str, path: str, body: bytes, sent: Mapping[str, str]) -> Answer:
        self.requests += 1
        self._connection.request(method, path, body or None, dict(sent))
        answer = self._connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, answer.read())

    def has_blob(self, name: str, digest: str) -> bool:
        path = f"/v2/{name}/blobs/{digest}"
        return self.ask("HEAD", path).must(path, 200, 404).status == 200

    def upload(self, name: str, data: bytes, chunks: int = 0) -> None:
        """Begin an upload, PATCH it in ``chunks`` parts, and end it."""
        place = self._begin(f"/v2/{name}/blobs/uploads/")
        rest = data
        for number in range(chunks):
            part = data[number * len(data) // chunks : (number + 1) * len(data) // chunks]
            sent = self.ask("PATCH", place, part, BYTES).must("PATCH", 202)
            place, rest = _path(sent.headers["location"]), b""
        self._finish(place, data, rest)

    def upload_whole(self, name: str, data: bytes) -> None:
        path = f"/v2/{name}/blobs/uploads/?digest={digest_of(data)}"
        self.ask("POST", path, data, BYTES).must("POST of a whole blob", 201)

    def abandon(self, name: str) -> None:
        """Begin an upload, send something, and never come back."""
        place = self._begin(f"/v2/{name}/blobs/uploads/")
        self.ask("PATCH", place, b"never ended", BYTES).must("PATCH", 202)

    def mount(self, name: str, source: str, data: bytes) -> bool:
        """Take a blob from another repository; upload it where that is declined."""
        path = f"/v2/{name}/blobs/uploads/?mount={digest_of(data)}&from={source}"
        answer = self.ask("POST", path).must("mount", 201, 202)
        if answer.status == 201:
            return True
        self._finish(_path(answer.headers["location"]), data, data)
        return False

    def put(self, name: str, reference: str, data: bytes) -> Answer:
        media_type = json.loads(data)["mediaType"]
        path = f"/v2/{name}/manifests/{reference}"
        return self.ask("PUT", path, data, {"Content-Type": media_type})

    def delete(self, name: str, reference: str) -> None:
        path = f"/v2/{name}/manifests/{reference}"
        self.ask("DELETE", path).must(f"DELETE {path}", 202)

    def is_gone(self, name: str, reference: str) -> bool:
        return self.ask("GET", f"/v2/{name}/manifests/{reference}").status == 404

    def pull(self, name: str, reference: str) -> bytes:
        """A manifest with everything below it, each checked against its digest; its bytes."""
        data = self._get(f"/v2/{name}/manifests/{reference}")
        document: dict[str, Any] = json.loads(data)
        for child in document.get("manifests", ()):
            _check(self.pull(name, child["digest"]), child["digest"])
        for blob in (*document.get("layers", ()), document.get("config")):
            if blob is not None:
                _check(self._get(f"/v2/{name}/blobs/{blob['digest']}"), blob["digest"])
        return data

    def referrers(self, name: str, digest: str) -> set[str]:
        """The first page, which is all of them here."""
        return {
            one["digest"]
            for one in json.loads(self._get(f"/v2/{name}/referrers/{digest}"))["manifests"]
        }

    def _get(self, path: str) -> bytes:
        return self.ask("GET", path).must(f"GET {path}", 200).body

    def _begin(self, path: str) -> str:
        return _path(self.ask("POST", path).must("POST", 202).headers["location"])

    def _finish(self, place: str, data: bytes, rest: bytes) -> None:
        path = f"{place}{'&' if '?' in place else '?'}digest={digest_of(data)}"
        self.ask("PUT", path, rest, BYTES).must("PUT of a blob", 201)


def _path(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _check(data: bytes, digest: str) -> None:
    if digest_of(data) != digest:
        raise Unexpected(f"{digest} came with other bytes: {data[:100]!r}")
