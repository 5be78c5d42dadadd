"""The gateway is killed between any two steps of a push: nothing is lost, nothing is half there."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.conformance.client import Registry, location
from tests.middle import Middle
from tests.oci_objects import MANIFEST, Manifest, image
from tests.registry_stack import Stack, StackOptions, free_port, registry_stack

pytestmark = pytest.mark.integration

NAME = "faults/kills"
ACCEPT = {"Accept": MANIFEST}


@dataclass(frozen=True)
class Parts:
    """A registry whose gateway reaches Distribution through a proxy of the test's."""

    stack: Stack
    middle: Middle
    client: Registry


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    backend = free_port()
    with Middle(f"http://127.0.0.1:{backend}") as middle:
        options = StackOptions("redirect", backend_port=backend, backend_url=middle.url)
        with registry_stack(tmp_path_factory.mktemp("kills"), options) as stack:
            client = Registry(stack.url)
            with client.http:
                yield Parts(stack, middle, client)


@contextmanager
def _pushing(parts: Parts, made: Manifest) -> Iterator[None]:
    """A push of a manifest goes on while the block runs; nobody waits for its answer."""

    def push() -> None:
        try:
            parts.client.put(NAME, "v1", made)
        except httpx2.TransportError:
            return  # the gateway was killed

    thread = threading.Thread(target=push)
    thread.start()
    yield
    thread.join()


def _blobs(parts: Parts, made: Manifest) -> None:
    for blob in made.blobs:
        parts.client.push_blob(NAME, blob)


def _is_whole(parts: Parts, made: Manifest) -> bool:
    """Whether an image can be read by its tag, and all of it."""
    found = parts.client.get(NAME, "v1", ACCEPT)
    if found.status_code != 200 or found.content != made.data:
        return False
    blobs = [
        parts.client.call("GET", f"{NAME}/blobs/{one['digest']}").content
        for one in (found.json()["config"], *found.json()["layers"])
    ]
    return blobs == list(made.blobs)


def _requests_of_a_push(parts: Parts) -> int:
    made = image(2)
    _blobs(parts, made)
    parts.middle.stop_nowhere()
    assert parts.client.put(NAME, "v1", made).status_code == 201
    return parts.middle.count


def test_a_gateway_killed_at_any_request_of_a_push_loses_nothing(parts: Parts) -> None:
    steps = _requests_of_a_push(parts)
    assert steps >= 2
    for number in range(1, steps + 1):
        _survives(parts, number, "before")
    _survives(parts, steps, "after")


def _survives(parts: Parts, number: int, when: str) -> None:
    before = parts.client.get(NAME, "v1", ACCEPT).content
    made = image(2)
    _blobs(parts, made)
    parts.middle.stop_at(number, "before" if when == "before" else "after")
    with _pushing(parts, made):
        assert parts.middle.reached.wait(30), f"no request {number}"
        parts.stack.gateway.kill()
        parts.middle.stop_nowhere()
    parts.stack.gateway.start()
    # Neither recorded nor tagged: the tag means what it meant, and nobody sees the other.
    assert parts.client.get(NAME, "v1", ACCEPT).content == before
    assert parts.client.get(NAME, made.digest, ACCEPT).status_code == 404
    assert parts.client.put(NAME, "v1", made).status_code == 201
    assert _is_whole(parts, made)


@contextmanager
def _locked(database_url: str) -> Iterator[None]:
    """Nobody else writes to the database while the block runs."""
    connection = sqlite3.connect(Path(database_url.removeprefix("sqlite:///")))
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()
    finally:
        connection.close()


def test_a_gateway_killed_before_it_has_admitted_a_push_loses_nothing(parts: Parts) -> None:
    made = image(2)
    _blobs(parts, made)
    parts.middle.stop_at(1, "before")
    with _locked(parts.stack.database_url), _pushing(parts, made):
        assert not parts.middle.reached.wait(0.5)
        parts.stack.gateway.kill()
    parts.middle.stop_nowhere()
    parts.stack.gateway.start()
    assert parts.client.get(NAME, made.digest, ACCEPT).status_code == 404
    assert parts.client.put(NAME, "v1", made).status_code == 201
    assert _is_whole(parts, made)


def test_a_gateway_killed_while_it_records_a_push_loses_nothing(parts: Parts) -> None:
    steps = _requests_of_a_push(parts)
    before = parts.client.get(NAME, "v1", ACCEPT).content
    made = image(2)
    _blobs(parts, made)
    parts.middle.stop_at(steps, "after")
    with _pushing(parts, made):
        assert parts.middle.reached.wait(30)
        with _locked(parts.stack.database_url):
            parts.middle.stop_nowhere()
            parts.stack.gateway.kill()
    parts.stack.gateway.start()
    assert parts.client.get(NAME, "v1", ACCEPT).content == before
    # Distribution has it, the index has not: a second push mends that.
    assert parts.client.put(NAME, "v1", made).status_code == 201
    assert _is_whole(parts, made)


def test_an_upload_goes_on_after_both_servers_were_killed(parts: Parts) -> None:
    data = bytes(range(256)) * 40
    place = parts.client.start(NAME)
    sent = parts.client.http.patch(place, content=data[:5000])
    parts.stack.distribution.kill()
    parts.stack.gateway.kill()
    parts.stack.distribution.start()
    parts.stack.gateway.start()
    status = parts.client.http.get(location(sent))
    assert status.headers["Range"] == "0-4999"
    sent = parts.client.http.patch(location(status), content=data[5000:])
    made = Manifest(data)
    assert parts.client.finish(location(sent), made.digest).status_code == 201
    assert parts.client.call("GET", f"{NAME}/blobs/{made.digest}").content == data
