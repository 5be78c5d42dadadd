"""Secrets of a task: by name in its spec, by value only on the host that runs it."""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from fleetwide.models.base import Spec
from fleetwide.models.isolation import Folder
from fleetwide.models.volumes import not_reserved

MAX_SECRETS = 32
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,30}$"
# No part begins with a dot: a secret of another application cannot be reached by `..`.
SOURCE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"

SecretName = Annotated[str, Field(pattern=NAME_PATTERN, examples=["db"])]


class SecretTarget(Spec):
    """How the program gets the value: as a file in memory, or in its environment."""

    env: Annotated[str, Field(pattern=ENV_PATTERN)] | None = None
    """A variable. ``docker inspect`` on the host shows its value: a file is better."""
    file: Annotated[Folder, AfterValidator(not_reserved)] | None = None
    """A file that only lies in memory, readable for all of the container's users."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("needs either env or file")
        return self


class SecretUse(Spec):
    """One secret that the platform keeps for the task's application."""

    # Its keys are words of Python: they are written and read by their aliases everywhere.
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    source: Annotated[str, Field(pattern=SOURCE_PATTERN, max_length=255, alias="from")]
    """Its name among the secrets of the application."""
    target: Annotated[SecretTarget, Field(alias="as")]


Secrets = Annotated[dict[SecretName, SecretUse], Field(max_length=MAX_SECRETS)]
