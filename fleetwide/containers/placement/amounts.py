"""Amounts of the five resources that a host has and a task asks for."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

MIB = 1024**2
MEGABYTE = 1000**2
"""Disks are counted in these, as everywhere."""
UNCOUNTED = 2**50
"""Stands for a resource that nobody measured on a host: no task is kept off for it."""


class Dimension(IntEnum):
    """The resources, as rows of the engine's arrays."""

    CPU = 0
    MEMORY = 1
    DISK = 2
    NETWORK = 3
    GPU = 4


@dataclass(frozen=True)
class Amounts:
    """How much of each resource; the fields are in the order of ``Dimension``."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    network_mbps: int = 0
    gpus: int = 0
    """Whole devices."""

    @cached_property
    def vector(self) -> tuple[int, ...]:
        """The amounts as the engine's arrays hold them."""
        return (
            self.cpu_milli,
            self.memory_bytes,
            self.disk_bytes,
            self.network_mbps,
            self.gpus,
        )


# Total over Dimension (a test asserts it): how many of the engine's units make one of the people's,
# what that is called in a sentence, and its name in the numbers of a reason.
SCALE: dict[Dimension, int] = {
    Dimension.CPU: 1000,
    Dimension.MEMORY: MIB,
    Dimension.DISK: MEGABYTE,
    Dimension.NETWORK: 1,
    Dimension.GPU: 1,
}
UNIT: dict[Dimension, str] = {
    Dimension.CPU: "CPU",
    Dimension.MEMORY: "MiB",
    Dimension.DISK: "MB of disk",
    Dimension.NETWORK: "Mbit/s",
    Dimension.GPU: "GPU",
}
NUMBER: dict[Dimension, str] = {
    Dimension.CPU: "cpu",
    Dimension.MEMORY: "memoryMiB",
    Dimension.DISK: "diskMB",
    Dimension.NETWORK: "networkMbps",
    Dimension.GPU: "gpu",
}


def for_people(vector: tuple[int, ...], dimension: Dimension) -> float:
    """One amount in the unit that people read."""
    return vector[dimension] / SCALE[dimension]


def sentence(vector: tuple[int, ...]) -> str:
    """CPU and memory, and what else is not zero: ``2 CPU and 512 MiB``."""
    always = (Dimension.CPU, Dimension.MEMORY)
    words = [
        f"{for_people(vector, dimension):g} {UNIT[dimension]}"
        for dimension in Dimension
        if dimension in always or vector[dimension]
    ]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def numbers(vector: tuple[int, ...]) -> dict[str, float]:
    """The same amounts for programs."""
    always = (Dimension.CPU, Dimension.MEMORY)
    return {
        NUMBER[dimension]: for_people(vector, dimension)
        for dimension in Dimension
        if dimension in always or vector[dimension]
    }
