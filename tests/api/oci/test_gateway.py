"""The gateway beyond the specification: odd requests, listings of all, counts, caches, outages."""

import http.client
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlmodel import select

from fleetwide.store.registry_tables import BlobRow, ManifestRow, PullerRow, RepositoryBlobRow
from tests.conformance.client import Registry, is_error, with_query
from tests.oci_objects import MANIFEST, digest_of, image, index
from tests.registry_stack import Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration


@pytest.fixture
def name() -> str:
    return f"gateway/{secrets.token_hex(6)}"


def raw(stack: Stack, method: str, path: str, **more: str) -> tuple[int, bytes]:
    """A request whose path no library tidies up."""
    connection = http.client.HTTPConnection(stack.address, timeout=30)
    try:
        connection.request(method, path, headers=more)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/a%2fb/tags/list", 400, b"NAME_INVALID"),
        ("/v2/../x/tags/list", 400, b"NAME_INVALID"),
        ("/v2/x//y/manifests/one", 400, b"NAME_INVALID"),
        ("/v2/x%00/manifests/one", 400, b"NAME_INVALID"),
        ("/v2/X/manifests/one", 400, b"NAME_INVALID"),
        (f"/v2/{'a' * 256}/manifests/one", 400, b"NAME_INVALID"),
        (f"/v2/{'a/' * 3000}b/manifests/one", 400, b"NAME_INVALID"),
        ("/v2/a/manifests/%2e%2e", 404, b"MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/sha256:zz", 400, b"DIGEST_INVALID"),
        (f"/v2/a/manifests/sha512:{'0' * 128}", 400, b"UNSUPPORTED"),
        ("/v2/a/referrers/one", 400, b"DIGEST_INVALID"),
        ("/v2/_catalog?n=-1", 400, b"PAGINATION_NUMBER_INVALID"),
        ("/v2/_catalog?last=%00", 400, b"UNSUPPORTED"),
        (f"/v2/_catalog?last={'a' * 9000}", 414, b"UNSUPPORTED"),
        ("/v2/a/tags", 404, b"UNSUPPORTED"),
        ("/v2a/b/manifests/one", 404, b"UNSUPPORTED"),
        ("/", 404, b"UNSUPPORTED"),
    ],
)
def test_what_is_no_address_is_refused_by_code(
    gateway: Stack, path: str, status: int, code: bytes
) -> None:
    answered, body = raw(gateway, "GET", path)
    assert (answered, code in body) == (status, True), body


def test_the_colon_of_a_digest_may_be_encoded(
    gateway: Stack, registry: Registry, name: str
) -> None:
    made = image()
    registry.push(name, made)
    encoded = made.digest.replace(":", "%3A")
    assert raw(gateway, "GET", f"/v2/{name}/manifests/{encoded}") == (200, made.data)


def test_a_method_that_a_resource_does_not_have_is_told(registry: Registry) -> None:
    answer = registry.call("POST", "a/manifests/one")
    assert is_error(answer, 405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD, PUT, DELETE"


def test_a_body_is_bounded_even_when_its_length_is_hidden(registry: Registry, name: str) -> None:
    piece = b" " * 1024**2
    answer = registry.call(
        "PUT",
        f"{name}/manifests/one",
        content=(piece for _ in range(5)),
        headers={"Content-Type": MANIFEST},
    )
    assert is_error(answer, 413, "SIZE_INVALID")


def test_two_requests_in_one_packet_get_two_answers(gateway: Stack) -> None:
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        one = f"HEAD /v2/ HTTP/1.1\r\nHost: {gateway.address}\r\n"
        connection.sendall(f"{one}\r\n{one}Connection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200") == 2


def test_a_request_of_two_lengths_is_refused(gateway: Stack) -> None:
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"PUT /v2/a/manifests/one HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1 ") == 1


def test_who_has_a_manifest_already_gets_no_bytes(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made, ["one"])
    etag = registry.get(name, "one").headers["ETag"]
    again = registry.get(name, "one", {"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert registry.get(name, "one", {"If-None-Match": '"other"'}).status_code == 200


def test_the_catalog_comes_in_pages_and_in_order(registry: Registry) -> None:
    own = [f"catalog/{number:02}" for number in range(5)]
    for one in own:
        registry.push(one, image())
    seen: list[str] = []
    path: str | None = "_catalog?n=2"
    while path is not None:
        answer = registry.call("GET", path)
        seen += answer.json()["repositories"]
        link = answer.links.get("next")
        path = link["url"].removeprefix("/v2/") if link else None
    assert seen == sorted(seen)
    assert set(own) <= set(seen)


def test_a_blob_in_use_is_not_deleted(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made, ["one"])
    used = digest_of(made.blobs[1])
    assert is_error(registry.call("DELETE", f"{name}/blobs/{used}"), 405, "UNSUPPORTED")
    assert registry.call("DELETE", f"{name}/manifests/{made.digest}").status_code == 202
    assert registry.call("DELETE", f"{name}/blobs/{used}").status_code == 202
    assert registry.call("HEAD", f"{name}/blobs/{used}").status_code == 404


def test_a_mount_without_a_source_is_declined(registry: Registry, name: str) -> None:
    digest = registry.push_blob(f"{name}-source", b"some" + secrets.token_bytes(8))
    answer = registry.call("POST", f"{name}/blobs/uploads/?mount={digest}")
    assert answer.status_code == 202
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 404


def test_a_pushed_blob_is_leased_until_its_manifest_comes(
    gateway: Stack, registry: Registry, name: str
) -> None:
    digest = registry.push_blob(name, secrets.token_bytes(32))
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 200
    store = gateway.store()
    with store.read() as session:
        blob = session.get(BlobRow, digest)
        held = session.exec(
            select(RepositoryBlobRow).where(RepositoryBlobRow.digest == digest)
        ).one()
    store.engine.dispose()
    assert blob is not None
    assert (blob.state, blob.size) == ("live", 32)
    assert (held.lease_until - held.created_at).total_seconds() >= 3600


def test_a_blob_that_is_about_to_be_removed_is_revived_by_who_asks_for_it(
    gateway: Stack, registry: Registry, name: str
) -> None:
    digest = registry.push_blob(name, secrets.token_bytes(32))
    registry.call("HEAD", f"{name}/blobs/{digest}")
    store = gateway.store()
    with store.write() as session:
        row = session.get_one(BlobRow, digest)
        row.state, before = "deleting", row.version
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 200
    with store.read() as session:
        row = session.get_one(BlobRow, digest)
    store.engine.dispose()
    assert (row.state, row.version > before) == ("live", True)


def test_finishing_an_upload_keeps_the_blob_that_is_there_already(
    gateway: Stack, registry: Registry, name: str
) -> None:
    data = secrets.token_bytes(32)
    digest = registry.push_blob(f"{name}-first", data)
    registry.call("HEAD", f"{name}-first/blobs/{digest}")
    store = gateway.store()
    with store.write() as session:
        session.get_one(BlobRow, digest).state = "deleting"
    place = with_query(registry.start(name), digest=digest)
    path = place.partition("/v2/")[2]
    asked = {"X-Original-Method": "PUT", "X-Original-URI": f"/v2/{path}"}
    assert httpx2.get(f"{gateway.url}/_auth/upload", headers=asked).status_code == 204
    with store.read() as session:
        assert session.get_one(BlobRow, digest).state == "live"
    store.engine.dispose()


@pytest.mark.parametrize(
    ("method", "uri", "more", "status"),
    [
        ("PATCH", "/v2/a/blobs/uploads/1?_state=x", {}, "404"),
        ("PATCH", "/v2/a/manifests/one", {}, "404"),
        ("PATCH", "/v2/A/blobs/uploads/1", {}, "400"),
        ("PUT", "{place}", {}, "400"),
        ("PUT", "{place}&digest=sha256:12", {}, "400"),
        ("PATCH", "{place}", {"Content-Range": "5-9"}, "416"),
        ("PATCH", "{place}", {"Content-Range": "0-4", "X-Original-Length": "4"}, "416"),
    ],
)
def test_an_upload_that_may_not_go_on_is_refused_in_headers(
    gateway: Stack, registry: Registry, method: str, uri: str, more: dict[str, str], status: str
) -> None:
    place = registry.start("a").partition("/v2/")[2]
    given = {"X-Original-Method": method, "X-Original-URI": uri.format(place=f"/v2/{place}")}
    answer = httpx2.get(f"{gateway.url}/_auth/upload", headers={**given, **more})
    assert answer.status_code == 403
    assert answer.headers["X-Refusal-Status"] == status
    assert answer.headers["X-Refusal-Body"].startswith('{"errors":[{"code":"')
    assert ("Range" in answer.headers) == (status == "416")


def test_requests_are_counted_for_prometheus(
    gateway: Stack, registry: Registry, metrics: str, name: str
) -> None:
    registry.get(name, "none")
    text = httpx2.get(f"http://{metrics}/metrics").text
    expected = 'fleetwide_registry_requests_total{route="manifests",method="GET",status="404"} '
    assert expected in text


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A registry of which parts may be ended."""
    with registry_stack(tmp_path, StackOptions(plane="redirect")) as stack:
        yield stack


def test_pulls_are_written_down_also_when_the_gateway_ends(own: Stack) -> None:
    client, made = Registry(own.url), image()
    with client.http:
        client.push("a/b", made, ["one"])
        for reference in ("one", "one", made.digest):
            assert client.get("a/b", reference).content == made.data
        client.call("HEAD", "a/b/manifests/one")
    own.gateway.end(signal.SIGTERM)
    store = own.store()
    with store.read() as session:
        row = session.exec(select(ManifestRow)).one()
        caller = session.exec(select(PullerRow)).one()
    store.engine.dispose()
    assert row.pulls == 3
    assert row.last_pulled_at is not None
    assert (caller.name, caller.pulls) == ("anonymous", 3)


def test_without_distribution_pulls_go_on_and_uploads_are_to_be_tried_again(own: Stack) -> None:
    client, made = Registry(own.url), image()
    with client.http:
        client.push("a/b", made, ["one"])
        own.distribution.kill()
        assert client.get("a/b", "one").content == made.data
        refused = client.call("POST", "a/b/blobs/uploads/")
        assert refused.json()["errors"][0]["code"] == "UNAVAILABLE"
        assert int(refused.headers["Retry-After"]) > 0
        assert client.put("a/b", "two", made).status_code == 503
        assert client.get("a/b", "two").status_code == 404
        own.distribution.start()
        assert client.put("a/b", "two", made).status_code == 201


def test_an_index_may_lose_a_child_and_stays(registry: Registry, name: str) -> None:
    child = image()
    both = index(child)
    registry.push(name, both, ["all"])
    assert registry.call("DELETE", f"{name}/manifests/{child.digest}").status_code == 202
    assert registry.get(name, "all").content == both.data
    assert is_error(registry.put(name, "again", index(child)), 400, "MANIFEST_BLOB_UNKNOWN")
