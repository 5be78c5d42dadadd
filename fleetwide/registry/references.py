"""Image references of this platform's registry: ``repository:tag`` or ``repository@digest``."""

import re
from dataclasses import dataclass

from fleetwide.errors import InvalidInput
from fleetwide.models.launching import IMAGE_PATTERN

MAX_REPOSITORY_LENGTH = 200


@dataclass(frozen=True)
class ImageReference:
    """A parsed reference; exactly one of ``tag`` and ``digest`` is set."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        if self.digest is not None:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}"

    @property
    def selector(self) -> str:
        """What stands behind ``/manifests/`` in a registry's URL."""
        return self.digest or self.tag or ""

    def pinned(self, digest: str) -> "ImageReference":
        """The same repository, at exactly these bytes."""
        return ImageReference(self.repository, digest=digest)


def parse_reference(text: str, field: str = "image") -> ImageReference:
    """Parse ``text``; ``InvalidInput`` names ``field`` when it is not a reference."""
    match = re.fullmatch(IMAGE_PATTERN, text)
    if match is None:
        raise InvalidInput.for_field(
            field,
            "must be repository:tag or repository@sha256:<64 hex digits>",
            given=text,
            hint="apps/hello:1.0.0",
        )
    repository = match["repository"]
    if len(repository) > MAX_REPOSITORY_LENGTH:
        raise InvalidInput.for_field(
            field,
            f"the repository has {len(repository)} characters; "
            f"the limit is {MAX_REPOSITORY_LENGTH}",
            given=text,
        )
    return ImageReference(repository, match["tag"], match["digest"])


def version_tag(version: str) -> str:
    """The tag of a release's version; OCI tags know neither ``+`` nor ``~``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", version)
