"""What an import of an existing registry found and did; pure."""

from dataclasses import dataclass, field

MAX_FAULTS = 200
"""Kept with their words; further ones are only counted."""


@dataclass
class ImportReport:
    """Counts of one repository, or of all of them."""

    repositories: int = 0
    tags: int = 0
    """Tags that the index got."""
    known: int = 0
    """Tags that it had already, or has given another meaning or taken away since."""
    manifests: int = 0
    blobs: int = 0
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0

    def fault(self, text: str) -> None:
        """Note something that could not be imported."""
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)

    def add(self, other: "ImportReport") -> None:
        """Take in what another report counts."""
        self.repositories += other.repositories
        self.tags += other.tags
        self.known += other.known
        self.manifests += other.manifests
        self.blobs += other.blobs
        room = MAX_FAULTS - len(self.faults)
        self.faults += other.faults[:room]
        self.fault_count += other.fault_count

    def sentence(self) -> str:
        """What happened, on one line."""
        text = (
            f"{self.tags} tags of {self.repositories} repositories imported, "
            f"with {self.manifests} manifests and {self.blobs} blobs; {self.known} known already"
        )
        return f"{text}; {self.fault_count} faults" if self.fault_count else text
