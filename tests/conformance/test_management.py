"""Content management: what goes when something is deleted, and what stays."""

import secrets

import pytest

from tests.conformance.client import Registry, is_error
from tests.oci_objects import MANIFEST, image, index

pytestmark = pytest.mark.integration

ABSENT = f"sha256:{'0' * 64}"


def _there(registry: Registry, name: str, reference: str) -> bool:
    return registry.get(name, reference, {"Accept": MANIFEST}).status_code == 200


def test_a_deleted_tag_leaves_its_manifest_and_the_other_tags(
    registry: Registry, name: str
) -> None:
    made = image()
    registry.push(name, made, ["v1", "v2"])
    assert registry.call("DELETE", f"{name}/manifests/v1").status_code == 202
    assert not _there(registry, name, "v1")
    assert _there(registry, name, "v2")
    assert _there(registry, name, made.digest)
    assert registry.call("GET", f"{name}/tags/list").json()["tags"] == ["v2"]


def test_a_deleted_manifest_takes_its_tags_along(registry: Registry, name: str) -> None:
    made, other = image(), image()
    registry.push(name, made, ["v1", "v2"])
    registry.push(name, other, ["v3"])
    assert registry.call("DELETE", f"{name}/manifests/{made.digest}").status_code == 202
    for reference in (made.digest, "v1", "v2"):
        assert is_error(registry.get(name, reference), 404, "MANIFEST_UNKNOWN")
    assert _there(registry, name, "v3")
    assert registry.call("GET", f"{name}/tags/list").json()["tags"] == ["v3"]


@pytest.mark.parametrize("reference", ["absent", ABSENT])
def test_deleting_what_is_not_there_is_not_found(
    registry: Registry, name: str, reference: str
) -> None:
    registry.push(name, image())
    answer = registry.call("DELETE", f"{name}/manifests/{reference}")
    assert is_error(answer, 404, "MANIFEST_UNKNOWN")


def test_a_repository_without_tags_lists_none(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made, ["v1"])
    assert registry.call("DELETE", f"{name}/manifests/{made.digest}").status_code == 202
    answer = registry.call("GET", f"{name}/tags/list")
    assert answer.status_code == 404 or answer.json()["tags"] in ([], None)


def test_a_deleted_manifest_may_be_pushed_again(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made, ["v1"])
    registry.call("DELETE", f"{name}/manifests/{made.digest}")
    registry.push(name, made, ["v1"])
    assert _there(registry, name, "v1")


def test_a_deleted_index_leaves_its_children(registry: Registry, name: str) -> None:
    made = index(image(), image())
    registry.push(name, made, ["v1"])
    assert registry.call("DELETE", f"{name}/manifests/{made.digest}").status_code == 202
    for child in made.children:
        assert _there(registry, name, child.digest)


def test_a_deleted_blob_is_gone_here_and_stays_elsewhere(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(99)
    for repository in (f"{name}/a", f"{name}/b"):
        digest = registry.push_blob(repository, data)
    answer = registry.call("DELETE", f"{name}/a/blobs/{digest}")
    assert answer.status_code == 202
    assert is_error(registry.call("GET", f"{name}/a/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    assert registry.call("GET", f"{name}/b/blobs/{digest}").content == data


def test_a_deleted_blob_may_be_pushed_again(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(99)
    digest = registry.push_blob(name, data)
    registry.call("DELETE", f"{name}/blobs/{digest}")
    registry.push_blob(name, data)
    assert registry.call("GET", f"{name}/blobs/{digest}").content == data


def test_deleting_an_unknown_blob_is_not_found(registry: Registry, name: str) -> None:
    registry.push(name, image())
    answer = registry.call("DELETE", f"{name}/blobs/{ABSENT}")
    assert is_error(answer, 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_method_that_is_not_known_is_refused(registry: Registry, name: str, method: str) -> None:
    answer = registry.call(method, f"{name}/manifests/v1")
    assert answer.status_code == 405
