"""What the checks of a container tell together: pure, with times in seconds of any clock."""

from dataclasses import dataclass, field

from fleetwide.models.health import ContainerHealth, HealthStatus

FIRST_CHECK_SECONDS = 0.25
START_INTERVAL_SECONDS = 1.0
"""Between checks in the start period, whatever the interval: nobody waits in vain."""


@dataclass
class HealthTally:
    """When a check is due, and whether the container is well by those before."""

    check: ContainerHealth
    started: float
    """When the container was."""
    status: HealthStatus = HealthStatus.STARTING
    next_try: float = field(init=False)
    failures: int = 0
    """In a row, as ``successes``."""
    successes: int = 0
    said: str = ""

    def __post_init__(self) -> None:
        self.next_try = self.started + FIRST_CHECK_SECONDS

    def note(self, begun: float, said: str | None) -> None:
        """A check that began at ``begun``: None when it passed, else what it said."""
        starting = self._is_starting(begun)
        if said is None:
            self.failures, self.said = 0, ""
            self.successes += 1
        else:
            self.successes, self.said = 0, said
            self.failures += not starting
        if self.successes >= self.check.successes:
            self.status = HealthStatus.HEALTHY
        elif self.failures >= self.check.failures:
            self.status = HealthStatus.UNHEALTHY
        interval = self.check.interval_seconds
        soon = starting and self.status is HealthStatus.STARTING
        self.next_try = begun + (min(interval, START_INTERVAL_SECONDS) if soon else interval)

    def _is_starting(self, begun: float) -> bool:
        """In the start period failures do not count, until a check has passed once."""
        within = begun < self.started + self.check.start_period_seconds
        return within and self.status is HealthStatus.STARTING

    def explain(self) -> str:
        """Why it is not well, in words."""
        times = f"{self.failures} times in a row" if self.failures > 1 else "once"
        return f"its health check failed {times}" + (f": {self.said}" if self.said else "")
