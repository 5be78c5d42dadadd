"""Names of repositories and tags, by the OCI distribution specification's regular expressions."""

import re

from fleetwide.errors import InvalidInput

MAX_REPOSITORY = 255
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_FOREIGN_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]{1,512}")


class RepositoryNameInvalid(InvalidInput):
    """The repository's name is none that the specification allows (NAME_INVALID)."""


class TagInvalid(InvalidInput):
    """The tag is none that the specification allows (TAG_INVALID)."""


class DigestInvalid(InvalidInput):
    """The text is no digest at all (DIGEST_INVALID)."""


class DigestUnsupported(InvalidInput):
    """The digest is of another algorithm than SHA-256 (UNSUPPORTED)."""


def check_repository(name: str) -> str:
    """``name`` itself.

    Raises:
        RepositoryNameInvalid: it is longer than 255 characters or not of the allowed form.
    """
    # The length first: the expression then has little to look at, whatever was sent.
    if len(name) > MAX_REPOSITORY or _REPOSITORY.fullmatch(name) is None:
        raise RepositoryNameInvalid.for_field(
            "repository",
            f"must be lower-case words, joined by '/', of at most {MAX_REPOSITORY} characters",
            given=name,
            hint="apps/hello",
        )
    return name


def check_tag(tag: str) -> str:
    """``tag`` itself.

    Raises:
        TagInvalid: it is longer than 128 characters or not of the allowed form.
    """
    if _TAG.fullmatch(tag) is None:
        raise TagInvalid.for_field(
            "tag", "must be 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -", given=tag
        )
    return tag


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 digest: ``sha256:`` and 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str, field: str = "digest") -> str:
    """``text`` itself.

    Raises:
        DigestUnsupported: it is a digest of another algorithm.
        DigestInvalid: it is no digest.
    """
    if is_digest(text):
        return text
    if _FOREIGN_DIGEST.fullmatch(text) and not text.startswith("sha256:"):
        raise DigestUnsupported.for_field(field, "only sha256 digests are supported", given=text)
    raise DigestInvalid.for_field(
        field, "must be sha256: and 64 lower-case hexadecimal digits", given=text
    )
