"""Names of repositories, tags and digests: what the specification allows, and nothing else."""

import pytest

from fleetwide.registry.names import (
    DigestInvalid,
    DigestUnsupported,
    RepositoryNameInvalid,
    TagInvalid,
    check_digest,
    check_repository,
    check_tag,
    is_digest,
)

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize("name", ["a", "apps/hello", "a.b_c__d---e/f0", "x" * 255])
def test_names_of_the_specification_are_taken(name: str) -> None:
    assert check_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a//b",
        "/a",
        "a/",
        "a..b",
        "a___b",
        "../a",
        "a/../b",
        "a%2fb",
        "a\0",
        "a\n",
        "ä",
        "_a",
        "x" * 256,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RepositoryNameInvalid):
        check_repository(name)


@pytest.mark.parametrize("tag", ["latest", "_1", "V1.0-rc_2", "t" * 128])
def test_tags_of_the_specification_are_taken(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    "tag", ["", ".a", "-a", "a b", "a/b", "a:b", "t" * 129, "latest\n", DIGEST]
)
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(TagInvalid):
        check_tag(tag)


def test_a_digest_is_told_from_a_tag_and_from_other_algorithms() -> None:
    assert is_digest(DIGEST)
    assert not is_digest("latest")
    assert not is_digest(DIGEST + "\n")
    assert check_digest(DIGEST) == DIGEST
    with pytest.raises(DigestUnsupported):
        check_digest("sha512:" + "0" * 128)


@pytest.mark.parametrize(
    "text", ["", "latest", "sha256:", "sha256:" + "0" * 63, DIGEST.upper(), "sha256:" + "g" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(DigestInvalid):
        check_digest(text)
