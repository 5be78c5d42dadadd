"""Labels: what people note on their tasks and jobs, and find them by."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from fleetwide.errors import InvalidInput
from fleetwide.models.texts import Line

MAX_LABELS = 64
MAX_VALUE = 256
OWN_PREFIX = "fleetwide."
NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"


def _not_ours(name: str) -> str:
    if name.startswith(OWN_PREFIX):
        raise ValueError(f"names with {OWN_PREFIX} are the platform's own")
    return name


LabelName = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(_not_ours)]
LabelValue = Annotated[Line, Field(max_length=MAX_VALUE)]
Labels = Annotated[
    dict[LabelName, LabelValue],
    Field(
        max_length=MAX_LABELS,
        description="what to find it by: up to 64 names with values of up to 256 characters",
        examples=[{"team": "search", "experiment": "42"}],
    ),
]


def wanted_labels(texts: Iterable[str]) -> dict[str, str]:
    """``name=value`` texts as a mapping.

    Raises:
        InvalidInput: a text is none, or one name is asked for with two values.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not re.fullmatch(NAME_PATTERN, name):
            raise InvalidInput.for_field("label", "must be name=value", given=text)
        if found.setdefault(name, value) != value:
            raise InvalidInput.for_field("label", f"asks for two values of {name}", given=text)
    return found
