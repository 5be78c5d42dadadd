"""JSON by pydantic; input that does not fit ends the workflow at once with a readable error.

The stock converter raises an ordinary exception for bad input, which fails the workflow *task*:
the run then hangs, retrying for ever. An ApplicationError fails the workflow itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter

from fleetwide.temporal.errors import as_application_error
from fleetwide.temporal.failures import ShortFailureConverter
from fleetwide.validation import invalid_input


class ExplainingPayloadConverter(PydanticPayloadConverter):
    """The pydantic converter, with ``InvalidInput`` for payloads that do not validate."""

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            raise as_application_error(invalid_input(error, _model(type_hints))) from None


def _model(type_hints: list[type] | None) -> type[BaseModel] | None:
    """The model that the first argument wants; ``Model | None`` counts as ``Model``."""
    for hint in type_hints or []:
        for option in (hint, *get_args(hint)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                return option
    return None


data_converter = dataclasses.replace(
    pydantic_data_converter,
    payload_converter_class=ExplainingPayloadConverter,
    failure_converter_class=ShortFailureConverter,
)
