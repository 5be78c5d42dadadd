"""Which copy of which service a container task is."""

from fleetwide.models.base import Record


class Membership(Record):
    """Which copy of which service a container task is; in the task's spec and its row."""

    service_id: str
    index: int
    """No two copies that live have the same; who replaces one that has ended gets its index."""
    revision: int
    incarnation: int
    """Counts the tasks that this index had."""
    moved_task: str | None = None
    """The id of a task that was begun as a copy of another service, and was moved here."""

    @property
    def task_id(self) -> str:
        """The id of the copy's task, without the ``task/`` of its workflow."""
        return self.moved_task or f"{self.service_id}.{self.index}.{self.incarnation}"

    @property
    def env(self) -> dict[str, str]:
        """What the copy's container is told of itself."""
        return {
            "FLEETWIDE_SERVICE": self.service_id,
            "FLEETWIDE_COPY_INDEX": str(self.index),
            "FLEETWIDE_REVISION": str(self.revision),
        }
