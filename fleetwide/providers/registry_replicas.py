"""Where a broken blob can be had again: another region's registry, when one is configured."""

from collections.abc import Iterator
from typing import Protocol


class BlobSource(Protocol):
    """Somebody else who has the registry's blobs."""

    def fetch(self, repository: str, digest: str) -> Iterator[bytes] | None:
        """The blob's bytes in pieces, or None when there is nobody who has it.

        The caller checks them against the digest. An error in the middle is the caller's to bear.
        """
        ...


class NoReplicas:
    """A registry that stands alone."""

    def fetch(self, repository: str, digest: str) -> Iterator[bytes] | None:  # noqa: ARG002
        return None
