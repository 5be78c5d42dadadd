"""Recipes: reusable, versioned instructions for the bakes of an application or organisation."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fleetwide.models.bakery import ENV_NAME, HealthCheck
from fleetwide.models.base import Digest, Name, Record, Spec, Timestamp
from fleetwide.models.baseos import WORKDIR_PATTERN, FileSpec, Package
from fleetwide.models.texts import Line, Prose, Word

PARAMETER_NAME = r"^[a-z][a-z0-9_]{0,39}$"


class ParameterType(StrEnum):
    """What a parameter's value must look like."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


class Parameter(Spec):
    """One value that a bake may, or must, give."""

    type: ParameterType = ParameterType.STRING
    default: Prose | None = None
    """Unset: the bake must give a value."""
    choices: list[Prose] = []
    description: Annotated[Prose, Field(max_length=500)] = ""


class RecipeSpec(Spec):
    """A recipe as people write it. ``${name}`` in a text stands for a parameter's value."""

    name: Name
    description: Annotated[Prose, Field(max_length=2000)] = ""
    parameters: dict[Annotated[str, Field(pattern=PARAMETER_NAME)], Parameter] = {}
    packages: list[Package] = []
    files: list[FileSpec] = []
    """Files beside the artifact, for example its settings."""
    entrypoint: list[Word] = []
    command: list[Word] = []
    env: dict[Annotated[str, Field(pattern=ENV_NAME)], Word] = {}
    user: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}(:[a-z0-9_-]{1,32})?$")] | None = None
    workdir: Annotated[str, Field(pattern=WORKDIR_PATTERN)] | None = None
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    healthcheck: HealthCheck | None = None
    init: bool = False
    labels: dict[str, Prose] = {}
    drop_setuid: bool = False
    """Hardening: take the setuid and setgid bits off whatever the artifacts bring."""
    owner: Line = Field(default="", max_length=200)


class Recipe(Record):
    """One version of a recipe; a version never changes."""

    spec: RecipeSpec
    version: int
    digest: Digest
    """Over the spec: the same text again is the same version."""
    created_at: Timestamp

    @property
    def reference(self) -> str:
        return f"{self.spec.name}:{self.version}"
