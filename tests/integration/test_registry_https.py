"""The front door as people see it: HTTPS, and answers in the registry's form whatever happens."""

import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleetwide.registry.nginx import NginxPlan
from tests.conformance.client import BYTES, Registry, is_error, location
from tests.oci_objects import MANIFEST, Manifest, digest_of, image
from tests.registry_stack import Stack, free_port, nginx, registry_stack

pytestmark = pytest.mark.integration

NAME = "apps/door"


@dataclass(frozen=True)
class Doors:
    """One registry behind two front doors."""

    stack: Stack
    plain: Registry
    secure: Registry


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("doors")
    certificate, key = _certificate(folder)
    with registry_stack(folder) as stack:
        assert stack.nginx is not None
        plan = _secured(stack, folder, certificate, key)
        door = nginx(plan.folder, plan)
        try:
            door.start()
            trust = ssl.create_default_context(cafile=certificate)
            http = httpx2.Client(verify=trust, trust_env=False, timeout=30)
            plain = Registry(stack.url)
            with http, plain.http:
                yield Doors(stack, plain, Registry(f"https://{plan.listen}", http))
        finally:
            door.kill()


def _secured(stack: Stack, folder: Path, certificate: Path, key: Path) -> NginxPlan:
    plan = NginxPlan(
        listen=f"127.0.0.1:{free_port()}",
        gateway=f"127.0.0.1:{stack.environment['FLEETWIDE_REGISTRY_PORT']}",
        distribution=(httpx2.URL(stack.distribution.url).netloc.decode(),),
        folder=folder / "secure",
        storage=stack.storage,
        user="root",
    )
    return replace(plan, certificate=certificate, certificate_key=key)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that it has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry of a test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


def test_push_and_pull_over_https_stay_there(doors: Doors) -> None:
    made = image(2, size=3000)
    began = doors.secure.call("POST", f"{NAME}/blobs/uploads/")
    assert location(began).startswith("https://")
    doors.secure.push(NAME, made, ["v1"])
    assert doors.secure.get(NAME, "v1", {"Accept": MANIFEST}).content == made.data
    for blob in made.blobs:
        found = doors.secure.call("GET", f"{NAME}/blobs/{digest_of(blob)}")
        assert found.content == blob


def test_a_range_is_read_only_of_the_bytes_that_are_meant(doors: Doors) -> None:
    data = bytes(range(200))
    digest = doors.plain.push_blob(NAME, data)
    path = f"{NAME}/blobs/{digest}"
    asked = {"Range": "bytes=10-19", "If-Range": f'"{digest}"'}
    part = doors.plain.call("GET", path, headers=asked)
    assert (part.status_code, part.content) == (206, data[10:20])
    other = doors.plain.call("GET", path, headers={**asked, "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, data)
    many = doors.plain.call("GET", path, headers={"Range": "bytes=0-1,5-6"})
    assert (many.status_code, many.content) == (200, data)
    behind = doors.plain.call("GET", path, headers={"Range": "bytes=200-"})
    assert is_error(behind, 416)


def test_a_body_that_is_too_large_for_anything_is_refused_unread(doors: Doors) -> None:
    huge = Manifest(b"x" * 17_000_000)
    assert is_error(doors.plain.put(NAME, "v1", huge), 413, "SIZE_INVALID")


def test_a_large_blob_along_with_post_is_to_be_sent_by_put(doors: Doors) -> None:
    data = bytes(20_000_000)
    path = f"{NAME}/blobs/uploads/?digest={digest_of(data)}"
    begun = doors.plain.call("POST", path, content=data, headers=BYTES)
    assert begun.status_code == 202
    assert doors.plain.finish(location(begun), digest_of(data), data).status_code == 201
    assert doors.plain.call("GET", f"{NAME}/blobs/{digest_of(data)}").content == data


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v2/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /v2/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"TRACE /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nul", "two-hosts", "above-the-root", "long-path", "long-header", "trace"],
)
def test_what_nginx_refuses_itself_is_told_in_the_registrys_form(doors: Doors, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(doors.plain.url.rpartition(":")[2]))) as door:
        door.sendall(sent)
        door.settimeout(30)
        head, _, body = door.recv(65_536).partition(b"\r\n\r\n")
    assert 400 <= int(head.split()[1]) < 500
    assert b"content-type: application/json" in head.lower()
    assert body.startswith(b'{"errors":[{"code":')
