"""What a host did to have room for images."""

from fleetwide.models.base import Record, Timestamp


class ImageCollection(Record):
    """One collection: why, and what came of it."""

    at: Timestamp
    reason: str
    freed: int = 0
    """Bytes of the file system."""
    removed: list[str] = []
    """Names of the images that went, 50 at most."""
    count: int = 0
    """Images that went."""
    used_before: float = 0.0
    used_after: float = 0.0
    """Parts of the file system, 0 to 1."""
    short: bool = False
    """The low mark was not reached: all that is left is kept for a reason."""

    def sentence(self) -> str:
        """For an event."""
        mib = self.freed / 1024**2
        rest = "; nothing else may go" if self.short else ""
        return (
            f"{self.count} images went, {mib:.0f} MiB: the disk is {self.used_after:.0%} full, "
            f"before {self.used_before:.0%} ({self.reason}){rest}"
        )


class WantedImages(Record):
    """What the scheduler tells all hosts: images of tasks that wait or run."""

    images: list[str] = []
    """repository@digest."""
