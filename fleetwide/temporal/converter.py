"""JSON by pydantic; input that does not fit ends the workflow at once with a readable error.

The stock converter raises an ordinary exception for bad input, which fails the workflow *task*:
the run then hangs, retrying for ever. An ApplicationError fails the workflow itself.
"""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

from fleetwide.temporal.errors import as_application_error
from fleetwide.temporal.failures import ShortFailureConverter
from fleetwide.validation import invalid_input

_SHARED_PACKAGES = frozenset({"builtins", "fleetwide"})


@lru_cache(maxsize=1024)
def _validator(hint: type) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _is_shared(hint: Any) -> bool:
    """Whether all its classes are the process's own: the sandbox has workflows' for each run."""
    if isinstance(hint, type) and not get_args(hint):
        package = hint.__module__.partition(".")[0]
        return package in _SHARED_PACKAGES
    return bool(get_args(hint)) and all(map(_is_shared, get_args(hint)))


class SharingJsonConverter(PydanticJSONPlainPayloadConverter):
    """Builds what validates a model once in a process: each run of a workflow has a converter."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        if type_hint is None or not _is_shared(type_hint):
            return super().from_payload(payload, type_hint)
        return _validator(type_hint).validate_json(payload.data)


class ExplainingPayloadConverter(CompositePayloadConverter):
    """The pydantic converter, with ``InvalidInput`` for payloads that do not validate."""

    def __init__(self) -> None:
        stock = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(
            *(
                SharingJsonConverter() if isinstance(one, JSONPlainPayloadConverter) else one
                for one in stock
            )
        )

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
