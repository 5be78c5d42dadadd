"""Pull: the version check, manifests and blobs by every name, and what is not there."""

import secrets

import pytest

from tests.conformance.client import Registry, is_error
from tests.oci_objects import MANIFEST, digest_of, image

pytestmark = pytest.mark.integration

ABSENT = f"sha256:{'0' * 64}"


def test_the_version_check_answers(registry: Registry) -> None:
    assert registry.call("GET", "").status_code == 200


def test_a_manifest_comes_by_tag_and_by_digest_as_it_was_pushed(
    registry: Registry, name: str
) -> None:
    made = image()
    registry.push(name, made, ["v1"])
    for reference in ("v1", made.digest):
        found = registry.get(name, reference, {"Accept": MANIFEST})
        assert (found.status_code, found.content) == (200, made.data)
        assert found.headers["Content-Type"] == MANIFEST
        assert found.headers["Docker-Content-Digest"] == made.digest


@pytest.mark.parametrize("accept", ["*/*", "application/vnd.docker.distribution.manifest.v2+json"])
def test_a_manifest_is_what_it_is_whatever_is_asked_for(
    registry: Registry, name: str, accept: str
) -> None:
    made = image()
    registry.push(name, made, ["v1"])
    found = registry.get(name, "v1", {"Accept": accept})
    assert found.status_code == 200
    assert found.content == made.data


def test_head_of_a_manifest_says_all_but_the_bytes(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made, ["v1"])
    for reference in ("v1", made.digest):
        path = f"{name}/manifests/{reference}"
        found = registry.call("HEAD", path, headers={"Accept": MANIFEST})
        assert (found.status_code, found.content) == (200, b"")
        assert found.headers["Content-Length"] == str(len(made.data))
        assert found.headers["Docker-Content-Digest"] == made.digest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["absent", ABSENT])
def test_an_unknown_manifest_is_not_found(
    registry: Registry, name: str, method: str, reference: str
) -> None:
    registry.push(name, image())
    answer = registry.call(method, f"{name}/manifests/{reference}")
    assert is_error(answer, 404, "MANIFEST_UNKNOWN")


def test_an_unknown_repository_is_not_found(registry: Registry, name: str) -> None:
    answer = registry.get(name, "v1")
    assert is_error(answer, 404, "NAME_UNKNOWN", "MANIFEST_UNKNOWN")


def test_a_blob_comes_whole(registry: Registry, name: str) -> None:
    data = secrets.token_bytes(1000)
    digest = registry.push_blob(name, data)
    found = registry.call("GET", f"{name}/blobs/{digest}")
    assert (found.status_code, found.content) == (200, data)
    assert found.headers["Content-Length"] == "1000"


def test_head_of_a_blob_says_its_length(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, b"x" * 1000)
    found = registry.call("HEAD", f"{name}/blobs/{digest}")
    assert (found.status_code, found.content) == (200, b"")
    assert found.headers["Content-Length"] == "1000"
    assert found.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize(
    ("asked", "first", "last"), [("0-9", 0, 9), ("990-", 990, 999), ("-10", 990, 999)]
)
def test_a_part_of_a_blob(registry: Registry, name: str, asked: str, first: int, last: int) -> None:
    data = secrets.token_bytes(1000)
    digest = registry.push_blob(name, data)
    found = registry.call("GET", f"{name}/blobs/{digest}", headers={"Range": f"bytes={asked}"})
    assert found.status_code == 206
    assert found.content == data[first : last + 1]
    assert found.headers["Content-Range"] == f"bytes {first}-{last}/1000"


def test_a_part_behind_the_end_of_a_blob_is_refused(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, b"x" * 1000)
    found = registry.call("GET", f"{name}/blobs/{digest}", headers={"Range": "bytes=1000-1010"})
    assert found.status_code == 416
    assert found.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_blob_is_not_found(registry: Registry, name: str, method: str) -> None:
    registry.push(name, image())
    answer = registry.call(method, f"{name}/blobs/{ABSENT}")
    assert is_error(answer, 404, "BLOB_UNKNOWN")


def test_a_blob_of_another_repository_is_not_found(registry: Registry, name: str) -> None:
    digest = registry.push_blob(f"{name}/private", secrets.token_bytes(50))
    registry.push(name, image())
    for method in ("GET", "HEAD"):
        assert is_error(registry.call(method, f"{name}/blobs/{digest}"), 404)


def test_an_empty_blob(registry: Registry, name: str) -> None:
    digest = registry.push_blob(name, b"")
    assert digest == digest_of(b"")
    found = registry.call("GET", f"{name}/blobs/{digest}")
    assert (found.status_code, found.content) == (200, b"")


@pytest.mark.parametrize(
    "wrong",
    ["Upper/case", "a//b", "-dash", "under__score/___x", "a" * 300],
    ids=["upper", "empty-part", "dash", "underscores", "long"],
)
def test_a_name_that_cannot_be_is_an_error(registry: Registry, wrong: str) -> None:
    answer = registry.get(wrong, "v1")
    assert answer.status_code in {400, 404}
    assert is_error(answer, answer.status_code, "NAME_INVALID")
