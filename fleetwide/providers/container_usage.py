"""What a container takes: the Engine's figures, and the kernel's count of memory kills."""

from pathlib import Path
from typing import Any

from fleetwide.containers.usage import oom_kills, sample
from fleetwide.errors import NotFound
from fleetwide.models.errands import UsageSample
from fleetwide.providers.docker import ContainerHost

CGROUPS = Path("/sys/fs/cgroup")


class UsageMeter:
    """Samples of one container, each against the one before; for one thread."""

    def __init__(self, host: ContainerHost, container: str) -> None:
        self._host = host
        self._container = container
        self._before = self._ask()
        self._events = self._events_file()

    def sample(self) -> UsageSample:
        """The figures of now; the CPU's are since the last call.

        Raises ``NotFound`` when the container has ended.
        """
        now = self._ask()
        taken = sample(now, self._before, self._oom_kills())
        self._before = now
        return taken

    def _ask(self) -> dict[str, Any]:
        with self._host.engine(f"measure {self._container}") as api:
            found: dict[str, Any] = api.stats(self._container, stream=False, one_shot=True)
        if found["read"].startswith("0001-"):
            raise NotFound("the container has ended")
        return found

    def _oom_kills(self) -> int | None:
        try:
            return oom_kills(self._events.read_text()) if self._events else None
        except OSError:
            return None

    def _events_file(self) -> Path | None:
        """Where this machine's kernel counts; None where the container runs elsewhere."""
        with self._host.engine(f"measure {self._container}") as api:
            pid = api.inspect_container(self._container)["State"]["Pid"]
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                return CGROUPS / path.lstrip("/") / "memory.events"
            if "memory" in controllers.split(","):
                return CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"
        return None
