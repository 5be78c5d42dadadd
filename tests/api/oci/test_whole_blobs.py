"""Blobs that come along with the request that begins their upload."""

import asyncio
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import httpx2
import pytest
from pydantic import SecretStr
from sqlmodel import select

from api.oci import memberships
from api.oci.errors import OciError
from api.oci.gateway import Gateway
from api.oci.uploads import MAX_WHOLE
from fleetwide.providers import distribution
from fleetwide.providers.backend import CONNECTIONS, Backend
from fleetwide.providers.distribution import RegistryClient
from fleetwide.settings import Settings
from fleetwide.store import registry_blobs
from fleetwide.store.registry_tables import BlobRow, RepositoryBlobRow
from fleetwide.store.session import Store
from tests.conformance.client import BYTES, Registry, location
from tests.oci_objects import digest_of
from tests.registry_index import blob, upload
from tests.registry_stack import Stack

pytestmark = pytest.mark.integration


def post(registry: Registry, name: str, data: bytes, digest: str = "") -> httpx2.Response:
    path = f"{name}/blobs/uploads/?digest={digest or digest_of(data)}"
    return registry.call("POST", path, content=data, headers=BYTES)


@pytest.fixture
def name() -> str:
    return f"whole/{secrets.token_hex(4)}"


@pytest.fixture
def index(gateway: Stack) -> Iterator[Store]:
    store = gateway.store()
    yield store
    store.engine.dispose()


def test_a_blob_belongs_at_once_and_is_leased(registry: Registry, name: str, index: Store) -> None:
    data = secrets.token_bytes(500)
    done = post(registry, name, data)
    assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, digest_of(data))
    with index.read() as session:  # before anybody asks for it
        query = select(RepositoryBlobRow).where(RepositoryBlobRow.digest == digest_of(data))
        member = session.exec(query).one()
    assert (member.lease_until - member.created_at).total_seconds() >= 3600
    assert registry.http.get(location(done)).content == data


def test_one_that_is_about_to_be_removed_is_revived(
    registry: Registry, name: str, index: Store
) -> None:
    data = secrets.token_bytes(500)
    for elsewhere in (name, f"{name}-other"):
        post(registry, name, data)
        with index.write() as session:
            session.get_one(BlobRow, digest_of(data)).state = registry_blobs.DELETING
        done = post(registry, elsewhere, data)
        assert done.status_code == 201
        assert registry.http.get(location(done)).content == data
        with index.read() as session:
            assert session.get_one(BlobRow, digest_of(data)).state == registry_blobs.LIVE


def test_other_bytes_than_those_of_the_digest_are_refused(registry: Registry, name: str) -> None:
    digest = digest_of(secrets.token_bytes(8))
    for _ in range(2):  # also when the repository is known
        refused = post(registry, name, b"other", digest)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["code"] == "DIGEST_INVALID"
    assert registry.call("HEAD", f"{name}/blobs/{digest}").status_code == 404


def test_a_large_one_is_asked_for_again(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(MAX_WHOLE + 1)
    begun = post(registry, name, data)
    assert begun.status_code == 202
    assert registry.finish(location(begun), digest_of(data), data).status_code == 201
    assert post(registry, name, data[:MAX_WHOLE]).status_code == 201


def test_one_of_unknown_length_is_asked_for_again(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(500)
    path = f"{name}/blobs/uploads/?digest={digest_of(data)}"
    begun = registry.call("POST", path, content=iter([data]), headers=BYTES)
    assert begun.status_code == 202
    assert registry.finish(location(begun), digest_of(data), data).status_code == 201


def test_slow_clients_take_no_connection_to_distribution(
    gateway: Stack, registry: Registry, name: str
) -> None:
    host, port = gateway.address.split(":")
    head = (
        f"POST /v2/{name}/blobs/uploads/?digest={blob('slow')} HTTP/1.1\r\n"
        f"Host: {gateway.address}\r\nContent-Length: 4\r\n\r\n"
    )
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            for _ in range(CONNECTIONS + 2)
        ]
        for one in slow:
            one.sendall(head.encode() + b"sl")
        assert post(registry, name, b"quick").status_code == 201
        for one in slow:
            one.sendall(b"ow")
        assert {one.recv(12) for one in slow} == {b"HTTP/1.1 201"}


def test_our_own_client_needs_one_request(gateway: Stack, name: str) -> None:
    asked: list[str] = []
    with RegistryClient(gateway.url) as client:
        client._http.event_hooks["request"].append(lambda one: asked.append(one.method))
        for size in (500, distribution.WHOLE_BYTES):
            data = secrets.token_bytes(size)
            client.upload_blob(name, data, digest_of(data))
    assert asked == ["POST", "POST"]


class Losing:
    """A Distribution that has lost a blob as soon as it took it."""

    async def start_upload(self, _repository: str) -> str:
        return "/v2/apps/x/blobs/uploads/1"

    async def finish_upload(self, _place: str, _digest: str, _data: bytes) -> None:
        pass

    async def blob_size(self, _repository: str, _digest: str) -> int | None:
        return None


def test_one_that_a_collection_took_meanwhile_is_asked_for_again(database_url: str) -> None:
    upload(opened := Store.open(database_url), "apps/other", "a")
    upload(opened, "apps/x", "b")

    async def push() -> None:
        gateway = Gateway.open(Settings(database_url=SecretStr(database_url)))
        real, gateway.backend = gateway.backend, cast("Backend", Losing())
        try:
            await memberships.store(gateway, "apps/x", blob("a"), b"a")
        finally:
            gateway.backend = real
            await gateway.close()

    with pytest.raises(OciError) as caught:
        asyncio.run(push())
    assert (caught.value.status, caught.value.code) == (400, "BLOB_UPLOAD_INVALID")
    with opened.read() as session:
        assert session.get(RepositoryBlobRow, (2, blob("a"))) is None
    opened.engine.dispose()
