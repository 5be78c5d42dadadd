"""A fleet of simulated hosts: how many, how large, in which zones."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from fleetwide.containers.placement.specs import TAINT_PREFIX
from fleetwide.containers.scenarios import parse_scenario
from fleetwide.models.base import Spec
from fleetwide.models.hosts import HostSpec
from fleetwide.models.texts import Line

SIMULATED = "simulated"
"""Label and taint of every simulated host: a task that does not ask for it never lands there."""
MIX = ("4x8GiB", "8x32GiB", "16x64GiB")
MOST_HOSTS = 10_000
REPORTS_A_SECOND = 30
"""Of all hosts together: a report costs the Temporal server about two milliseconds."""
LONGEST_REPORT_SECONDS = 30.0
_SIZE = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?[KMGT]iB)")


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise ValueError("must be CPUs and memory, such as 8x32GiB")
    return text


def _scenario(text: str) -> str:
    parse_scenario(text)
    return text


Size = Annotated[str, AfterValidator(_size)]


class SimulatedFleet(Spec):
    """What ``fleetwide worker host --simulate`` registers."""

    count: Annotated[int, Field(ge=1, le=MOST_HOSTS)]
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,40}$")] = "sim"
    zones: Annotated[tuple[Line, ...], Field(min_length=1)] = ("zone-a", "zone-b", "zone-c")
    """Hosts are in them in turn."""
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)] = MIX
    """CPUs and memory; hosts get them in turn, so that each zone has some of each."""
    scenario: Annotated[Line, AfterValidator(_scenario)] = ""
    """What containers do that bring no scenario, or leave something out of it."""
    tainted: bool = True
    """Whether a task has to tolerate ``simulated`` to be placed here."""
    leave: bool = False
    """Whether the hosts leave the fleet when their process is told to stop."""

    @property
    def report_seconds(self) -> float:
        """So often each host reports: the more there are, the more rarely."""
        return min(max(1.0, self.count / REPORTS_A_SECOND), LONGEST_REPORT_SECONDS)

    def hosts(self) -> list[HostSpec]:
        """The hosts, ``<prefix>-0001`` and so on."""
        return [self._host(number) for number in range(self.count)]

    def _host(self, number: int) -> HostSpec:
        round_of_zones, place = divmod(number, len(self.zones))
        cpu, memory = self.sizes[(round_of_zones + place) % len(self.sizes)].split("x")
        labels = {SIMULATED: "true", "zone": self.zones[place], "machine-type": f"{cpu}x{memory}"}
        if self.tainted:
            labels[f"{TAINT_PREFIX}{SIMULATED}"] = "true"
        return HostSpec.model_validate(
            {
                "host_id": f"{self.prefix}-{number + 1:04d}",
                "cpu": float(cpu),
                "memory": memory,
                "labels": labels,
                "report_seconds": self.report_seconds,
            }
        )
