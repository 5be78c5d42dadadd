"""The bakery of Spinnaker (rosco) on the wire: its requests and answers, with its own field names.

Requests tolerate unknown fields, nulls and numbers where texts are meant, as rosco does.
"""

import re
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from fleetwide.models.base import Name, Record, Spec
from fleetwide.models.documents import Problem
from fleetwide.models.texts import is_prose


class RoscoState(StrEnum):
    """Where a bake stands, in rosco's words; it knows no state of its own for a failure."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


class RoscoResult(StrEnum):
    """What came of a bake that is not running any more."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


_SURROGATE = re.compile("[\ud800-\udfff]")


def _is_text(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_text(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return all(_is_text(one) for one in value)
    if not isinstance(value, str):
        return True
    return is_prose(value) and _SURROGATE.search(value) is None


class _Request(Record):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    @field_validator("*")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        """Neither a database nor an answer takes what is no Unicode text."""
        if not _is_text(value):
            raise ValueError("must not hold control characters or broken Unicode")
        return value


class PackageArtifact(_Request):
    """One of Spinnaker's artifacts that is to be baked."""

    type: str | None = None
    name: str | None = None
    version: str | None = None
    location: str | None = None
    """The repository that holds it, or its own address."""
    reference: str | None = None
    """Its address, or its name in ``location``."""
    metadata: dict[str, Any] | None = None
    """``sha256`` in here pins it."""
    sha256: str | None = None
    """The same; Spinnaker counts fields that it does not know as metadata."""


class RoscoRequest(_Request):
    """A request for an image, as orca sends it."""

    user: str | None = None
    package: str | None = None
    """Names of packages, with blanks between them."""
    package_artifacts: list[PackageArtifact] | None = None
    package_type: str | None = None
    build_host: str | None = None
    job: str | None = None
    build_number: str | None = None
    commit_hash: str | None = None
    build_info_url: str | None = None
    cloud_provider_type: str | None = None
    base_label: str | None = None
    base_os: str | None = None
    base_ami: str | None = None
    """Overrides ``base_os``: an AMI of an OS release, or a base such as ``baseos:20261122.1``."""
    vm_type: str | None = None
    store_type: str | None = None
    ami_name: str | None = None
    """Name of the image; unset means that of the first package."""
    os_type: str | None = None
    extended_attributes: dict[str, Any] | None = None


class DeleteRequest(_Request):
    """Executions of pipelines whose bakes Spinnaker will not ask for any more."""

    pipeline_execution_ids: list[str] = Field(
        default=[], validation_alias="pipelineExecutionIds", max_length=10_000
    )


class RoscoStatus(Record):
    """Where a bake stands."""

    id: str
    state: RoscoState
    result: RoscoResult | None = None
    resource_id: str
    """For the details of the bake; the same as ``id``."""
    messages: list[str] = []
    """Why it failed, for people; rosco leaves that to the log."""


class ImageArtifact(Record):
    """A baked image as one of Spinnaker's artifacts."""

    type: str
    name: str
    version: str
    location: str
    """The region."""
    reference: str
    """AMI id, or the container image by its digest."""
    metadata: dict[str, Any] = {}
    uuid: str


class RoscoBake(Record):
    """The image that a bake made, seen from one region."""

    id: str
    ami: str
    image_name: str
    base_ami: str | None = None
    regions: list[str]
    artifact: ImageArtifact
    artifacts: list[ImageArtifact]


class BakeLogs(Record):
    """The log of a bake as one text."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    logs_content: str


class BaseImageOption(Record):
    """A base that a pipeline can name as its ``base_os``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    id: str
    short_description: str
    detailed_description: str
    display_name: str
    package_type: str = "DEB"
    os_type: str = "linux"
    vm_types: list[str] = []


class BakeOptions(Record):
    """The bases of one cloud provider."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    cloud_provider: str
    base_images: list[BaseImageOption]


class RoscoProblem(Problem):
    """A problem with what Spinnaker's services read of an error."""

    error: str
    message: str
    messages: list[str]


class RoscoBase(Spec):
    """What a pipeline's ``base_os`` stands for."""

    line: Name
    labels: dict[str, str] = {}
    """``base_label`` to a channel or version of the line, beside the usual labels."""
    description: str = Field(default="", max_length=200)


class RoscoBases(Spec):
    """The file that maps ``base_os``; without it each OS line is known by its own name."""

    default: str | None = None
    """For requests without ``base_os``: Spinnaker sends none for docker."""
    bases: dict[str, RoscoBase] = {}

    @model_validator(mode="after")
    def _default_is_known(self) -> "RoscoBases":
        if self.default is not None and self.default not in self.bases:
            raise ValueError("default: must be one of the bases")
        return self
