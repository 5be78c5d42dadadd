"""Why a host does not take a task: the codes, and what people read for each."""

from enum import IntEnum

from fleetwide.containers.placement.amounts import Dimension


class Blocker(IntEnum):
    """The first thing that stands between a task and a host, in the order of asking."""

    NONE = 0
    NOT_TAKING_WORK = 1
    TAINTED = 2
    PHASED_OUT = 3
    OTHER_ZONE = 4
    OTHER_MACHINE = 5
    OTHER_MACHINE_GROUP = 6
    OTHER_MACHINE_TYPE = 7
    OTHER_BACKEND = 8
    OTHER_CPU_MODEL = 9
    LABEL_MISSING = 10
    LABEL_REFUSED = 11
    TOO_SMALL_CPU = 12
    TOO_SMALL_MEMORY = 13
    TOO_SMALL_DISK = 14
    TOO_SMALL_NETWORK = 15
    TOO_SMALL_GPU = 16
    HELD_ALONE = 17
    NOT_EMPTY = 18
    SAME_JOB = 19
    OTHER_JOB = 20
    PORT_TAKEN = 21
    FEW_PORTS = 22
    ZONE_AHEAD = 23
    FULL_CPU = 24
    FULL_MEMORY = 25
    FULL_DISK = 26
    FULL_NETWORK = 27
    FULL_GPU = 28


# Total over Blocker (a test asserts it): ends the sentence "3 hosts ...".
PHRASE: dict[Blocker, str] = {
    Blocker.NONE: "could take it",
    Blocker.NOT_TAKING_WORK: "take no work",
    Blocker.TAINTED: "have a taint that it does not tolerate",
    Blocker.PHASED_OUT: "are being phased out",
    Blocker.OTHER_ZONE: "are in another zone",
    Blocker.OTHER_MACHINE: "are not the machine it asks for",
    Blocker.OTHER_MACHINE_GROUP: "are in another machine group",
    Blocker.OTHER_MACHINE_TYPE: "are of another machine type",
    Blocker.OTHER_BACKEND: "belong to another backend",
    Blocker.OTHER_CPU_MODEL: "have another CPU model",
    Blocker.LABEL_MISSING: "lack a label",
    Blocker.LABEL_REFUSED: "have a label that it refuses",
    Blocker.TOO_SMALL_CPU: "have too few CPUs in all",
    Blocker.TOO_SMALL_MEMORY: "have too little memory in all",
    Blocker.TOO_SMALL_DISK: "have too little disk in all",
    Blocker.TOO_SMALL_NETWORK: "have too little network in all",
    Blocker.TOO_SMALL_GPU: "have too few GPUs in all",
    Blocker.HELD_ALONE: "are held by a task that wants to be alone",
    Blocker.NOT_EMPTY: "are not empty",
    Blocker.SAME_JOB: "have a task of the same job",
    Blocker.OTHER_JOB: "have a task of a job that must be kept apart",
    Blocker.PORT_TAKEN: "have the port taken",
    Blocker.FEW_PORTS: "have too few ports free",
    Blocker.ZONE_AHEAD: "are in a zone that is ahead of another",
    Blocker.FULL_CPU: "have too few CPUs free",
    Blocker.FULL_MEMORY: "have too little memory free",
    Blocker.FULL_DISK: "have too little disk free",
    Blocker.FULL_NETWORK: "have too little network free",
    Blocker.FULL_GPU: "have too few GPUs free",
}
TOO_SMALL = {dimension: Blocker(Blocker.TOO_SMALL_CPU + dimension) for dimension in Dimension}
FULL = {dimension: Blocker(Blocker.FULL_CPU + dimension) for dimension in Dimension}
# What no task that ends can change: the host is simply not a host for it.
BY_CONSTRAINT = frozenset(range(Blocker.NOT_TAKING_WORK, Blocker.TOO_SMALL_CPU))
BY_SIZE = frozenset(TOO_SMALL.values())
BY_USE = frozenset(FULL.values())
BY_OTHERS = frozenset(range(Blocker.HELD_ALONE, Blocker.FULL_CPU))
