import pytest

from fleetwide.errors import InvalidInput
from fleetwide.registry.references import ImageReference, parse_reference, version_tag

DIGEST = "sha256:" + "a" * 64


def test_a_tag_and_a_digest_are_told_apart() -> None:
    assert parse_reference("apps/hello:1.0.0") == ImageReference("apps/hello", tag="1.0.0")
    assert parse_reference(f"apps/hello@{DIGEST}") == ImageReference("apps/hello", digest=DIGEST)


@pytest.mark.parametrize("text", ["apps/hello:1.0.0", f"baseos/base-os@{DIGEST}"])
def test_a_reference_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    "text", ["", "hello", "Hello:1", "a//b:1", "a:", "a@sha256:12", "a:1\n", "a:b:c", "../x:1"]
)
def test_what_is_no_reference_is_refused_by_field(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text, "container.image")
    assert caught.value.fields[0].field == "container.image"


def test_a_long_repository_is_refused_with_the_numbers() -> None:
    with pytest.raises(InvalidInput, match="201 characters; the limit is 200"):
        parse_reference("a" * 201 + ":1")


def test_a_pinned_reference_keeps_the_repository() -> None:
    assert str(parse_reference("apps/hello:1").pinned(DIGEST)) == f"apps/hello@{DIGEST}"


def test_a_version_becomes_a_tag_that_oci_allows() -> None:
    assert version_tag("1:2.0~rc1+deb12") == "1_2.0_rc1_deb12"
