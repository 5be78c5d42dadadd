"""Content discovery: tags page by page, the catalog, and referrers."""

import uuid

import pytest

from tests.conformance.client import Registry, is_error, next_page
from tests.oci_objects import MANIFEST, artifact, image, index

pytestmark = pytest.mark.integration

TAGS = ["10", "2", "A", "Z", "_x", "a", "a.b", "b-c", "z"]
"""In the order of their bytes."""


@pytest.fixture(scope="session")
def tagged(registry: Registry) -> str:
    """A repository with ``TAGS``, pushed in another order; it is only read."""
    name = f"conformance/tagged-{uuid.uuid4().hex[:12]}"
    registry.push(name, image(), TAGS[::-1])
    return name


def _tags(registry: Registry, name: str, query: str = "") -> list[str]:
    answer = registry.call("GET", f"{name}/tags/list{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == name
    tags: list[str] = answer.json()["tags"]
    return tags


def test_all_tags_come_in_order(registry: Registry, tagged: str) -> None:
    assert _tags(registry, tagged) == TAGS


@pytest.mark.parametrize("limit", [1, 4, 9, 100])
def test_a_page_has_as_many_tags_as_were_asked_for(
    registry: Registry, tagged: str, limit: int
) -> None:
    assert _tags(registry, tagged, f"?n={limit}") == TAGS[:limit]


def test_no_tags_at_all_may_be_asked_for(registry: Registry, tagged: str) -> None:
    answer = registry.call("GET", f"{tagged}/tags/list?n=0")
    assert answer.json()["tags"] == []
    assert next_page(answer) is None


@pytest.mark.parametrize("last", ["2", "A", "aa", "zz", "0"])
def test_a_page_begins_after_last_whether_it_is_there_or_not(
    registry: Registry, tagged: str, last: str
) -> None:
    expected = [tag for tag in TAGS if tag > last]
    assert _tags(registry, tagged, f"?last={last}") == expected
    assert _tags(registry, tagged, f"?n=2&last={last}") == expected[:2]


def test_links_lead_through_all_pages(registry: Registry, tagged: str) -> None:
    path: str | None = f"{tagged}/tags/list?n=4"
    found: list[str] = []
    pages = 0
    while path is not None:
        answer = registry.call("GET", path)
        found += answer.json()["tags"]
        path = next_page(answer)
        pages += 1
    assert found == TAGS
    assert pages == 3


def test_tags_of_an_unknown_repository_are_not_found(registry: Registry, name: str) -> None:
    assert is_error(registry.call("GET", f"{name}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("wrong", ["-1", "x"])
def test_a_page_size_that_cannot_be_is_refused(registry: Registry, tagged: str, wrong: str) -> None:
    answer = registry.call("GET", f"{tagged}/tags/list?n={wrong}")
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_the_catalog_goes_page_by_page(registry: Registry, name: str) -> None:
    mine = [f"{name}/{letter}" for letter in "abc"]
    for repository in mine:
        registry.push(repository, image(), ["v1"])
    path: str | None = "_catalog?n=2"
    found: list[str] = []
    while path is not None:
        answer = registry.call("GET", path)
        assert answer.status_code == 200
        assert len(answer.json()["repositories"]) <= 2
        found += answer.json()["repositories"]
        path = next_page(answer)
    assert found == sorted(found)
    assert set(mine) <= set(found)


def test_nothing_refers_to_an_unknown_digest(registry: Registry, name: str) -> None:
    registry.push(name, image())
    answer = registry.call("GET", f"{name}/referrers/sha256:{'0' * 64}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert answer.json()["manifests"] == []


def test_referrers_of_a_digest_that_cannot_be_are_refused(registry: Registry, name: str) -> None:
    assert is_error(registry.call("GET", f"{name}/referrers/sha256:x"), 400)


def test_what_refers_to_an_image_is_listed_with_what_it_says(registry: Registry, name: str) -> None:
    subject = image()
    registry.push(name, subject)
    kinds = {
        "thing": artifact(subject=subject.descriptor(), annotations={"key": "value"}),
        "image": image(subject=subject.descriptor()),
        "index": index(artifactType="application/vnd.example.set", subject=subject.descriptor()),
    }
    for made in kinds.values():
        registry.push(name, made)
    found = {one["digest"]: one for one in registry.referrers(name, subject.digest)}
    assert set(found) == {made.digest for made in kinds.values()}
    thing = found[kinds["thing"].digest]
    assert thing["mediaType"] == MANIFEST
    assert thing["size"] == len(kinds["thing"].data)
    assert thing["artifactType"] == "application/vnd.example.thing"
    assert thing["annotations"] == {"key": "value"}
    # Where a manifest says no type, its config's stands for it.
    config = found[kinds["image"].digest]["artifactType"]
    assert config == "application/vnd.oci.image.config.v1+json"
    assert found[kinds["index"].digest]["artifactType"] == "application/vnd.example.set"


def test_referrers_may_be_asked_for_by_type(registry: Registry, name: str) -> None:
    subject = image()
    registry.push(name, subject)
    wanted = artifact("application/vnd.example.a+json", subject=subject.descriptor())
    registry.push(name, wanted)
    registry.push(name, artifact("application/vnd.example.b", subject=subject.descriptor()))
    query = "?artifactType=application%2Fvnd.example.a%2Bjson"
    answer = registry.call("GET", f"{name}/referrers/{subject.digest}{query}")
    assert [one["digest"] for one in answer.json()["manifests"]] == [wanted.digest]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


def test_a_referrer_may_come_before_its_subject(registry: Registry, name: str) -> None:
    subject = image()
    referrer = artifact(subject=subject.descriptor())
    registry.push(name, referrer)
    found = registry.referrers(name, subject.digest)
    assert [one["digest"] for one in found] == [referrer.digest]
    registry.push(name, subject)
    assert len(registry.referrers(name, subject.digest)) == 1


def test_a_deleted_referrer_is_not_listed(registry: Registry, name: str) -> None:
    subject = image()
    registry.push(name, subject)
    referrer = artifact(subject=subject.descriptor())
    registry.push(name, referrer)
    assert registry.call("DELETE", f"{name}/manifests/{referrer.digest}").status_code == 202
    assert registry.referrers(name, subject.digest) == []


def test_many_referrers_all_come(registry: Registry, name: str) -> None:
    subject = image(0)
    registry.push(name, subject)
    # Empty ones, so that each costs one request.
    made = [index(subject=subject.descriptor()) for _ in range(9)]
    for one in made:
        registry.push(name, one)
    # A registry that knows no page size of its clients' gives them all at once.
    found = [one["digest"] for one in registry.referrers(name, subject.digest, "?n=4")]
    assert sorted(found) == sorted(one.digest for one in made)
