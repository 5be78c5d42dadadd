"""Constraints: which hosts a task may use, and which ones it would rather have."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from fleetwide.models.base import Record, Spec
from fleetwide.models.texts import Line

MOST_VALUES = 100


class Fit(StrEnum):
    """Whether tasks are put close together or far apart."""

    PACK = "pack"
    SPREAD = "spread"


def _listed(value: Any) -> Any:
    """One value stands for a list of one."""
    return [value] if isinstance(value, str) else value


def _plain(name: str) -> str:
    return re.sub(r"[_-]", "", name.lower())


def _as_in_titus(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


Values = Annotated[list[Line], BeforeValidator(_listed), Field(max_length=MOST_VALUES)]
Labels = Annotated[dict[Line, Line], Field(max_length=MOST_VALUES)]


class ConstraintSet(Spec):
    """Constraints by name. Titus's spelling (``uniqueHost``) and any upper case are read too."""

    active_host: bool = False
    """Only hosts that are not being phased out."""
    unique_host: bool = False
    """No two tasks of the job on one host."""
    exclusive_host: bool = False
    """Nothing else on the host."""
    zone_balance: bool = False
    """The job's tasks per zone differ by one at the most."""
    availability_zone: Values = []
    """One of these zones: the host's label ``zone``."""
    machine_id: Values = []
    """One of these hosts, by id."""
    machine_group: Values = []
    """One of these groups: the host's label ``machine-group``."""
    machine_type: Values = []
    """One of these types: the host's label ``machine-type``."""
    kube_backend: Values = []
    """One of these backends: the host's label ``backend``."""
    cpu_model: Values = []
    """One of these models: the host's label ``cpu-model``."""
    label: Labels = {}
    """The host has all of these labels."""
    not_label: Labels = {}
    """The host has none of these labels."""
    not_with_job: Values = []
    """No task of these jobs (workflow ids) is on the host, whichever came first."""

    @model_validator(mode="before")
    @classmethod
    def _names_are_known(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = {_plain(name): name for name in cls.model_fields}
        read: dict[str, Any] = {}
        for given, what in value.items():
            name = known.get(_plain(str(given)))
            if name is None:
                allowed = ", ".join(_as_in_titus(each) for each in cls.model_fields)
                raise ValueError(f"{given!r} is not a constraint; there are {allowed}")
            if name in read:
                raise ValueError(f"{given!r} is given twice, in two spellings")
            read[name] = what
        return read


class Constraints(Spec):
    """What matters about the host of a container."""

    hard: ConstraintSet = ConstraintSet()
    """All of these hold, or the task waits."""
    soft: ConstraintSet = ConstraintSet()
    """Hosts that meet more of these are preferred."""
    tolerations: Values = []
    """Taints that the task puts up with: ``gpu`` for a host with the label ``taint.gpu``."""
    fit: Fit = Fit.PACK
    """``pack`` fills hosts one after the other, ``spread`` uses the emptiest."""


class StoredPort(Record):
    """A port of the host that a stored job wants; None for any."""

    static: int | None = None


class StoredResources(Record):
    """Resources of a stored job; one that is older than a resource asks for none of it."""

    cpu: float
    memory: int
    disk: int | None = 0
    network: int = 0
    gpus: int = 0
    ports: dict[str, StoredPort] = {}


class StoredContainer(Record):
    """What placement reads of a stored job's container: limits of its time do not matter now."""

    resources: StoredResources
    host_labels: dict[str, str] = {}
    constraints: Constraints = Constraints()


class StoredJob(Record):
    """What placement reads of a stored job."""

    container: StoredContainer
