"""Somebody writes to Distribution behind the gateway's back."""

import os
from collections.abc import Iterator

import pytest

from tests.conformance.client import Registry, is_error
from tests.faults.registry_parts import client, stack
from tests.oci_objects import MANIFEST, Manifest, image, index
from tests.registry_stack import Stack

__all__ = ["client", "stack"]
pytestmark = pytest.mark.integration

NAME = "faults/behind"
ACCEPT = {"Accept": MANIFEST}


@pytest.fixture(scope="module")
def behind(stack: Stack) -> Iterator[Registry]:
    """Distribution itself."""
    made = Registry(stack.distribution.url.removesuffix("/v2/"))
    with made.http:
        yield made


def test_a_manifest_pushed_behind_is_not_seen_until_it_is_pushed_in_front(
    client: Registry, behind: Registry
) -> None:
    made = image(2)
    behind.push(NAME, made, ["behind"])
    assert is_error(client.get(NAME, "behind", ACCEPT), 404)
    # Its blobs are the repository's own: they need not be sent again.
    assert client.put(NAME, "behind", made).status_code == 201
    assert client.get(NAME, "behind", ACCEPT).content == made.data


def test_a_blob_pushed_behind_is_the_repositorys_alone(client: Registry, behind: Registry) -> None:
    data = os.urandom(100)
    digest = behind.push_blob(NAME, data)
    assert client.call("HEAD", f"{NAME}/blobs/{digest}").status_code == 200
    assert client.call("GET", f"{NAME}/blobs/{digest}").content == data
    assert client.call("HEAD", f"{NAME}/other/blobs/{digest}").status_code == 404


def test_a_manifest_deleted_behind_is_still_served(client: Registry, behind: Registry) -> None:
    made = image()
    client.push(NAME, made, ["v1"])
    assert behind.call("DELETE", f"{NAME}/manifests/{made.digest}").status_code == 202
    assert client.get(NAME, "v1", ACCEPT).content == made.data
    assert client.put(NAME, "v1", made).status_code == 201
    assert behind.get(NAME, "v1", ACCEPT).content == made.data


def _lose(stack: Stack, data: bytes) -> str:
    """Take a blob's bytes out of Distribution's storage."""
    digest = Manifest(data).digest
    digits = digest.removeprefix("sha256:")
    place = stack.storage / "docker/registry/v2/blobs/sha256" / digits[:2] / digits / "data"
    place.unlink()
    return digest


def test_a_lost_blob_is_not_found_and_a_new_upload_heals_it(stack: Stack, client: Registry) -> None:
    made = image()
    client.push(NAME, made, ["v1"])
    digest = _lose(stack, made.blobs[1])
    assert is_error(client.call("GET", f"{NAME}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    client.push_blob(NAME, made.blobs[1])
    assert client.call("GET", f"{NAME}/blobs/{digest}").content == made.blobs[1]


def test_a_push_of_what_was_lost_is_refused_by_name_and_heals(
    stack: Stack, client: Registry
) -> None:
    made = image()
    for blob in made.blobs:
        client.push_blob(NAME, blob)
    digest = _lose(stack, made.blobs[1])
    answer = client.put(NAME, "lost", made)
    assert is_error(answer, answer.status_code, "MANIFEST_BLOB_UNKNOWN")
    assert client.get(NAME, "lost", ACCEPT).status_code == 404
    # A client that asks before it sends, as docker does, sends it now.
    assert client.call("HEAD", f"{NAME}/blobs/{digest}").status_code == 404
    client.push_blob(NAME, made.blobs[1])
    assert client.put(NAME, "lost", made).status_code == 201
    assert client.get(NAME, "lost", ACCEPT).content == made.data


def test_an_index_goes_in_also_when_distribution_has_lost_its_children(
    client: Registry, behind: Registry
) -> None:
    inner = index(image())
    client.push(NAME, inner)
    for lost in (inner, *inner.children):
        assert behind.call("DELETE", f"{NAME}/manifests/{lost.digest}").status_code == 202
    outer = index(inner)
    assert client.put(NAME, "outer", outer).status_code == 201
    for kept in (outer, inner, *inner.children):
        found = behind.get(NAME, kept.digest, {"Accept": kept.media_type})
        assert (found.status_code, found.content) == (200, kept.data)
